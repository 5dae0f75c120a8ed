"""What a server costs that has nothing to do: commands per second, and memory."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.commands import effort_within
from benchmarks.figure import Bound, Figure, Reading, Spread, Target, Unit
from benchmarks.mongod import without_client
from benchmarks.rounds import tell
from benchmarks.servers import JOBS, project, started

SETTLED_AFTER = 3.0
SHOWN = 6  # kinds of commands


def measure(bench: Bench) -> Figure:
    """On a mongod of its own, which counts every command: the driver's heartbeats too."""
    seconds, jobs = bench.sizes.idle_seconds, bench.sizes.idle_jobs
    with without_client() as mongod, project("idle", mongod.uri, []) as folder:
        _write_jobs(folder, jobs)
        with started(folder) as server:
            time.sleep(SETTLED_AFTER)
            tell(f"  {seconds:.0f} s with an idle server")
            cpu = server.cpu_seconds()
            commands = effort_within(seconds, mongod.uri).commands
            cpu = (server.cpu_seconds() - cpu) / seconds
            memory = server.memory() / 1e6
    readings = (
        _reading(
            "database commands", commands.total() / seconds, Unit.PER_SECOND, Target(bound=Bound.AT_MOST, limit=2)
        ),
        _reading("resident memory", memory, Unit.MEGABYTES, Target(bound=Bound.BELOW, limit=120)),
        _reading("CPU per second", cpu * 1e3, Unit.MILLISECONDS),
        *(_reading(f"  {name}", count / seconds, Unit.PER_SECOND) for name, count in commands.most_common(SHOWN)),
    )
    facts = {"jobs": jobs, "half of them": "manual", "the others": "yearly", "seconds": seconds}
    return Figure(title="a server with nothing to do", readings=readings, facts=facts)


def _write_jobs(folder: Path, count: int) -> None:
    for number in range(count):
        kind = "noop" if number % 2 else "yearly"
        shutil.copy(JOBS / f"{kind}.py", folder / "jobs" / f"{kind}_{number:03}.py")


def _reading(what: str, value: float, unit: Unit, target: Target | None = None) -> Reading:
    return Reading(what=what, unit=unit, spread=Spread.of([value]), target=target)
