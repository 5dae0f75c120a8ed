"""No-op jobs through APScheduler 4 on MongoDB: `apscheduler_driver.py queue|work MONGODB_URL JOBS`."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from importlib.metadata import version
from urllib.parse import urlsplit

from apscheduler import AsyncScheduler, Event, JobReleased
from apscheduler.datastores.mongodb import MongoDBDataStore

# 20, 100 and 1000 were equally fast; "async" runs a job on the loop, without a thread.
SETTINGS = {"max_concurrent_jobs": 100, "job_executor": "async", "event_broker": "local"}
CHUNK = 50


async def noop() -> None:
    pass


async def main(phase: str, url: str, jobs: int) -> None:
    store = MongoDBDataStore(url, database=urlsplit(url).path.strip("/"))
    async with AsyncScheduler(store, max_concurrent_jobs=100) as scheduler:
        await scheduler.configure_task("noop", func=noop, job_executor="async", max_running_jobs=None)
        if phase == "queue":
            await queue(scheduler, jobs)
        else:
            await work(scheduler, jobs)


async def queue(scheduler: AsyncScheduler, jobs: int) -> None:
    for _ in range(0, jobs, CHUNK):
        await asyncio.gather(*(scheduler.add_job("noop") for _ in range(CHUNK)))


async def work(scheduler: AsyncScheduler, jobs: int) -> None:
    finished = 0
    all_finished = asyncio.Event()

    def count(_: Event) -> None:
        nonlocal finished
        finished += 1
        if finished == jobs:
            all_finished.set()

    scheduler.subscribe(count, {JobReleased})
    began = time.perf_counter()
    await scheduler.start_in_background()
    await all_finished.wait()
    seconds = time.perf_counter() - began
    await scheduler.stop()
    facts = {"version": version("apscheduler"), "jobs": jobs, "seconds": seconds, "jobs_per_second": jobs / seconds}
    print(json.dumps({"peer": "apscheduler", **facts, "settings": SETTINGS}))


if __name__ == "__main__":
    phase, url, jobs = sys.argv[1:]
    asyncio.run(main(phase, url, int(jobs)))
