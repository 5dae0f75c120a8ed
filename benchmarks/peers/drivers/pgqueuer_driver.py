"""No-op jobs through pgqueuer: `pgqueuer_driver.py queue|work POSTGRESQL_URL JOBS BATCH`."""

from __future__ import annotations

import json
import sys
import time
from importlib.metadata import version

import asyncpg
import uvloop
from pgqueuer.db import AsyncpgDriver
from pgqueuer.models import Job
from pgqueuer.qm import QueueManager
from pgqueuer.queries import Queries
from pgqueuer.types import QueueExecutionMode

CHUNK = 1_000


async def main(phase: str, url: str, jobs: int, batch: int) -> None:
    connection = await asyncpg.connect(url)
    queries = Queries(AsyncpgDriver(connection))
    if phase == "queue":
        await queue(queries, jobs)
        await connection.execute("VACUUM ANALYZE")  # what autovacuum does within its first minute
    else:
        await work(queries, jobs, batch)
    await connection.close()


async def queue(queries: Queries, jobs: int) -> None:
    await queries.install()
    await queries.optimize_autovacuum()  # what its `pgq autovac` does
    for _ in range(0, jobs, CHUNK):
        await queries.enqueue(["noop"] * CHUNK, [None] * CHUNK, [0] * CHUNK)


async def work(queries: Queries, jobs: int, batch: int) -> None:
    manager = QueueManager(queries)
    finished = 0

    @manager.entrypoint("noop")
    async def noop(_: Job) -> None:
        nonlocal finished
        finished += 1

    began = time.perf_counter()
    # Results are written in batches behind the runs: only when `run` has returned are all of them in the database.
    await manager.run(batch_size=batch, mode=QueueExecutionMode.drain)
    seconds = time.perf_counter() - began
    if finished != jobs:
        raise SystemExit(f"error: {finished} of {jobs} jobs were run")
    vacuum = "its optimized autovacuum, VACUUM ANALYZE after queueing"
    settings = {"batch_size": batch, "driver": "asyncpg", "event_loop": "uvloop", "vacuum": vacuum}
    facts = {"version": version("pgqueuer"), "jobs": jobs, "seconds": seconds, "jobs_per_second": jobs / seconds}
    print(json.dumps({"peer": f"pgqueuer-{batch}", **facts, "settings": settings}))


if __name__ == "__main__":
    phase, url, *numbers = sys.argv[1:]
    uvloop.run(main(phase, url, *map(int, numbers)))
