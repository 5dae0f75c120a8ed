"""The raw protocol: claims and settles no-ops in batches with nothing around it. What MongoDB gives one process.

    python -m benchmarks.raw_protocol URI DATABASE bare|whole

`bare` writes what no job queue can do without, on the due index alone. `whole` writes as many fields as the job server
does, and history, on all of its indexes. Prints its own CPU seconds.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from pymongo import ASCENDING, DESCENDING, MongoClient, WriteConcern
from pymongo.database import Database
from pymongo.read_concern import ReadConcern

Document = dict[str, Any]

BATCH = 500
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ORDER = [("priority", DESCENDING), ("nextRunAt", ASCENDING)]
DUE_INDEX = [("name", ASCENDING), ("lockToken", ASCENDING), *ORDER]
HALF_AN_HOUR, A_WEEK = 1_800_000, 604_800_000

CLAIM: Document = {"status": "running", "lockedAt": "$$NOW", "lastRunAt": "$$NOW"}
SETTLE: Document = {
    "status": "completed",
    "lastFinishedAt": "$$NOW",
    "duration": {"$subtract": ["$$NOW", "$lastRunAt"]},
}
CLAIM_WHOLE: Document = {
    **CLAIM,
    "lockedBy": "raw",
    "lockUntil": {"$add": ["$$NOW", HALF_AN_HOUR]},
    "scheduledFor": "$nextRunAt",
    **{field: {"$add": [{"$ifNull": [f"${field}", 0]}, 1]} for field in ("fence", "attempt", "runCount")},
}
SETTLE_WHOLE: Document = {
    **SETTLE,
    "settledBy": "$lockToken",
    "expireAt": {"$add": ["$$NOW", A_WEEK]},
    "finishedCount": {"$add": [{"$ifNull": ["$finishedCount", 0]}, 1]},
    "lastCompletedAt": "$$NOW",
}
LOCK = ["lockToken", "lockedAt", "lockedBy", "lockUntil", "nextRunAt"]
OCCURRENCE = ["attempt", "scheduledFor"]


def work_off(database: Database[Document], name: str, *, whole: bool) -> None:
    """Every due job of this name, batch after batch."""
    jobs = database.pulseJobs
    claim, settle = (CLAIM_WHOLE, SETTLE_WHOLE) if whole else (CLAIM, SETTLE)
    removed = LOCK + OCCURRENCE if whole else LOCK
    while ids := _due(database, name):
        token = uuid4().hex
        jobs.update_many({"_id": {"$in": ids}, "lockToken": None}, [{"$set": {**claim, "lockToken": token}}])
        claimed = jobs.find({"_id": {"$in": ids}, "lockToken": token}, batch_size=BATCH).to_list()
        owned = {"_id": {"$in": [job["_id"] for job in claimed]}, "lockToken": token}
        jobs.update_many(owned, [{"$set": settle}, {"$unset": removed}])
        if whole:
            database.jobRuns.insert_many([_run(job) for job in claimed], ordered=False)


def _due(database: Database[Document], name: str) -> Sequence[Any]:
    due = {"name": name, "lockToken": None, "nextRunAt": {"$gt": EPOCH, "$lte": datetime.now(UTC)}}
    found = database.pulseJobs.find(due, {"_id": 1}, sort=ORDER, limit=BATCH, batch_size=BATCH)
    return [job["_id"] for job in found]


def _run(job: Document) -> Document:
    return {
        "_id": f"{job['_id']}:{job['fence']}",
        "jobId": job["_id"],
        "name": job["name"],
        "status": "completed",
        "attempt": job["attempt"],
        "fence": job["fence"],
        "scheduledAt": job["scheduledFor"],
        "startedAt": job["lastRunAt"],
        "finishedAt": datetime.now(UTC),
        "duration": 0,
        "server": "raw",
    }


def main(uri: str, database: str, variant: str) -> None:
    """Work off what is queued there."""
    concerns: Document = {"write_concern": WriteConcern("majority"), "read_concern": ReadConcern("majority")}
    with MongoClient[Document](uri, tz_aware=True) as client:
        client.admin.command("ping")
        began = time.process_time()
        work_off(client.get_database(database, **concerns), "api:noop", whole=variant == "whole")
        print(time.process_time() - began)


if __name__ == "__main__":
    main(*sys.argv[1:])
