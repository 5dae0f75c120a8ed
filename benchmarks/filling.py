"""A collection that has seen a lot: finished, future and waiting documents, as servers and clients leave them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from random import Random

from bson import ObjectId
from pymongo.database import Database

from benchmarks.mongod import Document, Mongod
from benchmarks.rounds import tell
from benchmarks.servers import NOOP
from jobserver.store.collections import CollectionNames
from jobserver.store.indexes import ensure_indexes

HELD = "api:held"
# The job that is measured has a past and a future of its own.
NAMES = (NOOP, HELD, *(f"api:other{number}" for number in range(8)))
Kind = Callable[[Random, datetime], Document]

BATCH = 2_000
THREADS = 2


def fill(mongod: Mongod, database: Database[Document], *, completed: int, future: int, held: int) -> None:
    """Documents first, indexes then: that is faster, and comes to the same."""
    now = datetime.now(UTC)
    for count, kind in ((completed, _completed), (future, _future), (held, _held)):
        tell(f"  inserting {count:,} {kind.__name__.strip('_')} documents")
        _insert(database, count, kind, now)
    tell("  building the indexes")
    ensure_indexes(database, CollectionNames())
    mongod.client.admin.command("fsync")  # or the checkpoint of all this comes while others are measured


def _insert(database: Database[Document], count: int, kind: Kind, now: datetime) -> None:
    jobs = database.pulseJobs

    def insert(start: int) -> None:
        random = Random(start)
        size = min(BATCH, count - start)
        jobs.insert_many([kind(random, now) for _ in range(size)], ordered=False)

    with ThreadPoolExecutor(THREADS) as threads:
        for _ in threads.map(insert, range(0, count, BATCH)):
            pass


def _document(name: str, created: datetime) -> Document:
    return {"_id": ObjectId(), "name": name, "type": "normal", "data": {}, "priority": 0, "createdAt": created}


def _completed(random: Random, now: datetime) -> Document:
    ended = now - timedelta(seconds=random.randrange(6 * 86_400))
    return {
        **_document(random.choice(NAMES), ended - timedelta(seconds=1)),
        "status": "completed",
        "lastRunAt": ended,
        "lastFinishedAt": ended,
        "lastCompletedAt": ended,
        "duration": random.randrange(1_000),
        "fence": 1,
        "runCount": 1,
        "finishedCount": 1,
        "settledBy": f"{random.getrandbits(128):032x}",
        "expireAt": ended + timedelta(days=7),
    }


def _future(random: Random, now: datetime) -> Document:
    due = now + timedelta(seconds=3_600 + random.randrange(30 * 86_400))
    return {**_document(random.choice(NAMES), now), "status": "scheduled", "nextRunAt": due}


def _held(random: Random, now: datetime) -> Document:
    due = now - timedelta(seconds=random.randrange(3_600))
    return {**_document(HELD, due), "status": "queued", "nextRunAt": due}
