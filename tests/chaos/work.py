"""What the servers of a chaos run have to do: jobs of every kind that say which claim they work under, and clients."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

from pymongo import MongoClient

from jobserver import SyncJobClient
from jobserver.errors import DatabaseError
from tests.chaos.history import Promise, Sign, Step
from tests.project import Project

SIGNS = '''
import json, random

SIGNS = {folder!r}
_files = {{}}

def sign(context, what, is_process=False):
    """On disk before anything else happens; one file per process, each line one write."""
    fd = _files.get(os.getpid())
    if fd is None:
        path = os.path.join(SIGNS, str(os.getpid()))
        fd = _files[os.getpid()] = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o644)
    facts = {{"job": context.name, "id": str(context.job_id), "fence": context.fence, "sign": what,
              "clock": time.monotonic(), "pid": os.getpid(), "is_process": is_process}}
    os.write(fd, (json.dumps(facts) + "\\n").encode())
    if what != "beat":
        os.fdatasync(fd)

def done(context, data):
    return {{"fence": context.fence, "n": data["n"]}}

'''
INLINE = """
class {name}(Job):
    schedule = "manual"
    concurrency = 20
    {more}
    async def run(self, data, context, progress):
        await asyncio.to_thread(sign, context, "begin")
        if context.attempt <= data.get("failures", 0):
            raise RuntimeError("as planned")
        for _ in range(data["steps"]):
            await asyncio.sleep(data["pause"])
            await progress(1000000, context.fence)
        await asyncio.to_thread(sign, context, "end")
        return done(context, data)
"""
THREAD = """
class Threaded(Job):
    schedule = "manual"
    concurrency = 10
    def run(self, data, context, progress):
        sign(context, "begin")
        time.sleep(data["pause"])
        progress(1000000, context.fence)
        sign(context, "end")
        return done(context, data)
"""
PROCESS = """
class Processed(Job):
    schedule = "manual"
    concurrency = 3
    execution = "process"
    def run(self, data, context, progress):
        sign(context, "begin", True)
        until = time.monotonic() + data["pause"]
        while time.monotonic() < until:
            time.sleep(0.02)
            sign(context, "beat", True)
        progress(1000000, context.fence)
        sign(context, "end", True)
        return done(context, data)
"""
BEAT = """
class Beat(Job):
    schedule = Schedule.parse("* * * * * *", misfire="all(max=100)")
    async def run(self, context):
        await asyncio.to_thread(sign, context, "begin")
        await asyncio.to_thread(sign, context, "end")
        return {"fence": context.fence}
