"""What a database that is two milliseconds away costs."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from pymongo import MongoClient

from benchmarks.bench import Bench
from benchmarks.figure import Bound, Figure, NotMeasured, Target
from benchmarks.flood import flood
from benchmarks.mongod import Document, Mongod
from benchmarks.peers import processes
from benchmarks.rounds import by_turns, rates, ratio, work_readings
from benchmarks.servers import REPOSITORY

NEAR, FAR = "local", "through the proxy"
EACH_WAY = 1.0  # milliseconds


def measure(bench: Bench) -> Figure:
    """Only the server's commands take the long way; ours, which queue and look, do not."""
    mongod, jobs = bench.mongod(), bench.sizes.jobs
    with proxy(mongod) as uri:
        near, far = _round_trip(mongod.uri), _round_trip(uri)
        contenders = {
            NEAR: lambda: flood(mongod, jobs=jobs).work,
            FAR: lambda: flood(mongod, jobs=jobs, uri=uri).work,
        }
        works = by_turns(bench.sizes.long_rounds, contenders)
    target = Target(bound=Bound.AT_LEAST, limit=0.5)
    readings = [
        ratio("jobs/s against a local database", rates(works[FAR]), rates(works[NEAR]), target),
        *work_readings(NEAR, works[NEAR]),
        *work_readings(FAR, works[FAR]),
    ]
    facts = {"jobs": jobs, "round trip": f"{far:.2f} ms", "locally": f"{near:.2f} ms"}
    return Figure(title=f"{2 * EACH_WAY:g} ms more per round trip", readings=tuple(readings), facts=facts)


@contextmanager
def proxy(mongod: Mongod) -> Iterator[str]:
    """The URI of the long way round."""
    host, port = mongod.client.address or ("127.0.0.1", 27017)
    command = [sys.executable, "-m", "benchmarks.proxy", str(port), str(EACH_WAY)]
    with (
        TemporaryDirectory() as folder,
        processes.serve(command, folder=REPOSITORY, log=Path(folder) / "proxy.log"),
    ):
        yield f"mongodb://{host}:{_port(Path(folder) / 'proxy.log')}/?directConnection=true"


def _port(log: Path) -> int:
    deadline = time.monotonic() + 30
    while not (said := log.read_text()).endswith("\n"):
        if time.monotonic() > deadline:
            raise NotMeasured("the proxy does not start")
        time.sleep(0.02)
    if not said.strip().isdecimal():
        raise NotMeasured(f"the proxy does not start: {said.strip()[-300:]}")
    return int(said)


def _round_trip(uri: str) -> float:
    """Milliseconds, the median of some pings."""
    with MongoClient[Document](uri) as client:
        lengths = []
        for _ in range(51):
            began = time.perf_counter()
            client.admin.command("ping")
            lengths.append((time.perf_counter() - began) * 1e3)
        return statistics.median(lengths)
