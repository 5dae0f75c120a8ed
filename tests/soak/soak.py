"""A supervised server with its workers and a single one beside it, at work for as long as planned."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

from tests.project import Project, ServerProcess, until
from tests.soak.judge import Finding, enough, judge
from tests.soak.samples import Samples, Watched
from tests.soak.work import PACE, Load, write_jobs

Tell = Callable[[str], None]

INSIDE = Path(__file__).with_name("inside")
LOOK_EVERY, COUNT_EVERY = 2.0, 10.0  # seconds
LONG_START, APPLIED_WITHIN = 120.0, 10.0
RETENTION = "1 minute"
EDITS: tuple[tuple[str, Any], ...] = (
    ("inline", {"priority": 5}),
    ("threaded", {"concurrency": 3}),
    ("often", {"schedule": "1 second"}),
    ("inline", {"priority": -5}),
    ("threaded", {"concurrency": 6}),
    ("often", {"schedule": "2 seconds"}),
)
# Everything by malloc, and nothing kept at hand by it: so it can say to the byte what the program holds.
COUNTED = {"PYTHONMALLOC": "malloc", "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0", "MALLOC_ARENA_MAX": "1"}
KINDS_SHOWN, KIND_LENGTH = 3, 2_000
EXPECTED = frozenset({"worker ended"})  # what a server says at the level of an error because we have asked for it


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How long, how often (all in seconds), and the seed of what is asked for."""

    seconds: float
    warm_up: float
    workers: int
    kill_every: float
    edit_every: float
    seed: int


@dataclass(slots=True, kw_only=True)
class Report:
    """What there was to do and what was found."""

    asked: Counter[str]
    kills: int = 0
    edits: int = 0
    findings: list[Finding] = field(default_factory=list)
    task_names: Counter[str] = field(default_factory=Counter)