"""
FLAKY_RETRIES = 3
LIMIT = 3
JOBS = {
    "quick": INLINE.format(name="Quick", more=""),
    "long": INLINE.format(name="Long", more=""),
    "keyed": INLINE.format(name="Keyed", more=""),
    "flaky": INLINE.format(name="Flaky", more=f"retry = Retry(attempts={FLAKY_RETRIES}, delay=200)"),
    "limited": INLINE.format(name="Limited", more=f"global_concurrency = {LIMIT}"),
    "threaded": THREAD,
    "processed": PROCESS,
    "beat": BEAT,
}
BEAT_NAME = "api:beat"
PAUSED = "api:keyed"  # whose configuration is edited in the end
ONCE = {f"api:{kind}": 1 for kind in ("quick", "long", "keyed", "limited", "threaded", "processed")}
PROMISE = Promise(limits={"api:limited": LIMIT}, attempts={**ONCE, "api:flaky": 1 + FLAKY_RETRIES})
SHARES = {"quick": 66, "threaded": 14, "processed": 4, "long": 6, "flaky": 4, "limited": 2, "keyed": 4}
KEYS = 20
CANCELLED = 0.05  # of what is enqueued one by one


def write_jobs(project: Project, signs: Path) -> None:
    """One file per kind."""
    signs.mkdir()
    for kind, source in JOBS.items():
        project.job(kind, SIGNS.format(folder=str(signs)) + source)


def request(number: int, dice: random.Random) -> tuple[str, dict[str, Any]]:
    """The name and the data of one job, by chance."""
    (kind,) = dice.choices(list(SHARES), list(SHARES.values()))
    data: dict[str, Any] = {"n": number, "steps": dice.choice((0, 0, 1)), "pause": dice.random() * 0.05}
    match kind:
        case "long":
            data |= {"steps": 8, "pause": dice.uniform(0.1, 0.8)}
        case "processed":
            data["pause"] = dice.uniform(0.05, 1.0)
        case "flaky":
            data["failures"] = dice.randrange(FLAKY_RETRIES + 2)
        case "keyed":
            data["key"] = str(dice.randrange(KEYS))
    return f"api:{kind}", data


class Customer(threading.Thread):
    """Enqueues its share at a steady pace, by a way of its own to MongoDB, and keeps the ids that it was given.

    What fails is not tried again: whether it was stored is then nobody's business but the checker's.
    """

    def __init__(
        self, uri: str, database: str, numbers: range, *, seconds: float, seed: int, stopping: threading.Event
    ) -> None:
        super().__init__(name=f"customer {numbers.start}", daemon=True)
        self._uri, self._database, self._numbers, self._stopping = uri, database, numbers, stopping
        self._rate = len(numbers) / seconds
        self._dice = random.Random(seed)
        self.accepted: list[str] = []
        self.refused = 0

    def run(self) -> None:
        """One by one, and now and then many at once."""
        with MongoClient[Any](self._uri, tz_aware=True, serverSelectionTimeoutMS=3000, timeoutMS=10_000) as client:
            jobs = SyncJobClient(client[self._database])
            numbers, done, began = iter(self._numbers), 0, time.monotonic()
            while batch := list(self._batch(numbers)):
                with self._counted(len(batch)):
                    self._enqueue(jobs, batch)
                done += len(batch)
                # What an outage has kept waiting is made up for.
                if self._stopping.wait(max(0.0, began + done / self._rate - time.monotonic())):
                    return

    def _batch(self, numbers: Iterator[int]) -> Iterator[tuple[str, dict[str, Any]]]:
        for number in islice(numbers, self._dice.choice((1, 1, 1, 20))):
            yield request(number, self._dice)

    def _enqueue(self, jobs: SyncJobClient, batch: list[tuple[str, dict[str, Any]]]) -> None:
        if len(batch) > 1:
            plain = [(name, {key: value for key, value in data.items() if key != "key"}) for name, data in batch]
            self.accepted += [str(id_) for id_ in jobs.enqueue_many(plain)]
            return
        ((name, data),) = batch
        id_ = jobs.enqueue(name, data, unique_key=data.get("key"))
        self.accepted.append(str(id_))
        if self._dice.random() < CANCELLED:
            jobs.cancel(id_)

    def _counted(self, many: int) -> Any:
        return _Refusals(self, many)


class _Refusals(suppress):
    """MongoDB was away for a client: it is told so, and goes on with the next."""

    def __init__(self, customer: Customer, many: int) -> None:
        super().__init__(DatabaseError)
        self._customer, self._many = customer, many

    def __exit__(self, kind: Any, error: Any, trace: Any) -> bool:
        suppressed = bool(super().__exit__(kind, error, trace))
        if suppressed:
            self._customer.refused += self._many
        return suppressed


def read_steps(signs: Path) -> list[Step]:
    """What the runs have noted; the last line of a killed process may be torn."""
    return [step for path in sorted(signs.iterdir()) for step in _steps(path)]


def _steps(path: Path) -> Iterator[Step]:
    *whole, _ = path.read_text().split("\n")
    for line in whole:
        facts = json.loads(line)
        yield Step(**{**facts, "sign": Sign(facts["sign"])})
