"""Whether each one-off runs once, however many ask for it at once."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import ExitStack

from benchmarks.adders import THREADS
from benchmarks.bench import Bench
from benchmarks.figure import Bound, Figure, NotMeasured, Reading, Spread, Target, Unit
from benchmarks.rounds import tell
from benchmarks.servers import REPOSITORY, project, started

PROCESSES, SERVERS = 4, 2
LONGEST = 300.0


def measure(bench: Bench) -> Figure:
    """Four processes with two threads each add the same names, while two servers run them."""
    count, mongod = bench.sizes.one_offs, bench.mongod()
    with mongod.scratch_database() as database, ExitStack() as running:
        for _ in range(SERVERS):
            folder = running.enter_context(project(database.name, mongod.uri, ["once"]))
            server = running.enter_context(started(folder))
        tell(f"  adding {count} one-offs {PROCESSES * THREADS} times at once")
        began = time.monotonic()
        command = [sys.executable, "-m", "benchmarks.adders", mongod.uri, database.name, str(count)]
        adders = [
            subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) for _ in range(PROCESSES)
        ]
        answers = [adder.communicate(timeout=LONGEST)[0] for adder in adders]
        if any(adder.returncode for adder in adders):
            raise NotMeasured("a process could not add its one-offs")
        first = sum(map(int, answers))
        open_ = {"oneOff": True, "status": {"$ne": "completed"}}
        server.await_(lambda: not database.pulseJobs.count_documents(open_), what="every one-off", seconds=LONGEST)
        seconds = time.monotonic() - began
        ran = {each["_id"]: each["count"] for each in database.ran.aggregate([{"$sortByCount": "$name"}])}
    not_once = count - sum(times == 1 for times in ran.values())
    none = Target(bound=Bound.AT_MOST, limit=0)
    readings = (
        _count("names that did not run exactly once", not_once, none),
        _count("names that more than one add was told to be the first of", abs(first - count), none),
        _count("seconds in all", round(seconds, 1), None),
    )
    facts = {"names": count, "adds of each": PROCESSES * THREADS, "servers": SERVERS}
    return Figure(title="one-offs, added by many at once", readings=readings, facts=facts)


def _count(what: str, value: float, target: Target | None) -> Reading:
    return Reading(what=what, unit=Unit.COUNT, spread=Spread.of([value]), target=target)
