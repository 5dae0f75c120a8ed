"""Documents written by the real Pulse library are run here, and Pulse reads back what happened."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from pymongo.database import Database

from jobserver import JobServer

JOBS = """
from jobserver import Job


class Echo(Job):
    name = "node:echo"
    schedule = "manual"

    async def run(self, data):
        return data["how"]


class Flaky(Job):
    name = "node:flaky"
    schedule = "manual"

    async def run(self, context):
        if context.attempt < 3:
            raise RuntimeError(f"attempt {context.attempt}")
        return {"attempt": context.attempt}


class Hopeless(Job):
    name = "node:hopeless"
    schedule = "manual"

    async def run(self):
        raise RuntimeError("always")


class Tick(Job):
    name = "node:tick"
    schedule = "manual"

    async def run(self, db, data):
        await db.ticks.insert_one(data)


class Cron(Job):
    name = "node:cron"
    schedule = "manual"

    async def run(self):
        return "ran"


class Slow(Job):
    name = "api:slow"
    schedule = "manual"
    concurrency = 2  # only the token stands between the document and a second claim

    async def run(self, db, context):
        await db.slow.insert_one({"fence": context.fence})
        while await db.go.find_one({}) is None:
            await self.touch()
"""
DEADLINE = 30.0


@asynccontextmanager
async def serving(tmp_path: Path, mongo_uri: str, database_name: str) -> AsyncIterator[JobServer]:
    (tmp_path / "jobs").mkdir(exist_ok=True)
    (tmp_path / "jobs" / "node.py").write_text(JOBS)
    server = await JobServer.create(
        config={
            "mongodb": {"uri": mongo_uri, "database": database_name},
            "project": {"jobs_dir": str(tmp_path / "jobs"), "plugins_dir": str(tmp_path / "plugins")},
            "runner": {
                "config": {"process_every": 200, "max_concurrency": 10, "lock_limit": 0, "default_lock_limit": 0}
            },
        }
    )
    await server.start()
    try:
        yield server
    finally:
        await server.shutdown()


async def until(condition: Callable[[], Any | Awaitable[Any]]) -> Any:
    async with asyncio.timeout(DEADLINE):
        while not (found := condition()):
            await asyncio.sleep(0.02)
    return found


def ended(db: Database[Any], name: str, count: int) -> Callable[[], bool]:
    return lambda: db.pulseJobs.count_documents({"name": name, "status": {"$in": ["completed", "failed"]}}) == count


async def test_what_pulse_inserts_is_run_and_pulse_reads_the_outcome(
    tmp_path: Path, mongo_uri: str, database_name: str, db: Database[Any], node: Callable[[str], str]
) -> None:
    await asyncio.to_thread(node, "insert.mjs")
    async with serving(tmp_path, mongo_uri, database_name):
        await until(ended(db, "node:echo", 4))
        await until(ended(db, "node:flaky", 1))
        await until(ended(db, "node:hopeless", 1))
        await until(lambda: db.ticks.count_documents({}) >= 3)
    read = json.loads(await asyncio.to_thread(node, "read.mjs"))
    echoes = {job["data"]["how"]: job for job in read if job["name"] == "node:echo"}

    assert {how for how, job in echoes.items() if job.get("result") == how} == {"now", "schedule", "lowest", "highest"}
    assert all(job["finishedCount"] == 1 and not job["running"] for job in echoes.values() if "result" in job)
    assert "runCount" not in echoes["disabled"]
    assert echoes["disabled"]["disabled"]
    assert "runCount" not in echoes["far away"]
    assert echoes["far away"]["nextRunAt"] == "2099-01-02T03:04:05.000Z"

    (flaky,) = (job for job in read if job["name"] == "node:flaky")
    assert (flaky["runCount"], flaky["failCount"], flaky["failed"]) == (3, 2, False)
    assert flaky["result"] == {"attempt": 3}

    (hopeless,) = (job for job in read if job["name"] == "node:hopeless")
    assert (hopeless["runCount"], hopeless["failCount"]) == (3, 3)
    assert hopeless["failed"]
    assert hopeless["failReason"] == "always"

    (tick,) = (job for job in read if job["name"] == "node:tick")
    assert tick["type"] == "single"
    assert tick["finishedCount"] >= 3
    assert tick["nextRunAt"] > tick["lastRunAt"]

    (cron,) = (job for job in read if job["name"] == "node:cron")
    local = datetime.fromisoformat(cron["nextRunAt"]).astimezone(ZoneInfo("America/New_York"))
    assert (local.hour, local.minute) in {(2, 30), (3, 30)}  # half past two, or an hour later in a gap


async def test_the_highest_priority_that_pulse_wrote_starts_first(
    tmp_path: Path, mongo_uri: str, database_name: str, db: Database[Any], node: Callable[[str], str]
) -> None:
    await asyncio.to_thread(node, "insert.mjs")
    async with serving(tmp_path, mongo_uri, database_name):
        await until(ended(db, "node:echo", 4))
    order = [run["result"] for run in db.jobRuns.find({"name": "node:echo"}).sort("startedAt")]

    assert order.index("highest") < order.index("lowest")


async def test_a_retry_waits_as_long_as_pulse_asked_for(
    tmp_path: Path, mongo_uri: str, database_name: str, db: Database[Any], node: Callable[[str], str]
) -> None:
    await asyncio.to_thread(node, "insert.mjs")
    async with serving(tmp_path, mongo_uri, database_name):
        await until(ended(db, "node:flaky", 1))
    first, second, third = db.jobRuns.find({"name": "node:flaky"}).sort("startedAt")

    assert second["startedAt"] - first["finishedAt"] >= timedelta(milliseconds=95)
    assert third["startedAt"] - second["finishedAt"] >= timedelta(milliseconds=195)


async def test_a_pulse_worker_beside_us_keeps_its_jobs_and_leaves_ours(
    tmp_path: Path, mongo_uri: str, database_name: str, db: Database[Any], node_folder: Path, address: str
) -> None:
    script = shutil.copy(Path(__file__).parent / "work.mjs", node_folder)
    async with serving(tmp_path, mongo_uri, database_name):
        now = datetime.now(UTC) - timedelta(seconds=1)
        db.pulseJobs.insert_one({"name": "api:slow", "nextRunAt": now})
        await until(lambda: db.slow.count_documents({}) == 1)
        worker = await asyncio.create_subprocess_exec(
            "node", script, address, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        assert worker.stdin is not None
        assert worker.stdout is not None
        printed: Counter[str] = Counter()
        async with asyncio.timeout(DEADLINE):
            while sum(printed.values()) < 6:  # its start has removed `lockedAt` from our running document by now
                printed[(await worker.stdout.readline()).decode().strip()] += 1
        for _ in range(3):
            db.pulseJobs.insert_one({"name": "node:echo", "nextRunAt": now, "data": {"how": "by hand"}})
        await until(ended(db, "node:echo", 3))
        db.go.insert_one({})
        await until(ended(db, "api:slow", 1))
        worker.stdin.close()
        await worker.wait()

    assert printed == Counter({"started": 1, **{f"own {n}": 1 for n in range(5)}})
    assert [run["fence"] for run in db.slow.find()] == [1]
    assert db.jobRuns.count_documents({"name": "node:own"}) == 0
