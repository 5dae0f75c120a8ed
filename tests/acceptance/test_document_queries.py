"""The queries that users of the J document run on `pulseJobs`, verbatim, against histories that are known.

Each counts documents: one for every occurrence that somebody asked for, one for a recurring job.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pymongo.database import Database

from jobserver import JobServer, SyncJobClient

JOBS = """
import asyncio

from jobserver import FatalError, Job


class MyJob(Job):
    name = "myJob"
    schedule = "manual"
    concurrency = 20

    async def run(self, db, data, progress):
        if data.get("fails"):
            raise FatalError("Invalid configuration")
        if data.get("held"):
            await progress(100, 50, "Processing...")
            while await db.gate.find_one({}) is None:
                await asyncio.sleep(0.01)
        return {"success": True}


class Hourly(Job):
    name = "hourly"
    schedule = "0 * * * *"

    async def run(self):
        pass
"""
DEADLINE = 60.0


@asynccontextmanager
async def serving(tmp_path: Path, uri: str, database: str) -> AsyncIterator[JobServer]:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "queries.py").write_text(JOBS)
    server = await JobServer.create(
        config={
            "mongodb": {"uri": uri, "database": database},
            "project": {"jobs_dir": str(tmp_path / "jobs"), "plugins_dir": str(tmp_path / "plugins")},
            "runner": {
                "config": {"process_every": 100, "max_concurrency": 50, "lock_limit": 0, "default_lock_limit": 0}
            },
        }
    )
    await server.start()
    try:
        yield server
    finally:
        await server.shutdown()


async def until(condition: Callable[[], Any]) -> Any:
    async with asyncio.timeout(DEADLINE):
        while not (found := condition()):
            await asyncio.sleep(0.02)
    return found


def job_status(db: Database[Any], name: str) -> dict[str, Any]:
    fields = ("status", "progress", "lastRunAt", "nextRunAt", "failCount", "lastError")
    found: dict[str, Any] = db.pulseJobs.find_one({"name": name}, dict.fromkeys(fields, 1))
    return found


def statistics(db: Database[Any]) -> dict[str, dict[str, Any]]:
    group = {
        "_id": "$name",
        "totalRuns": {"$sum": 1},
        "failures": {"$sum": {"$cond": ["$failedAt", 1, 0]}},
        "avgDuration": {"$avg": "$duration"},
        "lastRun": {"$max": "$lastRunAt"},
    }
    return {each["_id"]: each for each in db.pulseJobs.aggregate([{"$group": group}])}


def metrics(db: Database[Any]) -> tuple[int, int, int]:
    active = db.pulseJobs.count_documents({"lockedAt": {"$exists": True}})
    pending = db.pulseJobs.count_documents({"nextRunAt": {"$lte": datetime.now(UTC)}, "lockedAt": {"$exists": False}})
    return active, pending, db.pulseJobs.count_documents({"failedAt": {"$exists": True}})


async def test_status_statistics_and_metrics_tell_what_happened(
    tmp_path: Path, mongo_uri: str, database_name: str, db: Database[Any]
) -> None:
    client = SyncJobClient(db)
    async with serving(tmp_path, mongo_uri, database_name):
        for data in [{}] * 4 + [{"fails": True}] * 2:
            await asyncio.to_thread(client.enqueue, "api:myJob", data)
        await until(lambda: db.pulseJobs.count_documents({"status": {"$in": ["completed", "failed"]}}) == 6)
        held = await asyncio.to_thread(client.enqueue, "api:myJob", {"held": True})
        await until(lambda: db.pulseJobs.find_one({"_id": held, "progress": 50}))
        db.jobConfigs.update_one({"jobName": "api:myJob"}, {"$set": {"concurrency": 0}})
        await until(lambda: db.jobConfigHistory.count_documents({"values.concurrency": 0}) == 1)
        for _ in range(3):
            await asyncio.to_thread(client.enqueue, "api:myJob", {})
        await asyncio.to_thread(client.enqueue, "api:myJob", {}, delay=timedelta(hours=1))

        assert metrics(db) == (1, 3, 2)
        mine = statistics(db)["api:myJob"]
        assert (mine["totalRuns"], mine["failures"]) == (11, 2)
        durations = [each["duration"] for each in db.pulseJobs.find({"duration": {"$exists": True}})]
        assert mine["avgDuration"] == sum(durations) / 6
        assert mine["lastRun"] == db.pulseJobs.find_one({"_id": held})["lastRunAt"]  # type: ignore[index]

        newest = list(db.pulseJobs.find({"name": "api:myJob"}, sort=[("lastRunAt", -1)], limit=1))
        assert newest[0]["_id"] == held
        assert (newest[0]["status"], newest[0]["progress"]) == ("running", 50)

        hourly = job_status(db, "api:hourly")
        assert hourly["status"] == "scheduled"
        assert hourly["nextRunAt"] > datetime.now(UTC)
        assert not {"lastRunAt", "failCount", "lastError", "progress"} & set(hourly)
        db.gate.insert_one({})
        await until(lambda: db.pulseJobs.find_one({"_id": held, "status": "completed"}))
    failed = db.pulseJobs.find_one({"name": "api:myJob", "data.fails": True})
    assert failed is not None
    assert (failed["status"], failed["failCount"], failed["lastError"]) == ("failed", 1, "Invalid configuration")
    assert metrics(db)[0] == 0


async def test_locks_are_investigated_and_stale_ones_found(
    tmp_path: Path, mongo_uri: str, database_name: str, db: Database[Any]
) -> None:
    client = SyncJobClient(db)
    async with serving(tmp_path, mongo_uri, database_name):
        ids = [await asyncio.to_thread(client.enqueue, "api:myJob", {"held": True}) for _ in range(2)]
        await until(lambda: db.pulseJobs.count_documents({"progress": 50}) == 2)
        long_ago = datetime.now(UTC) - timedelta(hours=2)
        db.pulseJobs.update_one({"_id": ids[0]}, {"$set": {"lockedAt": long_ago, "lastRunAt": long_ago}})

        half_an_hour_ago = datetime.now(UTC) - timedelta(minutes=30)
        locks = db.pulseJobs.find({"lockedAt": {"$exists": True}, "lastRunAt": {"$lt": half_an_hour_ago}})
        assert [each["_id"] for each in locks] == [ids[0]]

        an_hour_ago = datetime.now(UTC) - timedelta(hours=1)
        stale = db.pulseJobs.find({"lockedAt": {"$lt": an_hour_ago}})
        assert [each["_id"] for each in stale] == [ids[0]]
        db.gate.insert_one({})
        await until(lambda: db.pulseJobs.count_documents({"status": "completed"}) == 2)
    assert db.pulseJobs.count_documents({"lockedAt": {"$exists": True}}) == 0
