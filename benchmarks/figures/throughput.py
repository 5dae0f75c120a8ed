"""How many no-op jobs one server process runs per second, of what MongoDB would give it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.bench import Bench
from benchmarks.figure import Bound, Figure, Target
from benchmarks.flood import flood, seconds_between_first_claim_and_last_end
from benchmarks.mongod import Mongod
from benchmarks.peers import processes
from benchmarks.raw_protocol import DUE_INDEX, EPOCH
from benchmarks.rounds import Work, by_turns, rates, ratio, work_readings
from benchmarks.servers import CONCURRENCY, NOOP, REPOSITORY
from jobserver import SyncJobClient
from jobserver.store.collections import CollectionNames
from jobserver.store.indexes import ensure_indexes

OURS, RAW, WHOLE = "jobserver", "raw protocol", "raw, all we store"


def measure(bench: Bench) -> Figure:
    """History on, majority writes, everything queued beforehand."""
    mongod, jobs = bench.mongod(), bench.sizes.jobs
    contenders: dict[str, Callable[[], Work]] = {
        OURS: lambda: flood(mongod, jobs=jobs).work,
        RAW: partial(raw, mongod, jobs=jobs, whole=False),
        WHOLE: partial(raw, mongod, jobs=jobs, whole=True),
    }
    works = by_turns(bench.sizes.rounds, contenders)
    target = Target(bound=Bound.AT_LEAST, limit=0.7)
    readings = [
        ratio("jobs/s against the raw protocol", rates(works[OURS]), rates(works[RAW]), target),
        ratio("jobs/s against the same with all that we store", rates(works[OURS]), rates(works[WHOLE])),
        *work_readings(OURS, works[OURS]),
        *work_readings(RAW, works[RAW]),
        *work_readings(WHOLE, works[WHOLE]),
    ]
    facts = {"jobs": jobs, "concurrency": CONCURRENCY, "batch": 500, "mongod": mongod.version}
    return Figure(title="no-op jobs per second of one server process", readings=tuple(readings), facts=facts)


def raw(mongod: Mongod, *, jobs: int, whole: bool) -> Work:
    """The raw script on the same documents, timed in the same way."""
    with mongod.scratch_database() as database, TemporaryDirectory() as folder:
        if whole:
            ensure_indexes(database, CollectionNames())
        else:
            database.pulseJobs.create_index(DUE_INDEX, partialFilterExpression={"nextRunAt": {"$gt": EPOCH}})
        ids = SyncJobClient(database).enqueue_many([(NOOP, None)] * jobs)
        variant = "whole" if whole else "bare"
        command = [sys.executable, "-m", "benchmarks.raw_protocol", mongod.uri, database.name, variant]
        before = mongod.cpu_seconds()
        own = processes.run(command, folder=REPOSITORY, log=Path(folder) / "raw.log", timeout=600)
        return Work(
            jobs=jobs,
            seconds=seconds_between_first_claim_and_last_end(database, ids),
            cpu_seconds=float(own),
            mongod_cpu_seconds=mongod.cpu_seconds() - before,
        )
