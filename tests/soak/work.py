"""What a soak gives its servers to do: every kind of run and every way to ask for one, at a steady pace."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from contextlib import suppress
from typing import Any

from pymongo.errors import PyMongoError

from jobserver import SyncJobClient
from jobserver.errors import JobServerError
from tests.project import Project

JOBS = {
    "inline": """
class Inline(Job):
    schedule = "manual"
    async def run(self, data, progress):
        await progress(2, 1, "half")
        return {"echo": data}
""",
    "threaded": """
class Threaded(Job):
    schedule = "manual"
    def run(self, data, log):
        time.sleep(0.02)
        log.i("in a thread", {"n": data.get("n")})
        return sum(range(1000))
""",
    "processed": """
class Processed(Job):
    schedule = "manual"
    execution = "process"
    def run(self, data, db):
        print("said by a process", data)
        return db.jobConfigs.count_documents({})
""",
    "talks": """
class Talks(Job):
    schedule = "manual"
    async def run(self, data, log):
        for number in range(50):
            log.i("line", {"number": number, "text": "x" * 200})
""",
    "fails": """
class Fails(Job):
    schedule = "manual"
    retry = Retry(attempts=2, delay="1 second")
    async def run(self, data):
        raise ValueError(f"as it should: {data}")
""",
    "refuses": """
class Refuses(Job):
    schedule = "manual"
    def run(self, data):
        raise FatalError("no second attempt")
""",
    "lingers": """
class Lingers(Job):
    schedule = "manual"
    async def run(self):
        while True:
            await asyncio.sleep(1)
            await self.touch()
""",
    "often": """
class Often(Job):
    schedule = "2 seconds"
    async def run(self, log):
        log.i("again")
""",
    "by_the_clock": """
class ByTheClock(Job):
    schedule = "*/3 * * * * *"
    def run(self):
        return None
""",
}
KINDS = {"inline": 20.0, "threaded": 5.0, "processed": 0.5, "talks": 1.0, "fails": 1.0, "refuses": 1.0, "lingers": 0.5}
PACE = {**KINDS, "one-off": 0.1, "chain": 0.5}  # a second
TICK = 0.2  # seconds


class Load:
    """Asks for work in a thread of its own, until it is stopped."""

    def __init__(self, project: Project, names: dict[str, str], seed: int) -> None:
        self._project, self._names, self._random = project, names, random.Random(seed)
        self._client = SyncJobClient(project.db)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)
        self.asked: Counter[str] = Counter()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Ask for nothing more."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        due: dict[Any, float] = {}
        began = time.monotonic()
        while not self._stop.wait(TICK):
            passed = time.monotonic() - began
            for kind, pace in PACE.items():
                while due.get(kind, 0.0) < passed:
                    due[kind] = due.get(kind, 0.0) + 1 / pace
                    with suppress(JobServerError, PyMongoError):
                        self._ask(kind)
            with suppress(JobServerError, PyMongoError):
                self._cancel_some()

    def _ask(self, kind: str) -> None:
        match kind:
            case "one-off":
                self._client.add_one_off_job(name=f"once:{self.asked[kind]}", job=self._names["inline"])
            case "chain":
                first = self._client.schedule(self._names["inline"], {"n": 0}, start_at=self._project.now())
                self._client.schedule(self._names["threaded"], {"n": 1}, start_after=first)
            case _:
                self._client.enqueue(self._names[kind], {"n": self._random.randrange(1_000)})
        self.asked[kind] += 1

    def _cancel_some(self) -> None:
        """What lingers never ends by itself."""
        held = {"name": self._names["lingers"], "lockToken": {"$gt": ""}}
        old = {"$expr": {"$lt": ["$lastRunAt", {"$subtract": ["$$NOW", 5_000]}]}}
        for found in self._project.jobs.find({**held, **old}, {"fence": 1}):
            if self._client.cancel_run(f"{found['_id']}:{found['fence']}"):
                self.asked["cancel"] += 1


def write_jobs(project: Project) -> dict[str, str]:
    """A file each; their names by kind."""
    return {kind: project.job(kind, source) for kind, source in JOBS.items()}
