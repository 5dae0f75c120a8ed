"""How soon what a killed server ran begins again elsewhere."""

from __future__ import annotations

import os
import signal
import time
from contextlib import ExitStack
from typing import Any

from pymongo.database import Database

from benchmarks.bench import Bench
from benchmarks.figure import Bound, Figure, NotMeasured, Reading, Spread, Target, Unit
from benchmarks.mongod import Document
from benchmarks.rounds import tell
from benchmarks.servers import project, started
from jobserver import SyncJobClient

WAITS = "api:waits"
ALONE = 45.0  # seconds: lease, grace and the reaper's pause
SUPERVISED = 2.0
LONGEST = 120.0


def measure(bench: Bench) -> Figure:
    """SIGKILL, with the lease of the defaults: to a worker whose supervisor sees it, and to a server on its own."""
    rounds = bench.sizes.kills
    supervised = [_supervised(bench) for _ in range(rounds)]
    alone = [_alone(bench) for _ in range(rounds)]
    readings = (
        _reading("a worker is killed → its run begins in another", supervised, SUPERVISED),
        _reading("a server without supervisor is killed → its run begins on another", alone, ALONE),
    )
    return Figure(title="recovery from SIGKILL", readings=readings, facts={"kills of each kind": rounds})


def _supervised(bench: Bench) -> float:
    mongod = bench.mongod()
    with (
        mongod.scratch_database() as database,
        project(database.name, mongod.uri, ["waits"]) as folder,
        started(folder, workers=2),
    ):
        return _milliseconds_to_next_begin(database)


def _alone(bench: Bench) -> float:
    mongod = bench.mongod()
    with mongod.scratch_database() as database, ExitStack() as running:
        for _ in range(2):
            folder = running.enter_context(project(database.name, mongod.uri, ["waits"]))
            running.enter_context(started(folder))
        return _milliseconds_to_next_begin(database)


def _milliseconds_to_next_begin(database: Database[Document]) -> float:
    """Kill whoever runs the job. Begins are told by MongoDB's clock, which is this machine's."""
    id_ = SyncJobClient(database).enqueue(WAITS)
    owner = _begin(database, id_, fence=1)["lockedBy"]
    holder = database.jobServers.find_one({"_id": owner}) or {}
    tell(f"  killing process {holder['pid']}")
    killed_at = time.time()
    os.kill(holder["pid"], signal.SIGKILL)
    again = _begin(database, id_, fence=2)["lastRunAt"].timestamp()
    database.enough.insert_one({})
    return float(again - killed_at) * 1e3


def _begin(database: Database[Document], id_: Any, *, fence: int) -> Document:
    """The document as soon as its so-manieth claim runs. Raises NotMeasured."""
    deadline = time.monotonic() + LONGEST
    while time.monotonic() < deadline:
        if document := database.pulseJobs.find_one({"_id": id_, "fence": fence, "lockedBy": {"$exists": True}}):
            return document
        time.sleep(0.01)
    raise NotMeasured(f"claim {fence} did not come within {LONGEST:.0f} s")


def _reading(what: str, delays: list[float], limit_seconds: float) -> Reading:
    target = Target(bound=Bound.AT_MOST, limit=limit_seconds * 1e3)
    return Reading(what=what, unit=Unit.MILLISECONDS, spread=Spread.of(delays), target=target)
