"""How soon runs that do not listen are out of the way, and what a killed server leaves behind."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

import psutil
from pymongo.database import Database

from benchmarks.bench import Bench
from benchmarks.figure import Bound, Figure, Reading, Spread, Target, Unit
from benchmarks.mongod import Document
from benchmarks.rounds import tell
from benchmarks.servers import Server, project, started
from jobserver import SyncJobClient

GRACE = 2.0  # seconds, as the server is set
LATE = 2.0  # seconds after the grace
KINDS = ("inline", "thread", "process")
LONGEST = 120.0


def measure(bench: Bench) -> Figure:
    """Runs of each kind that catch whatever they are told are cancelled together; then a server is killed."""
    readings = [reading for kind in KINDS for reading in _stopped(bench, kind)]
    readings.append(_left_alive(bench))
    facts = {"stuck runs of each kind": bench.sizes.stuck, "cancel_grace": GRACE, "killed with": bench.sizes.killed}
    return Figure(title="stopping what does not listen", readings=tuple(readings), facts=facts)


def _stopped(bench: Bench, kind: str) -> tuple[Reading, Reading]:
    count, job = bench.sizes.stuck, f"api:stuck_{kind}"
    mongod = bench.mongod()
    with (
        mongod.scratch_database() as database,
        project(database.name, mongod.uri, ["stuck"], cancel_grace=f"{GRACE} seconds") as folder,
        started(folder) as server,
    ):
        client = SyncJobClient(database)
        ids = client.enqueue_many([(job, {}) for _ in range(count)])
        _await(server, lambda: database.begun.count_documents({}) >= count, f"{count} {kind} runs to begin")
        tell(f"  cancelling {count} stuck runs ({kind})")
        for id_ in ids:
            client.cancel(id_)
        told = time.monotonic()
        _await(server, lambda: _ended(database, job, "cancelled") >= count, "the runs to be cancelled")
        seconds = time.monotonic() - told
        # As many as before begin at once, although the code of some goes on.
        client.enqueue_many([(job, {"quick": True}) for _ in range(count)])
        _await(server, lambda: _ended(database, job, "completed") >= count, "every slot to be used again")
        lost = count - _ended(database, job, "completed")
        server.process.kill()  # what nothing can end would keep its end waiting
        server.process.wait()
    limit = Target(bound=Bound.AT_MOST, limit=(GRACE + LATE) * 1e3)
    none = Target(bound=Bound.AT_MOST, limit=0)
    return (
        Reading(what=f"{kind}: all are cancelled → the last is out of the way", unit=Unit.MILLISECONDS,
                spread=Spread.of([seconds * 1e3]), target=limit),
        Reading(what=f"{kind}: slots that did not come back", unit=Unit.COUNT, spread=Spread.of([lost]), target=none),
    )  # fmt: skip


def _left_alive(bench: Bench) -> Reading:
    """SIGKILL of a server with process runs that ignore SIGTERM and have children in sessions of their own."""
    count = bench.sizes.killed
    mongod = bench.mongod()
    with (
        mongod.scratch_database() as database,
        project(database.name, mongod.uri, ["stuck"]) as folder,
        started(folder) as server,
    ):
        SyncJobClient(database).enqueue_many([("api:stuck_process", {}) for _ in range(count)])
        _await(server, lambda: database.begun.count_documents({}) >= count, f"{count} process runs to begin")
        begun = list(database.begun.find())
        processes = [each[key] for each in begun for key in ("pid", "child")]
        tell(f"  killing a server with {count} process runs")
        server.process.send_signal(signal.SIGKILL)
        server.process.wait()
        time.sleep(2.0)
        alive = sum(psutil.pid_exists(pid) for pid in processes)
    what = "a server is killed: processes of its runs alive 2 s later"
    target = Target(bound=Bound.AT_MOST, limit=0)
    return Reading(what=what, unit=Unit.COUNT, spread=Spread.of([alive]), target=target)


def _ended(database: Database[Document], job: str, status: str) -> int:
    return database.pulseJobs.count_documents({"name": job, "status": status, "lockedAt": {"$exists": False}})


def _await(server: Server, condition: Callable[[], bool], what: str) -> None:
    server.await_(condition, what=what, seconds=LONGEST)
