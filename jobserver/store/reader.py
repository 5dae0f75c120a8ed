"""What people ask, and the only place with queries for it. Nothing here decides anything for a runner."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from bson import ObjectId
from pymongo import DESCENDING
from pymongo.errors import PyMongoError

from jobserver.errors import DatabaseError, DataError
from jobserver.store.admission import slots_of
from jobserver.store.codec import is_text, key_of
from jobserver.store.collections import CollectionNames
from jobserver.store.connection import Document, SyncDb, deciding_sync, what_mongodb_said
from jobserver.store.due import oversized_pipeline
from jobserver.store.expressions import BEGINNING, NOW, is_moment, milliseconds
from jobserver.store.locks import HELD
from jobserver.store.servers import GRACE
from jobserver.store.states import Status
from jobserver.store.views import (
    Change,
    Counts,
    JobView,
    OccurrenceView,
    RunView,
    ServerView,
    UnknownName,
    VersionView,
    moment,
    number,
    text,
    whole,
)

# A bound on the first key of an index is what makes the planner consider it.
ANY_NAME: Document = {"name": {"$gt": ""}}
UNLOCKED: Document = {"lockToken": None, "lockedAt": None, "disabled": {"$ne": True}}
GAVE_UP: Document = {"status": Status.FAILED, "nextRunAt": None}

_LEASE_HOLDS = {
    "$cond": [is_moment("leaseUntil"), {"$gt": [{"$add": ["$leaseUntil", milliseconds(GRACE)]}, NOW]}, False]
}


class Reader:
    """Answers from one database. Every method raises DatabaseError when MongoDB is away."""

    def __init__(self, database: SyncDb, names: CollectionNames) -> None:
        self._database = deciding_sync(database)
        self._jobs = self._database[names.jobs]
        self._configs = self._database[names.configs]
        self._history = self._database[names.history]
        self._runs = self._database[names.runs]
        self._servers = self._database[names.servers]

    def now(self) -> datetime:
        """MongoDB's clock, aware UTC."""
        with asking("the time"):
            told: datetime = self._database.command("hello")["localTime"]
            return told if told.tzinfo else told.replace(tzinfo=UTC)

    def job_names(self) -> list[str]:
        """Every job that has a `jobConfigs` document."""
        with asking("which jobs there are"):
            return sorted(name for name in self._configs.distinct("jobName") if is_text(name))

    def jobs(self) -> list[JobView]:
        """Every job that has a `jobConfigs` document, by name."""
        with asking("jobs"):
            configs = _named(self._configs.find({"jobName": {"$gt": ""}}).sort("jobName"), "jobName")
            holders = {each["name"]: each for each in _named(self._jobs.find({**ANY_NAME, "type": "single"}), "name")}
            running = self._held_by("$name")
            newest = self._newest_runs()
            applied = self._applied_values()
            return [
                _job_view(
                    config,
                    holder=holders.get(config["jobName"], {}),
                    running=running.get(config["jobName"], 0),
                    newest=newest.get(config["jobName"]),
                    applied=applied.get(config["jobName"], {}),
                )
                for config in configs
            ]

    def runs(self, name: str | None = None, *, status: str | None = None, limit: int = 20) -> list[RunView]:
        """What runs now, then the newest that have ended."""
        with asking("runs"):
            running = self._running(name, limit) if status in (None, Status.RUNNING) else []
            ended = self._ended(name, status, limit - len(running)) if len(running) < limit else []
            return [*running, *ended]

    def run(self, written: str) -> RunView | None:
        """The run with this id, or the newest of the job document with this id; None where there is no such run."""
        with asking("a run"):
            document_id, _, fence = written.rpartition(":")
            if fence.isdecimal() and (found := self._one_run(written, document_id, int(fence))):
                return found
            return self._newest_of(written)

    def has_left_traces(self, name: str) -> bool:
        """Whether anything of this name waits, has failed or has run."""
        of_this: Document = {"name": name}
        waiting: Document = {**of_this, **UNLOCKED, "nextRunAt": {"$gt": BEGINNING}}
        with asking("a job"):
            return (
                self._jobs.find_one(waiting, {"_id": 1}) is not None
                or self._jobs.find_one({**of_this, "status": Status.FAILED}, {"_id": 1}) is not None
                or self._runs.find_one(of_this, {"_id": 1}) is not None
            )

    def unknown_names(self, limit: int = 100) -> list[UnknownName]:
        """What waits for jobs that no file brings here, the most first; a Pulse worker may know them.

        The schedule of a job whose file is gone does not count: nobody has asked for that run.
        """
        with asking("which jobs wait for nobody"):
            configured = self.job_names()
            gone = self._configs.distinct("jobName", {"missingSince": {"$ne": None}})
            known = [name for name in configured if name not in gone]
            # The known names leave gaps between the bounds of the index `due`: what waits for them is not looked at.
            waiting = {"name": {"$gt": "", "$nin": known}, **UNLOCKED, "nextRunAt": {"$gt": BEGINNING}}
            waiting["$nor"] = [{"type": "single", "name": {"$in": configured}}]
            grouped = self._jobs.aggregate(
                [
                    {"$match": waiting},
                    {"$group": {"_id": "$name", "count": {"$sum": 1}, "due": {"$min": "$nextRunAt"}}},
                    {"$sort": {"count": -1, "_id": 1}},
                    {"$limit": limit},
                ]
            )
            return [
                UnknownName(name=str(group["_id"]), waiting=group["count"], due_at=moment(group["due"]))
                for group in grouped
            ]

    def occurrence(self, id_: Any) -> OccurrenceView | None:
        """One document of the jobs collection; None when it is gone."""
        with asking("a job"):
            found = self._jobs.find_one({"_id": id_})
            return OccurrenceView.of(found) if found else None

    def dead(self, name: str | None = None, *, limit: int = 100) -> list[OccurrenceView]:
        """What gave up, newest first: failed, and not tried again by itself."""
        which = GAVE_UP if name is None else {**GAVE_UP, "name": name}
        with asking("failed jobs"):
            return [OccurrenceView.of(found) for found in self._jobs.find(which).sort("failedAt", -1).limit(limit)]

    def servers(self) -> list[ServerView]:
        """Every registered server, the longest running first; `alive` is judged by MongoDB's clock."""
        with asking("servers"):
            running = self._held_by("$lockedBy")
            found = self._servers.aggregate([{"$set": {"alive": _LEASE_HOLDS}}, {"$sort": {"startedAt": 1, "_id": 1}}])
            return [ServerView.of(server, running=running.get(key_of(server["_id"]), 0)) for server in found]

    def counts(self) -> Counts:
        """How many job documents wait, run, gave up or hang."""
        with asking("counts"):
            waiting = {**ANY_NAME, **UNLOCKED, "nextRunAt": {"$gt": BEGINNING}}
            alive = [server["_id"] for server in self._servers.find({"$expr": _LEASE_HOLDS}, {"_id": 1})]
            stale = {**HELD, "$or": [{"lockedBy": {"$nin": alive}}, {"$expr": {"$lt": ["$lockUntil", NOW]}}]}
            return Counts(
                queued=self._jobs.count_documents({**waiting, "$expr": {"$lte": ["$nextRunAt", NOW]}}),
                scheduled=self._jobs.count_documents({**waiting, "$expr": {"$gt": ["$nextRunAt", NOW]}}),
                running=self._jobs.count_documents({"lockedAt": {"$gt": BEGINNING}}),
                dead=self._jobs.count_documents(GAVE_UP),
                stale_locks=self._jobs.count_documents(stale),
            )

    def oversized(self, available_slots: int) -> dict[str, int]:
        """How many due documents need more slots than that, by the name of their job."""
        with asking("what waits for a larger server"):
            configs = self._configs.find({"jobName": {"$gt": ""}}, {"jobName": 1, "slots": 1, "defaultConfig.slots": 1})
            usual = {config["jobName"]: _usual_slots(config) for config in _named(configs, "jobName")}
            grouped = self._jobs.aggregate(oversized_pipeline(usual, available_slots)) if usual else ()
            return {group["_id"]: group["count"] for group in grouped if is_text(group["_id"])}

    def history(self, name: str, *, limit: int = 20) -> list[VersionView]:
        """The versions of a job's configuration, newest first."""
        with asking("the history of a configuration"):
            return [
                _version_view(found) for found in self._history.find({"jobName": name}).sort("version", -1).limit(limit)
            ]

    def version(self, name: str, version: int) -> VersionView | None:
        """One version of a job's configuration."""
        with asking("the history of a configuration"):
            found = self._history.find_one({"jobName": name, "version": version})
            return _version_view(found) if found else None

    def _one_run(self, run_id: str, document_id: str, fence: int) -> RunView | None:
        under_way = {"_id": id_of(document_id), "fence": fence, **HELD}
        if document := self._jobs.find_one(under_way):
            return RunView.under_way(document)
        entry = self._runs.find_one({"_id": run_id})
        return RunView.of(entry) if entry else None

    def _newest_of(self, document_id: str) -> RunView | None:
        document = self._jobs.find_one({"_id": id_of(document_id)}) or {}
        fence = whole(document.get("fence")) or 0
        if "lockToken" in document and "lockedAt" in document:
            return RunView.under_way(document)
        # The last claims first, by their ids: a recurring job may have millions of runs.
        last: Document = {
            "_id": {"$in": [f"{document_id}:{number}" for number in range(max(1, fence - 99), fence + 1)]}
        }
        # Ids of runs begin with their document's, which may be gone: along the index of the ids.
        all_: Document = {"_id": {"$gt": f"{document_id}:", "$lt": f"{document_id};"}, "fence": {"$gt": 0}}
        for which in (last, all_):
            if newest := self._runs.find_one(which, sort=[("fence", DESCENDING)]):
                return RunView.of(newest)
        return None

    def _running(self, name: str | None, limit: int) -> list[RunView]:
        which = HELD if name is None else {**HELD, "name": name}
        found = self._jobs.find(which).sort("lastRunAt", -1).limit(limit)
        return [RunView.under_way(document) for document in found]

    def _ended(self, name: str | None, status: str | None, limit: int) -> list[RunView]:
        which = {key: value for key, value in (("name", name), ("status", status)) if value is not None}
        # Either order has an index: newest_per_job where a name is given, retention where none is.
        newest_by = "finishedAt" if name is None else "startedAt"
        return [RunView.of(entry) for entry in self._runs.find(which).sort(newest_by, -1).limit(limit)]

    def _held_by(self, key: str) -> dict[Any, int]:
        grouped = self._jobs.aggregate([{"$match": HELD}, {"$group": {"_id": key, "count": {"$sum": 1}}}])
        return {key_of(group["_id"]): group["count"] for group in grouped}

    def _applied_values(self) -> dict[str, Document]:
        # Along the index one_per_version, as below.
        newest = self._history.aggregate(
            [{"$sort": {"jobName": 1, "version": -1}}, {"$group": {"_id": "$jobName", "v": {"$first": "$values"}}}]
        )
        return {key_of(group["_id"]): group["v"] for group in newest if isinstance(group.get("v"), dict)}

    def _newest_runs(self) -> dict[str, RunView]:
        # Sort and $first along the index newest_per_job: one key per name is read, however long the history.
        newest = self._runs.aggregate(
            [{"$sort": {"name": 1, "startedAt": -1}}, {"$group": {"_id": "$name", "run": {"$first": "$$ROOT"}}}]
        )
        return {key_of(group["_id"]): RunView.of(group["run"]) for group in newest}


