"""What ten megabytes of log in a second do to a server: memory, the turns of its event loop, and what is dropped."""

from __future__ import annotations

import json
import time
from datetime import timedelta
from typing import Any

from pymongo.database import Database

from benchmarks.bench import Bench
from benchmarks.figure import Bound, Figure, NotMeasured, Reading, Spread, Target, Unit
from benchmarks.mongod import Document
from benchmarks.rounds import tell
from benchmarks.servers import Server, project, started
from jobserver import SyncJobClient
from jobserver.store.log_bucket import GridFsBucket

KINDS = ("inline", "thread", "process")
LAG = "api:lag"
PER_SECOND = 10_000  # records of a thousand bytes
WARM_UP = 3.0  # seconds until queues and pools have the size that they keep
LONGEST = 60.0  # seconds after the flood
LOG = 64 * 1024**2


def measure(bench: Bench) -> Figure:
    """One run that floods, of each kind, and beside it one that measures how late the loop is.

    The one in a process prints; what its own end of the line drops is counted there, in records of its own.
    """
    seconds = bench.sizes.flood_seconds
    readings: list[Reading] = []
    for kind in KINDS:
        readings += _flooded(bench, kind, seconds)
    return Figure(
        title="a run that logs 10 MB in each second",
        readings=tuple(readings),
        facts={
            "seconds of each": seconds,
            "records in a second": PER_SECOND,
            "kept in a second": "1 MiB, 2000 records",
        },
    )


def _flooded(bench: Bench, kind: str, seconds: float) -> list[Reading]:
    mongod = bench.mongod()
    with (
        mongod.scratch_database() as database,
        project(database.name, mongod.uri, ["shouts"]) as folder,
        started(folder) as server,
    ):
        client = SyncJobClient(database)
        tell(f"  {seconds:.0f} s of flood, {kind}")
        flood = client.enqueue(f"api:shouts_{kind}", {"seconds": seconds, "per_second": PER_SECOND})
        lag = client.enqueue(LAG, {"seconds": seconds})
        samples = _memory(server, seconds)
        late = _result(database, lag)
        said = _result(database, flood)["said"]
        kept, dropped = _log(database, f"{flood}:1")
    counted = [_one(f"{kind}: records neither kept nor counted", abs(said - kept - dropped), Unit.COUNT, 0)]
    return [
        _one(f"{kind}: growth of memory in a minute", _slope(samples) * 60, Unit.MEGABYTES, 5),
        _one(f"{kind}: lateness of the event loop, p99", late["p99"], Unit.MILLISECONDS, 50),
        _one(f"{kind}: lateness of the event loop, median", late["p50"], Unit.MILLISECONDS),
        _one(f"{kind}: most memory", max(each for _, each in samples), Unit.MEGABYTES),
        _one(f"{kind}: records said", said / seconds, Unit.PER_SECOND),
        _one(f"{kind}: records kept", kept / seconds, Unit.PER_SECOND),
        *(counted if kind != "process" else ()),
    ]


def _memory(server: Server, seconds: float) -> list[tuple[float, float]]:
    """Seconds and megabytes, four times a second, after the warm-up."""
    began = time.monotonic()
    samples: list[tuple[float, float]] = []
    while (passed := time.monotonic() - began) < seconds:
        if passed > min(WARM_UP, seconds / 2):
            samples.append((passed, server.memory() / 1e6))
        time.sleep(0.25)
    return samples


def _slope(samples: list[tuple[float, float]]) -> float:
    """Megabytes per second: the line of least squares."""
    middle = sum(at for at, _ in samples) / len(samples)
    mean = sum(size for _, size in samples) / len(samples)
    spread = sum((at - middle) ** 2 for at, _ in samples)
    return sum((at - middle) * (size - mean) for at, size in samples) / spread if spread else 0.0


def _result(database: Database[Document], id_: Any) -> dict[str, Any]:
    deadline = time.monotonic() + LONGEST
    while time.monotonic() < deadline:
        if found := database.pulseJobs.find_one({"_id": id_, "status": "completed"}):
            return dict(found["result"])
        time.sleep(0.1)
    raise NotMeasured(f"a run did not end within {LONGEST:.0f} s")


def _log(database: Database[Document], run: str) -> tuple[int, int]:
    """How many records a log has, and how many it says were dropped."""
    bucket = GridFsBucket(lambda: database, retention=timedelta(days=1))
    deadline = time.monotonic() + LONGEST
    while (part := bucket.read(run, 0, LOG)) is None or not part.ended:
        if time.monotonic() > deadline:
            raise NotMeasured(f"the log did not arrive within {LONGEST:.0f} s")
        time.sleep(0.1)
    records = [json.loads(line) for line in part.data.splitlines()]
    drops = [record["message"] for record in records if record.get("logger") == "jobserver"]
    return len(records) - len(drops), sum(int(each.split()[0]) for each in drops)


def _one(what: str, value: float, unit: Unit, at_most: float | None = None) -> Reading:
    target = None if at_most is None else Target(bound=Bound.AT_MOST, limit=at_most)
    return Reading(what=what, unit=unit, spread=Spread.of([value]), target=target)
