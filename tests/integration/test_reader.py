"""What people ask: true answers whatever stands in the documents, at a cost that does not grow with history."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pymongo
import pytest
from bson import ObjectId
from bson.datetime_ms import DatetimeMS
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.monitoring import CommandListener, CommandStartedEvent

from jobserver.errors import DatabaseError, UnknownJob
from jobserver.store.codec import CODEC
from jobserver.store.collections import CollectionNames
from jobserver.store.connection import sync_client
from jobserver.store.edits import Editor
from jobserver.store.indexes import ensure_indexes
from jobserver.store.reader import Reader, id_of

pytestmark = pytest.mark.timeout(60)

Db = Database[dict[str, Any]]
NAMES = CollectionNames()


class Asked(CommandListener):
    """Every question put to MongoDB."""

    def __init__(self) -> None:
        self.commands: list[dict[str, Any]] = []

    def started(self, event: CommandStartedEvent) -> None:
        if event.command_name in ("find", "aggregate", "distinct", "count"):
            self.commands.append(dict(event.command))

    def succeeded(self, event: object) -> None: ...
    def failed(self, event: object) -> None: ...


@pytest.fixture
def asked() -> Asked:
    return Asked()


@pytest.fixture
def reader(mongo_uri: str, database_name: str, asked: Asked) -> Iterator[Reader]:
    with MongoClient[dict[str, Any]](mongo_uri, event_listeners=[asked]) as client:
        yield Reader(client[database_name], NAMES)


@pytest.fixture
def now(reader: Reader) -> datetime:
    return reader.now()


def stages(plan: Any) -> set[str]:
    """Every stage that a plan names, at any depth."""
    if isinstance(plan, list):
        return {stage for part in plan for stage in stages(part)}
    if not isinstance(plan, dict):
        return set()
    own = {plan["stage"]} if isinstance(plan.get("stage"), str) else set()
    return own | {stage for key, part in plan.items() if key != "rejectedPlans" for stage in stages(part)}


def test_questions_about_jobs_and_runs_follow_indexes(db: Db, reader: Reader, asked: Asked, now: datetime) -> None:
    ensure_indexes(db, NAMES)
    db.pulseJobs.insert_many([{"name": "a", "status": "completed", "n": n} for n in range(50)])
    db.jobRuns.insert_many([{"name": f"job{n % 3}", "startedAt": now, "finishedAt": now, "n": n} for n in range(50)])
    reader.jobs()
    reader.runs()
    reader.runs("job1")
    reader.servers()
    reader.counts()
    reader.history("a")
    reader.unknown_names()
    reader.has_left_traces("a")
    # A page of dead jobs may look at each failed document, and small collections may be read whole.
    small = (NAMES.configs, NAMES.servers)
    questions = [
        command
        for command in asked.commands
        if next(iter(command.values())) not in small and "'failed'" not in str(command)
    ]
    assert len(questions) >= 9
    for command in questions:
        bare = {key: value for key, value in command.items() if not key.startswith("$") and key != "lsid"}
        bare.pop("readConcern", None)
        found = stages(db.command("explain", bare, verbosity="queryPlanner", codec_options=CODEC))
        assert "COLLSCAN" not in found, bare
    for mark in ("$$ROOT", "$values"):
        newest = next(command for command in questions if mark in str(command))
        asked_again = {key: newest[key] for key in ("aggregate", "pipeline", "cursor")}
        assert "DISTINCT_SCAN" in stages(db.command("explain", asked_again, codec_options=CODEC))


def test_what_waits_for_jobs_that_nobody_knows_is_found_without_reading_the_rest(
    db: Db, reader: Reader, asked: Asked, now: datetime
) -> None:
    ensure_indexes(db, NAMES)
    due, later = now - timedelta(minutes=1), now + timedelta(hours=1)
    db.jobConfigs.insert_many([{"jobName": "known"}, {"jobName": "gone", "missingSince": due}])
    waiting = [("known", due)] * 200 + [("gone", later), ("nobody", later), ("nobody", due)]
    db.pulseJobs.insert_many([{"name": name, "nextRunAt": at, "n": n} for n, (name, at) in enumerate(waiting)])
    db.pulseJobs.insert_many(
        [
            {"name": "gone", "type": "single", "nextRunAt": due},  # the schedule of a job whose file is gone
            {"name": "nobody", "nextRunAt": due, "lockedAt": due},  # a Pulse worker runs it
            {"name": "nobody", "status": "completed"},
            {"name": "foreign", "type": "single", "nextRunAt": later},
        ]
    )
    found = [(each.name, each.waiting, each.due_at) for each in reader.unknown_names()]
    at = {name: moment.replace(microsecond=moment.microsecond // 1000 * 1000) for name, moment in (("due", due),)}
    assert [(name, count) for name, count, _ in found] == [("nobody", 2), ("foreign", 1), ("gone", 1)]
    assert found[0][2] == at["due"]
    grouped = next(command for command in asked.commands if "$nin" in str(command))
    explained = db.command(
        "explain",
        {key: grouped[key] for key in ("aggregate", "pipeline", "cursor")},
        verbosity="executionStats",
        codec_options=CODEC,
    )
    assert most("totalKeysExamined", explained) < 20


def most(key: str, plan: Any) -> int:
    """The greatest value of a key, at any depth."""
    if isinstance(plan, list):
        return max((most(key, part) for part in plan), default=0)
    if not isinstance(plan, dict):
        return 0
    own = plan[key] if isinstance(plan.get(key), int) else 0
    return max([own, *(most(key, part) for part in plan.values())])


def test_a_name_has_left_traces_where_something_waits_failed_or_ran(db: Db, reader: Reader, now: datetime) -> None:
    db.pulseJobs.insert_many([{"name": "waits", "nextRunAt": now}, {"name": "failed", "status": "failed"}])
    db.jobRuns.insert_one({"name": "ran", "startedAt": now})
    assert [reader.has_left_traces(name) for name in ("waits", "failed", "ran", "none")] == [True, True, True, False]


def test_a_job_is_shown_with_what_was_in_force_last(db: Db, reader: Reader) -> None:
    default = {"schedule": {"type": "manual"}}
    db.jobConfigs.insert_many(
        [
            {"jobName": "bare", "defaultConfig": default},
            {"jobName": "spoilt", "schedule": 5, "enabled": "perhaps", "defaultConfig": default},
            {"jobName": "untold", "schedule": 5, "enabled": "perhaps", "defaultConfig": default},
        ]
    )
    for version, schedule in enumerate(("1 * * * *", "2 * * * *")):
        values = {"schedule": schedule, "enabled": False}
        db.jobConfigHistory.insert_one({"jobName": "spoilt", "version": version, "values": values})
    found = {job.name: (job.schedule, job.applied_schedule, job.enabled) for job in reader.jobs()}
    assert found == {
        "bare": ({"type": "manual"}, {"type": "manual"}, True),
        "spoilt": (5, "2 * * * *", False),
        "untold": (5, {"type": "manual"}, True),
    }


def test_counts_tell_what_waits_runs_gave_up_and_hangs(db: Db, reader: Reader, now: datetime) -> None:
    past, future = now - timedelta(minutes=1), now + timedelta(hours=1)
    db.jobServers.insert_one({"_id": "alive", "leaseUntil": future})
    db.jobServers.insert_one({"_id": "dead", "leaseUntil": now - timedelta(minutes=5)})
    held = {"name": "x", "status": "running", "lockedAt": past, "nextRunAt": past}
    db.pulseJobs.insert_many(
        [
            {"name": "x", "nextRunAt": past},
            {"name": "x", "nextRunAt": past, "status": "queued"},
            {"name": "x", "nextRunAt": future},
            {"name": "x", "nextRunAt": past, "disabled": True},
            {"name": "x", "nextRunAt": "soon"},
            {"name": "x", "status": "completed"},
            {"name": "x", "status": "failed"},
            {"name": "x", "status": "failed", "nextRunAt": future},
            {"name": "pulse", "nextRunAt": past, "lockedAt": past},
            {**held, "lockToken": "1", "lockedBy": "alive", "lockUntil": future},
            {**held, "lockToken": "2", "lockedBy": "alive", "lockUntil": past},
            {**held, "lockToken": "3", "lockedBy": "dead", "lockUntil": future},
            {**held, "lockToken": "4", "lockedBy": "unknown", "lockUntil": future},
        ]
    )
    counts = reader.counts()
    assert (counts.queued, counts.scheduled, counts.running) == (2, 2, 5)
    assert (counts.dead, counts.stale_locks) == (1, 3)
    assert {server.id: (server.alive, server.running) for server in reader.servers()} == {
        "alive": (True, 2),
        "dead": (False, 1),
    }


def test_runs_under_way_come_first_then_the_newest_that_ended(db: Db, reader: Reader, now: datetime) -> None:
    for age in (3, 1, 2):
        moment = now - timedelta(minutes=age)
        db.jobRuns.insert_one({"name": "x", "status": "completed", "startedAt": moment, "finishedAt": moment, "n": age})
    db.pulseJobs.insert_one(
        {"name": "x", "status": "running", "lockToken": "t", "lockedAt": now, "lastRunAt": now, "lockedBy": "s"}
    )
    db.pulseJobs.insert_one({"name": "y", "status": "queued", "nextRunAt": now})
    found = reader.runs()
    assert [run.status for run in found] == ["running", "completed", "completed", "completed"]
    ages = [now - run.started_at for run in found if run.started_at]
    assert ages == sorted(ages)
    assert [run.status for run in reader.runs("x", limit=2)] == ["running", "completed"]
    assert [run.status for run in reader.runs("x", status="running")] == ["running"]
    assert reader.runs("y") == []


def test_documents_that_a_hand_has_spoilt_are_read_all_the_same(db: Db, reader: Reader) -> None:
    junk: list[Any] = [None, "text", 5, -1.5, float("nan"), [], {}, True, DatetimeMS(2**62), ObjectId()]
    run_fields = ("status", "startedAt", "finishedAt", "duration", "error")
    job_fields = ("nextRunAt", "progress", "progressData", "poison", "data", "attempt", "crashes", "lastError", "stack")
    for value in junk:
        db.jobConfigs.insert_one(
            {
                "jobName": f"job {value!r}",
                **dict.fromkeys(("enabled", "schedule", "configError", "missingSince"), value),
            }
        )
        db.pulseJobs.insert_one({"name": f"job {value!r}", "type": "single", **dict.fromkeys(job_fields, value)})
        db.pulseJobs.insert_one({"status": "failed", "failedAt": value, "data": value, "lastError": value})
        db.pulseJobs.insert_one({"lockToken": "t", "lockedAt": value, "lockedBy": value, "lockUntil": value})
        db.jobRuns.insert_one({"name": "x", **dict.fromkeys(run_fields, value)})
        db.jobServers.insert_one(dict.fromkeys(("host", "pid", "startedAt", "leaseUntil", "heartbeatAt"), value))
        db.jobConfigHistory.insert_one({"jobName": "x", **dict.fromkeys(("version", "at", "changes", "values"), value)})
    assert len(reader.jobs()) == len(junk)
    assert len(reader.servers()) == len(junk)
    assert len(reader.dead()) == len(junk)
    assert len(reader.history("x")) == len(junk)
    assert len(reader.runs(limit=100)) == 2 * len(junk)
    assert reader.counts().stale_locks
    assert isinstance(reader.unknown_names(), list)
    for found in db.pulseJobs.find({}, {"_id": 1}):
        assert reader.occurrence(found["_id"]) is not None


def test_an_edit_is_signed_and_one_that_changes_nothing_is_no_edit(db: Db, reader: Reader) -> None:
    db.jobConfigs.insert_one({"jobName": "x", "enabled": True})
    editor = Editor(db, NAMES, by="cli:$ann@host")
    assert editor.enable("x", enabled=False) is True
    signed = db.jobConfigs.find_one({"jobName": "x"})
    assert signed is not None
    assert (signed["enabled"], signed["updatedBy"]) == (False, "cli:$ann@host")
    assert abs(signed["updatedAt"] - datetime.now(UTC)) < timedelta(minutes=1)
    assert editor.enable("x", enabled=False) is False
    assert db.jobConfigs.find_one({"jobName": "x"}) == signed
    with pytest.raises(UnknownJob, match="did you mean 'x1'"):
        Editor(db, NAMES, by="me").enable(_named(db, "x1") + "2", enabled=True)


def _named(db: Db, name: str) -> str:
    db.jobConfigs.insert_one({"jobName": name})
    return name


def test_restoring_a_version_brings_back_its_overrides_and_no_others(db: Db) -> None:
    db.jobConfigs.insert_one({"jobName": "x", "enabled": False, "priority": 5, "concurrency": 3, "mine": "kept"})
    values = {"enabled": True, "priority": 1, "schedule": {"type": "manual"}, "unknown": 1}
    assert Editor(db, NAMES, by="me").restore("x", values) is True
    found = db.jobConfigs.find_one({"jobName": "x"}, {"_id": 0, "updatedAt": 0, "updatedBy": 0})
    assert found == {
        "jobName": "x",
        "enabled": True,
        "priority": 1,
        "schedule": {"type": "manual"},
        "mine": "kept",
    }
    assert Editor(db, NAMES, by="me").restore("x", values) is False


def test_only_what_gave_up_is_revived(db: Db, now: datetime) -> None:
    failed, waiting, running, named, ended = (ObjectId() for _ in range(5))
    db.pulseJobs.insert_many(
        [
            {"_id": failed, "name": "x", "status": "failed", "attempt": 4, "poison": True},
            {"_id": waiting, "name": "x", "status": "failed", "nextRunAt": now},
            {"_id": running, "name": "x", "status": "running", "lockToken": "t"},
            {"_id": named, "name": "y", "status": "failed"},
            {"_id": ended, "name": "y", "status": "cancelled"},
        ]
    )
    editor = Editor(db, NAMES, by="me")
    assert editor.revive([failed, waiting, running]) == 1
    revived = db.pulseJobs.find_one({"_id": failed})
    assert revived is not None
    assert revived["status"] == "queued"
    assert revived["nextRunAt"]
    assert "poison" not in revived
    assert editor.revive_all("y") == 1
    assert editor.revive_all("x") == 0
    assert editor.revive_all("y") == 0  # what has cancelled itself is not among what `dead` lists
    assert editor.revive([ended]) == 1


def test_ids_are_read_as_people_copy_them() -> None:
    id_ = ObjectId()
    assert id_of(str(id_)) == id_
    assert id_of("chosen-by-hand") == "chosen-by-hand"


def test_a_mongodb_that_is_away_is_an_error_of_ours() -> None:
    with sync_client("mongodb://127.0.0.1:1/") as client, pymongo.timeout(0.2):
        with pytest.raises(DatabaseError, match="runs could not be read"):
            Reader(client["x"], NAMES).runs()
        with pytest.raises(DatabaseError, match="the configuration of x could not be edited"):
            Editor(client["x"], NAMES, by="me").enable("x", enabled=True)


def test_lists_in_place_of_names_and_ids_are_passed_over(reader: Reader, db: Database[dict[str, Any]]) -> None:
    """To MongoDB a list is whatever any of its items is; Python can look up none."""
    moment = datetime(2020, 1, 1, tzinfo=UTC)
    db.jobConfigs.insert_many([{"jobName": "api:report"}, {"jobName": ["api:other", 1]}])
    held = {"lockToken": "t", "lockedAt": moment, "lockedBy": ["a"]}
    db.pulseJobs.insert_one({"name": ["api:report", "x"], "type": "single", "nextRunAt": moment, **held})
    db.pulseJobs.insert_one({"name": ["api:other", "x"], "slots": 7, "nextRunAt": moment})
    db.jobServers.insert_one({"_id": {"a": [1]}, "startedAt": moment})
    db.jobRuns.insert_one({"_id": "7:1", "name": ["q"], "status": ["x"], "startedAt": moment})
    db.jobConfigHistory.insert_one({"jobName": [1], "version": "x", "values": {}})
    assert [job.name for job in reader.jobs()] == ["api:report"]
    assert (len(reader.servers()), len(reader.runs())) == (1, 2)
    assert "api:other" not in reader.oversized(3)
