"""What it costs to give each run a process, or a thread, of its own."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from benchmarks.bench import Bench
from benchmarks.figure import Bound, Figure, Reading, Spread, Target, Unit
from benchmarks.flood import let_go
from benchmarks.mongod import Mongod
from benchmarks.rounds import Work, by_turns, rates, ratio, work_readings
from benchmarks.servers import NOOP, project, set_concurrency, started

AT_ONCE = 8
FORKED, COLD, BARE = "forked", "started anew", "bare interpreters"
INLINE, THREAD, PROCESS, NEW_PROCESS = "inline", "in a thread", "in a forked process", "in a new process"

SOURCE = """
from jobserver import Job

class Noop(Job):
    schedule = "manual"
    execution = "{execution}"
    start_method = "{start_method}"

    {kind} run(self):
        pass
"""
KINDS = {
    INLINE: ("inline", "forkserver", "async def"),
    THREAD: ("thread", "forkserver", "def"),
    PROCESS: ("process", "forkserver", "def"),
    NEW_PROCESS: ("process", "spawn", "def"),
}


def measure(bench: Bench) -> Figure:
    """Through a real server, from the first claim to the last end, against interpreters that do nothing."""
    mongod, runs = bench.mongod(), bench.sizes.runs
    many: dict[str, Callable[[], Work]] = {
        FORKED: partial(_served, mongod, PROCESS, runs=runs, at_once=AT_ONCE),
        COLD: partial(_served, mongod, NEW_PROCESS, runs=runs, at_once=AT_ONCE),
        BARE: partial(_bare, runs),
    }
    single = {kind: partial(_served, mongod, kind, runs=runs, at_once=1) for kind in KINDS}
    works = by_turns(bench.sizes.long_rounds, {**many, **single})
    fast = Target(bound=Bound.AT_LEAST, limit=20)
    readings = [
        Reading(what=f"runs, {FORKED}", unit=Unit.PER_SECOND, spread=Spread.of(rates(works[FORKED])), target=fast),
        ratio(f"{FORKED} against {BARE}", rates(works[FORKED]), rates(works[BARE])),
        ratio(f"{COLD} against {BARE}", rates(works[COLD]), rates(works[BARE])),
        *(reading for name in (COLD, BARE) for reading in work_readings(name, works[name])[:1]),
        *(
            Reading(what=f"one after the other, {kind}", unit=Unit.MILLISECONDS, spread=Spread.of(_each(works[kind])))
            for kind in KINDS
        ),
    ]
    facts = {"runs": runs, "at once": AT_ONCE, "interpreter": sys.version.split()[0]}
    return Figure(title="a process for each run", readings=tuple(readings), facts=facts)


def _served(mongod: Mongod, kind: str, *, runs: int, at_once: int) -> Work:
    execution, start_method, how = KINDS[kind]
    with mongod.scratch_database() as database, project(database.name, mongod.uri, []) as folder:
        source = SOURCE.format(execution=execution, start_method=start_method, kind=how)
        (folder / "jobs" / "noop.py").write_text(source)
        set_concurrency(database, NOOP, 0)
        with started(folder) as server:
            return let_go(mongod, database, server, jobs=runs, concurrency=at_once).work


def _bare(runs: int) -> Work:
    command = [sys.executable, "-c", "pass"]
    with ThreadPoolExecutor(AT_ONCE) as threads:
        began = time.perf_counter()
        for ended in [threads.submit(subprocess.run, command, check=True) for _ in range(runs)]:
            ended.result()
        return Work(jobs=runs, seconds=time.perf_counter() - began)


def _each(works: list[Work]) -> list[float]:
    return [work.seconds / work.jobs * 1e3 for work in works]
