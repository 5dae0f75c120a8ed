"""How soon a job begins that another process asks for, at a steady pace."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.bench import Bench
from benchmarks.figure import Bound, Figure, Reading, Spread, Target, Unit, percentile
from benchmarks.pickups import Pickups, event_latencies, pickups
from benchmarks.rounds import by_turns, ratio
from benchmarks.servers import PICKUP, project, started
from jobserver.store.collections import CollectionNames
from jobserver.store.indexes import ensure_indexes

OURS, RAW = "jobserver", "raw change event"


def measure(bench: Bench) -> Figure:
    """One server for all rounds; its polling interval is the shipped one of three seconds."""
    mongod = bench.mongod()
    rate, seconds, rounds = bench.sizes.insert_rate, bench.sizes.insert_seconds, bench.sizes.insert_rounds
    with (
        mongod.scratch_database() as database,
        mongod.scratch_database() as other,
        project(database.name, mongod.uri, ["pickup"]) as folder,
        TemporaryDirectory() as other_folder,
        started(folder) as server,
    ):
        ensure_indexes(other, CollectionNames())
        contenders = {
            OURS: lambda: pickups(database, server, folder, mongod.uri, rate=rate, seconds=seconds),
            RAW: lambda: event_latencies(other, Path(other_folder), mongod.uri, rate=rate, seconds=seconds / 2),
        }
        taken = by_turns(rounds, contenders)
    ours, raw = taken[OURS], taken[RAW]
    readings = (
        _reading("insert → first line of run, p50", _each(ours, 50), Target(bound=Bound.AT_MOST, limit=5)),
        _reading("insert → first line of run, p99", _each(ours, 99), Target(bound=Bound.AT_MOST, limit=20)),
        _reading("acknowledged → first line of run, p50", _each_acknowledged(ours, 50)),
        _reading("acknowledged → first line of run, p99", _each_acknowledged(ours, 99)),
        ratio("p50 against a raw change event", _each(ours, 50), _each(raw, 50)),
        _reading("insert → raw change event, p50", _each(raw, 50)),
        _reading("insert → raw change event, p99", _each(raw, 99)),
    )
    facts = {"job": PICKUP, "jobs per second": rate, "seconds": seconds * rounds, "process_every": "3 s"}
    return Figure(title="from another process's insert to the job's first line", readings=readings, facts=facts)


def _each(taken: Sequence[Pickups], percent: float) -> list[float]:
    return [each.p(percent) for each in taken]


def _each_acknowledged(taken: Sequence[Pickups], percent: float) -> list[float]:
    return [percentile(each.from_acknowledgement, percent) for each in taken]


def _reading(what: str, values: Sequence[float], target: Target | None = None) -> Reading:
    return Reading(what=what, unit=Unit.MILLISECONDS, spread=Spread.of(values), target=target)
