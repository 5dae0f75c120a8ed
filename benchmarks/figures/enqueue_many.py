"""How many jobs per second `enqueue_many` queues, of what inserting the same documents would give."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from functools import partial
from typing import Any

from bson import ObjectId
from pymongo import WriteConcern
from pymongo.database import Database

from benchmarks.bench import Bench
from benchmarks.figure import Bound, Figure, Target
from benchmarks.mongod import Document, Mongod
from benchmarks.rounds import Work, by_turns, rates, ratio, work_readings
from benchmarks.servers import NOOP
from jobserver import SyncJobClient
from jobserver.store.collections import CollectionNames
from jobserver.store.indexes import ensure_indexes

OURS, RAW = "enqueue_many", "raw insert_many"


def measure(bench: Bench) -> Figure:
    """Both with majority writes, in one call, into a collection with all of our indexes."""
    mongod, count = bench.mongod(), bench.sizes.jobs
    jobs = [(NOOP, {"number": number}) for number in range(count)]
    documents = _documents(mongod, jobs)
    contenders = {
        OURS: partial(_timed, mongod, count, lambda database: SyncJobClient(database).enqueue_many(jobs)),
        RAW: partial(_timed, mongod, count, partial(_insert, documents)),
    }
    works = by_turns(bench.sizes.rounds, contenders)
    target = Target(bound=Bound.AT_LEAST, limit=0.6)
    readings = [
        ratio("jobs/s against raw insert_many", rates(works[OURS]), rates(works[RAW]), target),
        *work_readings(OURS, works[OURS]),
        *work_readings(RAW, works[RAW]),
    ]
    return Figure(title="queueing many jobs in one call", readings=tuple(readings), facts={"jobs": count})


def _documents(mongod: Mongod, jobs: Sequence[tuple[str, Any]]) -> list[Document]:
    """What `enqueue_many` makes of them."""
    with mongod.scratch_database() as database:
        SyncJobClient(database).enqueue_many(jobs[:1])
        (document,) = database.pulseJobs.find()
    return [{**deepcopy(document), "_id": ObjectId(), "data": data} for _, data in jobs]


def _insert(documents: Sequence[Document], database: Database[Document]) -> None:
    jobs = database.get_collection("pulseJobs", write_concern=WriteConcern("majority"))
    jobs.insert_many(documents, ordered=False)


def _timed(mongod: Mongod, jobs: int, insert: Callable[[Database[Document]], object]) -> Work:
    with mongod.scratch_database() as database:
        ensure_indexes(database, CollectionNames())
        cpu, mongod_cpu, began = time.process_time(), mongod.cpu_seconds(), time.perf_counter()
        insert(database)
        return Work(
            jobs=jobs,
            seconds=time.perf_counter() - began,
            cpu_seconds=time.process_time() - cpu,
            mongod_cpu_seconds=mongod.cpu_seconds() - mongod_cpu,
        )
