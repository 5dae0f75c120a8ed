"""Whether four processes that share the work lose anything to one another."""

from __future__ import annotations

import os
from collections.abc import Sequence

from benchmarks.bench import Bench
from benchmarks.figure import Bound, Figure, Reading, Spread, Target, Unit
from benchmarks.flood import Flood, flood
from benchmarks.rounds import by_turns, rates, ratio, work_readings
from benchmarks.servers import CONCURRENCY

WORKERS = 4


def measure(bench: Bench) -> Figure:
    """`jobserver start --workers 4` against one server, on the same number of jobs."""
    mongod, jobs = bench.mongod(), bench.sizes.jobs
    one, many = "1 process", f"{WORKERS} processes"
    contenders = {
        one: lambda: flood(mongod, jobs=jobs),
        many: lambda: flood(mongod, jobs=jobs, workers=WORKERS),
    }
    floods = by_turns(bench.sizes.long_rounds, contenders)
    works = {name: [each.work for each in floods[name]] for name in contenders}
    target = Target(bound=Bound.AT_LEAST, limit=1.0)
    readings = [
        ratio("jobs/s against one process", rates(works[many]), rates(works[one]), target),
        *work_readings(one, works[one]),
        *work_readings(many, works[many]),
        *(_conflicts(name, floods[name]) for name in contenders),
    ]
    facts = {"jobs": jobs, "concurrency of each": CONCURRENCY, "cores": os.cpu_count()}
    return Figure(title="four worker processes on one queue", readings=tuple(readings), facts=facts)


def _conflicts(name: str, floods: Sequence[Flood]) -> Reading:
    """Two that write one document at once: mongod lets one of them try again, and find it taken."""
    per_thousand = [flood.conflicts / flood.work.jobs * 1e3 for flood in floods]
    what = f"{name}: write conflicts per 1,000 jobs"
    return Reading(what=what, unit=Unit.COUNT, spread=Spread.of(per_thousand))
