"""Light clients that ask for jobs: no scan, no server, no wait. One on an AsyncDatabase, one on a Database.

    client = JobClient(db)
    await client.enqueue("api:report", {"month": "2026-11"}, delay=timedelta(minutes=5))

Documents are dated with MongoDB's clock and carry the job's priority as its `jobConfigs` document states it, so the
machine that asks needs neither the right time nor the job's code.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.client_session import ClientSession
from pymongo.database import Database

from jobserver.store.collections import CollectionNames
from jobserver.store.enqueue import Request
from jobserver.store.queue import AsyncQueue, SyncQueue


class JobClient:
    """For asyncio. Raises DataError for what cannot be stored, DatabaseError when MongoDB is away."""

    def __init__(self, database: AsyncDatabase[Any], *, collection: str = CollectionNames().jobs) -> None:
        self._queue = AsyncQueue(database, CollectionNames(jobs=collection))

    async def enqueue(
        self,
        name: str,
        data: Any = None,
        *,
        at: datetime | None = None,
        delay: timedelta | None = None,
        priority: int | None = None,
        unique_key: str | None = None,
        session: AsyncClientSession | None = None,
    ) -> Any:
        """Ask for one run; returns the document's id.

        While a document with the same name and `unique_key` waits or runs, its id is returned and nothing is added.
        With `session` the document becomes visible when the caller's transaction commits, or never.
        """
        request = Request(name=name, data=data, at=at, delay=delay, priority=priority, unique_key=unique_key)
        return (await self._queue.add([request], session=session))[0]

    async def enqueue_many(
        self,
        jobs: Iterable[tuple[str, Any]],
        *,
        at: datetime | None = None,
        delay: timedelta | None = None,
        priority: int | None = None,
        session: AsyncClientSession | None = None,
    ) -> list[Any]:
        """Ask for many runs in few commands; returns the documents' ids in the same order."""
        return await self._queue.add(requests(jobs, at=at, delay=delay, priority=priority), session=session)


class SyncJobClient:
    """The same for code without an event loop."""

    def __init__(self, database: Database[Any], *, collection: str = CollectionNames().jobs) -> None:
        self._queue = SyncQueue(database, CollectionNames(jobs=collection))

    def enqueue(
        self,
        name: str,
        data: Any = None,
        *,
        at: datetime | None = None,
        delay: timedelta | None = None,
        priority: int | None = None,
        unique_key: str | None = None,
        session: ClientSession | None = None,
    ) -> Any:
        """Ask for one run; see JobClient.enqueue."""
        request = Request(name=name, data=data, at=at, delay=delay, priority=priority, unique_key=unique_key)
        return self._queue.add([request], session=session)[0]

    def enqueue_many(
        self,
        jobs: Iterable[tuple[str, Any]],
        *,
        at: datetime | None = None,
        delay: timedelta | None = None,
        priority: int | None = None,
        session: ClientSession | None = None,
    ) -> list[Any]:
        """Ask for many runs; see JobClient.enqueue_many."""
        return self._queue.add(requests(jobs, at=at, delay=delay, priority=priority), session=session)


def requests(
    jobs: Iterable[tuple[str, Any]], *, at: datetime | None, delay: timedelta | None, priority: int | None
) -> list[Request]:
    """One request for each (name, data)."""
    return [Request(name=name, data=data, at=at, delay=delay, priority=priority) for name, data in jobs]