@contextmanager
def asking(what: str) -> Iterator[None]:
    """Foreign errors become ours."""
    try:
        yield
    except PyMongoError as error:
        raise DatabaseError(f"{what} could not be read: {what_mongodb_said(error)}") from error
    except (UnicodeEncodeError, OverflowError) as error:  # half a sign, a number of twenty digits: nothing is called so
        raise DataError(f"{what} cannot be looked for: {error}") from error


def id_of(written: str) -> Any:
    """The `_id` that a person wrote: an ObjectId where it looks like one."""
    return ObjectId(written) if ObjectId.is_valid(written) else written


def _job_view(
    config: Document, *, holder: Document, running: int, newest: RunView | None, applied: Document
) -> JobView:
    error, defaults = config.get("configError"), config.get("defaultConfig")
    default_schedule = defaults.get("schedule") if isinstance(defaults, dict) else None
    return JobView(
        name=config["jobName"],
        enabled=_first_flag(config.get("enabled"), applied.get("enabled")),
        schedule=default_schedule if config.get("schedule") is None else config["schedule"],
        applied_schedule=applied.get("schedule", default_schedule),
        config_error=f"{error.get('field')}: {error.get('message')}" if isinstance(error, dict) else None,
        missing_since=moment(config.get("missingSince")),
        schedule_key=text(holder.get("scheduleKey")),
        anchor_at=moment(holder.get("anchorAt")),
        next_run_at=moment(holder.get("nextRunAt")),
        poison=holder.get("poison") is True,
        running=running,
        progress=number(holder.get("progress")) if holder.get("status") == Status.RUNNING else None,
        last_run=newest,
    )


def _usual_slots(config: Document) -> int:
    defaults = config.get("defaultConfig")
    return slots_of(config.get("slots")) or slots_of(defaults.get("slots") if isinstance(defaults, dict) else None) or 1


def _first_flag(*values: Any) -> bool:
    """What is set and a flag; anything else is not applied."""
    return next((value for value in values if isinstance(value, bool)), True)


def _version_view(entry: Document) -> VersionView:
    values = entry.get("values")
    return VersionView(
        version=whole(entry.get("version")) or 0,
        at=moment(entry.get("at")),
        by=text(entry.get("by")),
        changes=_changes(entry.get("changes")),
        values=values if isinstance(values, dict) else {},
    )


def _changes(entries: Any) -> tuple[Change, ...]:
    found = [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    return tuple(
        Change(field=str(entry.get("field")), before=entry.get("from"), after=entry.get("to")) for entry in found
    )


def _named(found: Iterable[Document], field: str) -> list[Document]:
    """Those whose name is one: to MongoDB a list is whatever any of its items is."""
    return [each for each in found if is_text(each.get(field))]
