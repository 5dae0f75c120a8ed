"""Whether a job notices a million documents of others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from pymongo.database import Database

from benchmarks.bench import Bench
from benchmarks.figure import Bound, Figure, Reading, Spread, Target, Unit
from benchmarks.filling import HELD, fill
from benchmarks.flood import let_go
from benchmarks.mongod import Document, Mongod, mongod
from benchmarks.pickups import Pickups, pickups
from benchmarks.rounds import Work, by_turns, rates, ratio, work_readings
from benchmarks.servers import NOOP, project, set_concurrency, started
from benchmarks.sizes import Sizes

EMPTY, FULL = "empty collection", "with the backlog"
JOBS = ["noop", "pickup", "held"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Both:
    """Many jobs at once, and one at a time."""

    work: Work
    pickups: Pickups


def measure(bench: Bench) -> Figure:
    """On a mongod with the memory for it."""
    sizes = bench.sizes
    with mongod(cache_gb=2.0) as own, own.scratch_database() as filled:
        fill(own, filled, completed=sizes.completed, future=sizes.future, held=sizes.held)
        contenders = {EMPTY: partial(_in_an_empty_one, own, sizes), FULL: partial(_run, own, filled, sizes)}
        taken = by_turns(sizes.long_rounds, contenders)
    return Figure(
        title="another job beside a long backlog",
        readings=tuple(_readings(taken[EMPTY], taken[FULL])),
        facts={"completed": sizes.completed, "future": sizes.future, "due but held": sizes.held},
    )


def _in_an_empty_one(own: Mongod, sizes: Sizes) -> Both:
    with own.scratch_database() as database:
        return _run(own, database, sizes)


def _run(own: Mongod, database: Database[Document], sizes: Sizes) -> Both:
    set_concurrency(database, HELD, 0)
    set_concurrency(database, NOOP, 0)
    with project(database.name, own.uri, JOBS) as folder, started(folder) as server:
        work = let_go(own, database, server, jobs=sizes.fewer_jobs).work
        seconds = sizes.insert_seconds / 2
        taken = pickups(database, server, folder, own.uri, rate=sizes.insert_rate, seconds=seconds)
        return Both(work=work, pickups=taken)


def _readings(empty: Sequence[Both], full: Sequence[Both]) -> list[Reading]:
    before, after = [both.work for both in empty], [both.work for both in full]
    soon, later = [both.pickups.p(50) for both in empty], [both.pickups.p(50) for both in full]
    fast, slow = Target(bound=Bound.AT_LEAST, limit=0.85), Target(bound=Bound.AT_MOST, limit=1.15)
    return [
        ratio("jobs/s against an empty collection", rates(after), rates(before), fast),
        ratio("pick-up p50 against an empty collection", later, soon, slow),
        Reading(what=f"pick-up p50, {EMPTY}", unit=Unit.MILLISECONDS, spread=Spread.of(soon)),
        Reading(what=f"pick-up p50, {FULL}", unit=Unit.MILLISECONDS, spread=Spread.of(later)),
        *work_readings(EMPTY, before),
        *work_readings(FULL, after),
    ]
