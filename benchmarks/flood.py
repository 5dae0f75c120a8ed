"""No-op jobs through a real server process: queued while they are held back, then let go all at once."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pymongo.database import Database

from benchmarks.figure import NotMeasured
from benchmarks.mongod import Document, Mongod
from benchmarks.rounds import Work
from benchmarks.servers import CONCURRENCY, NOOP, Server, project, set_concurrency, started
from jobserver import SyncJobClient

STALLED_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Flood:
    """How it went; `conflicts` are writes that mongod had to begin anew."""

    work: Work
    conflicts: int


def flood(mongod: Mongod, *, jobs: int, workers: int = 1, uri: str | None = None) -> Flood:
    """On a fresh server and database; with `uri`, the server goes another way to mongod than we do."""
    with mongod.scratch_database() as database, project(database.name, uri or mongod.uri, ["noop"]) as folder:
        set_concurrency(database, NOOP, 0)
        with started(folder, workers=workers) as server:
            return let_go(mongod, database, server, jobs=jobs)


def let_go(
    mongod: Mongod, database: Database[Document], server: Server, *, jobs: int, concurrency: int = CONCURRENCY
) -> Flood:
    """Queue the jobs of a server that holds them back, release them, wait for the last entry of their history."""
    ids = SyncJobClient(database).enqueue_many([(NOOP, None)] * jobs)
    recorded = database.jobRuns.estimated_document_count()
    conflicts, cpu, mongod_cpu = mongod.write_conflicts(), server.cpu_seconds(), mongod.cpu_seconds()
    set_concurrency(database, NOOP, concurrency)
    _await_history(database, server, recorded + jobs)
    cpu, mongod_cpu = server.cpu_seconds() - cpu, mongod.cpu_seconds() - mongod_cpu
    conflicts = mongod.write_conflicts() - conflicts
    seconds = seconds_between_first_claim_and_last_end(database, ids)
    work = Work(jobs=jobs, seconds=seconds, cpu_seconds=cpu, mongod_cpu_seconds=mongod_cpu)
    return Flood(work=work, conflicts=conflicts)


def seconds_between_first_claim_and_last_end(database: Database[Document], ids: Sequence[Any]) -> float:
    """By MongoDB's clock, as it stands in the documents. Raises NotMeasured unless all of them are completed."""
    ours = {"$match": {"_id": {"$gte": min(ids), "$lte": max(ids)}, "status": "completed"}}
    ends = {"first": {"$min": "$lastRunAt"}, "last": {"$max": "$lastFinishedAt"}, "count": {"$sum": 1}}
    found = list(database.pulseJobs.aggregate([ours, {"$group": {"_id": None, **ends}}]))
    if not found or found[0]["count"] != len(ids):
        raise NotMeasured(f"{found[0]['count'] if found else 0} of {len(ids)} jobs are completed")
    seconds: float = (found[0]["last"] - found[0]["first"]).total_seconds()
    return max(seconds, 0.001)


def _await_history(database: Database[Document], server: Server, wanted: int) -> None:
    """The history of a run is written last; its collection knows its own size, so looking costs nothing."""
    count, grown_at = 0, time.monotonic()

    def has_all() -> bool:
        nonlocal count, grown_at
        now = database.jobRuns.estimated_document_count()
        if now > count:
            count, grown_at = now, time.monotonic()
        if time.monotonic() - grown_at > STALLED_SECONDS:
            raise NotMeasured(f"the server stands still at {count} of {wanted} runs: {server.last_words()}")
        return count >= wanted

    server.await_(has_all, what=f"{wanted} runs", seconds=600)
