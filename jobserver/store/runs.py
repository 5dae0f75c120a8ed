"""Run history: one entry per attempt, in `jobRuns`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from pymongo.errors import BulkWriteError, PyMongoError

from jobserver.errors import DatabaseError
from jobserver.store.connection import AsyncJobs, Document, SyncJobs, what_mongodb_said
from jobserver.store.documents import ABSENT, ClaimedJob, ErrorRecord, RunRecord, Skipped
from jobserver.store.expressions import milliseconds
from jobserver.store.states import Status

DUPLICATE_KEY = 11000


class RunStore:
    """Writes run history; an entry that is there says no less afterwards, so every write may be repeated."""

    def __init__(self, collection: AsyncJobs) -> None:
        self._runs = collection

    async def record(self, records: Sequence[RunRecord]) -> None:
        """Store these entries. Raises DatabaseError."""
        await self._insert([run_document(record) for record in records])

    async def record_skipped(
        self, job: ClaimedJob, skipped: Sequence[Skipped], *, server: str, at: datetime, reason: str
    ) -> None:
        """Store an entry for each of these occurrences. Raises DatabaseError."""
        entries = [skipped_document(job, each, server=server, at=at, reason=reason) for each in skipped]
        if single := [entry for entry in entries if "skippedUntil" not in entry]:
            await self._insert(single)
        for entry in entries:
            if "skippedUntil" in entry:  # whoever repeats it comes later and covers more
                await self._extend(entry)

    async def withdraw_skipped(self, job: ClaimedJob, occurrence: datetime) -> None:
        """It runs after all: remove the entry that says it was skipped. Raises DatabaseError."""
        try:
            await self._runs.delete_one({"_id": skipped_id(job, occurrence)})
        except PyMongoError as error:
            raise DatabaseError(f"run history could not be mended: {what_mongodb_said(error)}") from error

    async def _extend(self, entry: Document) -> None:
        until = entry["skippedUntil"]
        first = {field: value for field, value in entry.items() if field not in ("_id", "skippedUntil")}
        change = {"$max": {"skippedUntil": until}, "$setOnInsert": first}
        try:
            await self._runs.update_one({"_id": entry["_id"]}, change, upsert=True)
        except PyMongoError as error:
            raise DatabaseError(f"run history could not be stored: {what_mongodb_said(error)}") from error

    async def _insert(self, entries: Sequence[Document]) -> None:
        try:
            await self._runs.insert_many(entries, ordered=False)
        except BulkWriteError as error:
            _only_duplicates(error)
        except PyMongoError as error:
            raise DatabaseError(f"run history could not be stored: {what_mongodb_said(error)}") from error


def record_runs(collection: SyncJobs, records: Sequence[RunRecord]) -> None:
    """The same for threads that have no event loop."""
    try:
        collection.insert_many([run_document(record) for record in records], ordered=False)
    except BulkWriteError as error:
        _only_duplicates(error)


def run_document(record: RunRecord) -> Document:
    """The entry as people read it; times are the server's where a claim stated them, durations ours."""
    job = record.job
    document: Document = {
        "_id": job.run_id,
        "jobId": job.id,
        "name": job.name,
        "status": record.status,
        "attempt": job.attempt,
        "fence": job.fence,
        "scheduledAt": job.scheduled_at,
        "startedAt": job.started_at,
        "finishedAt": job.started_at + record.duration,
        "duration": milliseconds(record.duration),
        "server": record.server,
    }
    if record.reason:
        document["reason"] = record.reason
    if record.steps:
        document["stopSteps"] = [{"step": each.step, "at": each.at} for each in record.steps]
    if record.result is not ABSENT:
        document["result"] = record.result
    if record.error is not None:
        document["error"] = record.error.message
        if record.error.stack:
            document["stack"] = record.error.stack
    return document


def skipped_document(job: ClaimedJob, skipped: Skipped, *, server: str, at: datetime, reason: str) -> Document:
    """The entry of an occurrence that did not run, under an id that is the same whoever finds it."""
    document: Document = {
        "_id": skipped_id(job, skipped.at),
        "jobId": job.id,
        "name": job.name,
        "status": Status.SKIPPED,
        "scheduledAt": skipped.at,
        "startedAt": at,
        "finishedAt": at,
        "duration": 0,
        "server": server,
        "reason": reason,
    }
    if skipped.until is not None:
        document["skippedUntil"] = skipped.until
    return document


def skipped_id(job: ClaimedJob, occurrence: datetime) -> str:
    """The same for everybody who skips it."""
    return f"{job.id}:skipped:{int(occurrence.timestamp() * 1000)}"


def cancelled_document(job: Document, id_: str, *, server: str, reason: str) -> Document:
    """The entry of a run that was waited for and will not come; its moments are the server's to say."""
    return {
        "_id": id_,
        "jobId": job["_id"],
        "name": job.get("name"),
        "status": Status.CANCELLED,
        "duration": 0,
        "server": server,
        "reason": reason,
    }


def crash_record(job: ClaimedJob, *, server: str, reason: str, duration: timedelta) -> RunRecord:
    """The entry of a run whose own server can no longer write it."""
    return RunRecord(job=job, status=Status.FAILED, server=server, duration=duration, error=ErrorRecord(message=reason))


def _only_duplicates(error: BulkWriteError) -> None:
    failures: list[Any] = error.details.get("writeErrors", [])
    if any(failure.get("code") != DUPLICATE_KEY for failure in failures) or error.details.get("writeConcernErrors"):
        raise DatabaseError(f"run history could not be stored: {what_mongodb_said(error)}") from error
