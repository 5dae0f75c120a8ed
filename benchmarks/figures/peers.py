"""Other job queues, by turns with ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from benchmarks.bench import Bench
from benchmarks.figure import Bound, Figure, Reading, Target
from benchmarks.flood import flood
from benchmarks.mongod import Mongod
from benchmarks.peers import run_peers
from benchmarks.rounds import Work, by_turns, rates, ratio, work_readings

OURS = "jobserver"
MUST: Mapping[str, Target] = {
    "pulse": Target(bound=Bound.AT_LEAST, limit=40),
    "pgqueuer-100": Target(bound=Bound.ABOVE, limit=1),
    "bullmq": Target(bound=Bound.ABOVE, limit=1),
}


def measure(bench: Bench) -> Figure:
    """Each with the settings that it is fastest with; Pulse on the same mongod as ours."""
    mongod, jobs = bench.mongod(), bench.sizes.jobs
    left_out: dict[str, str] = {}
    contenders: dict[str, Callable[[], Work | None]] = {OURS: lambda: flood(mongod, jobs=jobs).work}
    contenders |= {name: partial(_theirs, mongod, name, left_out) for name in MUST}
    taken = by_turns(bench.sizes.long_rounds, contenders)
    works = {name: [work for work in each if work is not None] for name, each in taken.items() if name not in left_out}
    return Figure(title="beside other job queues", readings=tuple(_readings(works)), facts=left_out)


def _theirs(mongod: Mongod, name: str, left_out: dict[str, str]) -> Work | None:
    if name in left_out:
        return None
    (result,) = run_peers([name], mongodb_uri=mongod.uri)
    if result.seconds is None:
        left_out[name] = result.left_out or "it said nothing"
        return None
    return Work(jobs=result.jobs, seconds=result.seconds)


def _readings(works: Mapping[str, Sequence[Work]]) -> list[Reading]:
    ours, *others = works
    against = [ratio(f"jobs/s against {name}", rates(works[ours]), rates(works[name]), MUST[name]) for name in others]
    return [*against, *(reading for name in works for reading in work_readings(name, works[name]))]