class Soak:
    """Lives for one proof."""

    def __init__(self, project: Project, folder: Path, plan: Plan, tell: Tell) -> None:
        self._project, self._folder, self._plan, self._tell = project, folder, plan, tell
        self._samples = Samples(project, folder)
        self._random = random.Random(plan.seed)
        self._names = write_jobs(project)
        self._load = Load(project, self._names, plan.seed)
        self._report = Report(asked=self._load.asked)
        self._slow_edits: list[str] = []

    async def prove(self) -> Report:
        """Let it work, then judge what was measured."""
        project, plan = self._project, self._plan
        project.logs = {"retention": RETENTION}
        environ = {**os.environ, **COUNTED, "SOAK_FOLDER": str(self._folder), "PYTHONPATH": str(INSIDE)}
        how = {"retention": RETENTION, "failed_retention": RETENTION, "history_retention": RETENTION}
        self._tell("starting the servers")
        supervised = project.process(workers=plan.workers, environ=environ, **how)
        single = project.process(environ=environ, **how)
        await until(lambda: self._started(supervised, single), within=LONG_START)
        self._samples.watch("supervisor", supervised.pid)
        self._samples.watch("single server", single.pid)
        await self._work(supervised)
        self._judge(supervised, single)
        return self._report

    def _started(self, supervised: ServerProcess, single: ServerProcess) -> bool:
        return (
            bool(single.records("server started")) and len(supervised.records("server started")) >= self._plan.workers
        )

    async def _work(self, supervised: ServerProcess) -> None:
        self._load.start()
        self._began = time.monotonic()
        await asyncio.gather(self._look(supervised), self._kill(supervised), self._edit())
        self._ended = time.monotonic()
        self._load.stop()
        self._samples.read_inside()

    @property
    def _over_at(self) -> float:
        return self._began + self._plan.seconds

    async def _look(self, supervised: ServerProcess) -> None:
        count_at = 0.0
        while (now := time.monotonic()) < self._over_at:
            for number, pid in enumerate(self._workers(supervised)):
                self._samples.watch(f"worker {number}", pid)
            await asyncio.to_thread(self._samples.look_at_processes)
            if now >= count_at:
                count_at = now + COUNT_EVERY
                await asyncio.to_thread(self._samples.look_at_collections)
            self._tell(
                f"{now - self._began:6.0f} of {self._plan.seconds:.0f} s, {sum(self._load.asked.values())} asked for, "
                f"{self._report.kills} kills, {self._report.edits} edits"
            )
            await asyncio.sleep(LOOK_EVERY)

    def _workers(self, supervised: ServerProcess) -> list[int]:
        """Those that live, the oldest first."""
        found = self._project.db.jobServers.find({"supervisor": {"$exists": True}}).sort("startedAt")
        return [server["pid"] for server in found]

    async def _kill(self, supervised: ServerProcess) -> None:
        """Always the youngest, so that one worker lives all the time."""
        while await self._pause(self._plan.kill_every):
            workers = self._workers(supervised)
            if len(workers) == self._plan.workers:
                os.kill(workers[-1], signal.SIGKILL)
                self._report.kills += 1

    async def _edit(self) -> None:
        edits = cycle(EDITS)
        while await self._pause(self._plan.edit_every):
            kind, change = next(edits)
            name = self._names[kind]
            before = len(self._project.history(name))
            self._project.edit(name, {"$set": change})
            self._report.edits += 1
            try:
                await until(partial(self._is_applied, name, before), within=APPLIED_WITHIN)
            except AssertionError:
                self._slow_edits.append(f"{name} {change}")

    def _is_applied(self, name: str, before: int) -> bool:
        """Each edit differs from the one before, so there is a version more."""
        return len(self._project.history(name)) > before

    async def _pause(self, seconds: float) -> bool:
        """False when it is time to end."""
        left = self._over_at - time.monotonic()
        await asyncio.sleep(max(0.0, min(seconds, left)))
        return left > seconds

    def _judge(self, supervised: ServerProcess, single: ServerProcess) -> None:
        begin, end = self._began + self._plan.warm_up, self._ended
        own = [each for each in self._samples.processes if _lasted(each, begin, end)]
        self._report.findings = judge(own, self._samples.collections, self._samples.spool, begin=begin, end=end)
        self._report.findings += [self._all_lived(own), self._quick_edits(), *self._silence(supervised, single)]
        self._report.findings += self._was_there_enough()
        for process in own:
            self._report.task_names.update(process.names[-1] if process.names else {})

    def _all_lived(self, own: list[Watched]) -> Finding:
        """The supervisor, the single server, and one worker at least."""
        names = sorted(each.name for each in own)
        return Finding(
            of="processes", what="lived all the time", value=", ".join(names), bound="3 at least", holds=len(own) >= 3
        )

    def _was_there_enough(self) -> list[Finding]:
        plan, report = self._plan, self._report
        asked = [enough(f"asked for {kind}", report.asked[kind], pace * plan.seconds) for kind, pace in PACE.items()]
        kills, edits = plan.seconds / plan.kill_every - 1, plan.seconds / plan.edit_every - 1
        return [*asked, enough("workers killed", report.kills, kills), enough("edits", report.edits, edits)]

    def _quick_edits(self) -> Finding:
        slow = "; ".join(self._slow_edits) or "none"
        bound = f"each within {APPLIED_WITHIN:.0f} s"
        return Finding(of="edits", what="not applied in time", value=slow, bound=bound, holds=not self._slow_edits)

    def _silence(self, *servers: ServerProcess) -> list[Finding]:
        """Nothing at the level of an error but what a kill brings."""
        said: dict[str, list[dict[str, Any]]] = {}
        for record in (record for server in servers for record in server.everything()):
            if record.get("level") in ("error", "critical") and record["event"] not in EXPECTED:
                said.setdefault(record["event"], []).append(record)
        kinds = [f"{len(records)} x {records[0]}"[:KIND_LENGTH] for records in said.values()]
        value = "; ".join([*kinds[:KINDS_SHOWN], *([f"{len(kinds)} kinds in all"] if len(kinds) > KINDS_SHOWN else [])])
        return [Finding(of="logs", what="errors", value=value or "nothing", bound="nothing", holds=not said)]


def _lasted(process: Watched, begin: float, end: float) -> bool:
    seen = process.series.get("megabytes", [])
    return bool(seen) and seen[0][0] <= begin and seen[-1][0] >= end - 5 * LOOK_EVERY
