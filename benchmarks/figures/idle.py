"""What a server costs that has nothing to do: commands per second, and memory."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.figure import Bound, Figure, Reading, Spread, Target, Unit
from benchmarks.mongod import Mongod, mongod
from benchmarks.rounds import tell
from benchmarks.servers import JOBS, project, started

SETTLED_AFTER = 3.0
BASELINE_SHARE = 3


def measure(bench: Bench) -> Figure:
    """On a mongod of its own: what it counts without the server is the meter's and its own, and is taken off."""
    seconds, jobs = bench.sizes.idle_seconds, bench.sizes.idle_jobs
    with mongod() as own, own.scratch_database() as database, project(database, own.uri, []) as folder:
        _write_jobs(folder, jobs)
        tell("  without a server")
        baseline = _commands_per_second(own, seconds / BASELINE_SHARE)
        with started(folder) as server:
            time.sleep(SETTLED_AFTER)
            tell("  with an idle server")
            cpu = server.cpu_seconds()
            rates = _commands_per_second(own, seconds)
            cpu = (server.cpu_seconds() - cpu) / seconds
            memory = server.memory() / 1e6
    rates.subtract(baseline)
    readings = (
        _reading("database commands", round(rates.total(), 2), Unit.PER_SECOND, Target(bound=Bound.AT_MOST, limit=2)),
        _reading("resident memory", memory, Unit.MEGABYTES, Target(bound=Bound.BELOW, limit=120)),
        _reading("CPU per second", cpu * 1e3, Unit.MILLISECONDS),
        *(_reading(f"  {name}", rate, Unit.PER_SECOND) for name, rate in rates.most_common(6) if rate > 0),
    )
    facts = {"jobs": jobs, "half of them": "manual", "the others": "yearly", "seconds": seconds}
    return Figure(title="a server with nothing to do", readings=readings, facts=facts)


def _write_jobs(folder: Path, count: int) -> None:
    for number in range(count):
        kind = "noop" if number % 2 else "yearly"
        shutil.copy(JOBS / f"{kind}.py", folder / "jobs" / f"{kind}_{number:03}.py")


def _commands_per_second(own: Mongod, seconds: float) -> Counter[str]:
    before = _commands(own)
    time.sleep(seconds)
    after = _commands(own)
    return Counter({name: round((count - before[name]) / seconds, 3) for name, count in after.items()})


def _commands(own: Mongod) -> Counter[str]:
    counted = own.status()["metrics"]["commands"]
    return Counter({name: int(of["total"]) for name, of in counted.items() if isinstance(of, dict) and "total" in of})


def _reading(what: str, value: float, unit: Unit, target: Target | None = None) -> Reading:
    return Reading(what=what, unit=unit, spread=Spread.of([value]), target=target)
