"""Many recurring tasks: the first as a client makes it, the others are its copies."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from bson import ObjectId
from pymongo.database import Database

from benchmarks.mongod import Document
from jobserver import SyncJobClient

DAY = timedelta(days=1)
BATCH = 2_000


def make_tasks(database: Database[Document], job: str, count: int, *, start: datetime, spread: timedelta) -> list[Any]:
    """Daily tasks of one job, the first runs of which are spread evenly from `start` on; returns their ids."""
    first = SyncJobClient(database).schedule(job, {"number": 0}, start_at=start, recurrence=DAY)
    pattern = database.pulseJobs.find_one({"_id": first.id}) or {}
    copies, ids = _copies(pattern, count, spread), [first.id]
    while batch := list(islice(copies, BATCH)):
        ids += database.pulseJobs.insert_many(batch, ordered=False).inserted_ids
    return ids


def _copies(pattern: Document, count: int, spread: timedelta) -> Iterator[Document]:
    for number in range(1, count):
        start = pattern["nextRunAt"] + number * spread / count
        yield {
            **pattern,
            "_id": ObjectId(),
            "data": {"number": number},
            "startAt": start,
            "nextRunAt": start,
            "recurrence": {**pattern["recurrence"], "startDate": start},
        }
