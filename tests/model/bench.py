"""The real stores on a real MongoDB, for as many examples as are wanted: one connection, one event loop.

A store's collection is handed over with a gate before the commands that decide: what comes through the gate happens
between what the store has read and what it then writes.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from pymongo import MongoClient, WriteConcern

from jobserver.store.claims import ClaimStore
from jobserver.store.connection import async_client, deciding, deciding_sync
from jobserver.store.edits import Editor
from jobserver.store.indexes import PRIORITY_FIRST
from jobserver.store.jobs import JobStore
from jobserver.store.locks import LockStore
from jobserver.store.queue import AsyncQueue
from jobserver.store.servers import Identity, ServerStore
from tests.model.model import GRACE, LEASE, OVERDUE_AFTER
from tests.stores import FAILED_RETENTION, NAMES, RETENTION, Workplace

T = TypeVar("T")

SHIFTED = {
    NAMES.jobs: ("nextRunAt", "lockedAt", "lockUntil", "lastRunAt", "scheduledFor", "rearmAt", "deadlineAt"),
    NAMES.servers: ("leaseUntil", "heartbeatAt"),
}
QUICKLY = WriteConcern(1)  # for what only prepares or moves the stage

WRITES = ("update_many", "update_one", "find_one_and_update", "delete_one")

Gate = Callable[[str, dict[str, Any]], Any]


class Gated:
    """A collection whose writes pass a gate first; everything else is the collection's own."""

    def __init__(
        self, collection: Any, gate: Gate, *, after: Callable[[str], None] | None = None, gated: Sequence[str] = WRITES
    ) -> None:
        self._collection, self._gate, self._after, self._gated = collection, gate, after, gated

    def __getattr__(self, name: str) -> Any:
        command = getattr(self._collection, name)
        if name not in self._gated:
            return command
        return self._awaited(command, name) if inspect.iscoroutinefunction(command) else self._plain(command, name)

    def _awaited(self, command: Any, name: str) -> Any:
        async def passed(which: Any, *rest: Any, **how: Any) -> Any:
            await self._gate(name, which)
            return await command(which, *rest, **how)

        return passed

    def _plain(self, command: Any, name: str) -> Any:
        def passed(which: Any, *rest: Any, **how: Any) -> Any:
            self._gate(name, which)
            answer = command(which, *rest, **how)
            if self._after is not None:
                self._after(name)
            return answer

        return passed


class Bench:
    """Everything that speaks to MongoDB; `clear` makes it ready for the next example."""

    def __init__(self, uri: str, client: MongoClient[dict[str, Any]], database: str) -> None:
        self._runner = asyncio.Runner()
        self.place = Workplace(uri, client[database])
        self._async = async_client(uri)
        self._database = deciding(self._async[database])
        self._deciding = deciding_sync(client[database])
        self._quick = client.get_database(database, write_concern=QUICKLY)
        self.jobs = JobStore(self._database[NAMES.jobs], retention=RETENTION, failed_retention=FAILED_RETENTION)
        self.queue = AsyncQueue(self._database, NAMES)
        self.servers = ServerStore(self._quick[NAMES.servers], lease=timedelta(minutes=LEASE))
        self.editor = Editor(self._deciding, NAMES, by="a person")

    def close(self) -> None:
        """No connection is left."""
        self.run(self._async.close())
        self._runner.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """To its end."""
        return self._runner.run(work)

    def clear(self) -> None:
        """Every document is gone."""
        for name in (NAMES.jobs, NAMES.configs, NAMES.runs, NAMES.servers):
            self._quick[name].delete_many({})

    def claims(self, gate: Gate) -> ClaimStore:
        """What one server claims with."""
        return ClaimStore(Gated(self._database[NAMES.jobs], gate), sort=PRIORITY_FIRST)  # type: ignore[arg-type]

    def locks(self, gate: Gate, after: Callable[[str], None]) -> LockStore:
        """What a reaper has."""
        jobs = Gated(self._deciding[NAMES.jobs], gate, after=after)
        # Its other write changes nothing: it asks whether the server is still there.
        servers = Gated(self._deciding[NAMES.servers], gate, after=after, gated=("delete_one",))
        return LockStore(
            jobs=jobs,  # type: ignore[arg-type]
            runs=self._deciding[NAMES.runs],
            servers=servers,  # type: ignore[arg-type]
            grace=timedelta(minutes=GRACE),
            overdue_after=timedelta(minutes=OVERDUE_AFTER),
        )

    def register(self, server: str, pid: int) -> None:
        """A server takes a lease."""
        self.servers.register(Identity(id=server, host="here", pid=pid, version="1", supervisor="boss"), {})

    def configure(self, name: str, schedule: str) -> None:
        """The configuration of a job, as a server creates it."""
        self._quick[NAMES.configs].insert_one({"jobName": name, "enabled": True, "schedule": {"value": schedule}})

    def configured(self, name: str) -> dict[str, Any]:
        """That configuration as it stands."""
        found = self.place.configs.find_one({"jobName": name})
        assert found is not None
        return found

    def stored(self) -> tuple[dict[Any, dict[str, Any]], dict[str, datetime]]:
        """Every job document by its id, and until when each server is registered."""
        found = list(self.place.jobs.aggregate([{"$unionWith": NAMES.servers}]))
        jobs = {document["_id"]: document for document in found if "leaseUntil" not in document}
        return jobs, {server["_id"]: server["leaseUntil"] for server in found if "leaseUntil" in server}

    def jump(self, minutes: int, *collections: str) -> None:
        """Move the clock of the database, which nobody can: instead every moment is moved the other way.

        What a document says relative to `$$NOW` is the same as if `$$NOW` had jumped. `expireAt` stays: MongoDB itself
        would remove documents meanwhile.
        """
        length = minutes * 60_000
        for name in collections or SHIFTED:
            moments = SHIFTED[name]
            moved = {
                each: {"$cond": [_is_date(each), {"$subtract": [f"${each}", length]}, "$$REMOVE"]} for each in moments
            }
            self._quick[name].update_many({}, [{"$set": moved}])

    def restore(self, documents: dict[Any, dict[str, Any]], *, age: int) -> None:
        """The jobs collection as it was so many minutes of that clock ago."""
        self._quick[NAMES.jobs].delete_many({})
        if documents:
            self._quick[NAMES.jobs].insert_many(list(documents.values()))
            self.jump(age, NAMES.jobs)


@contextmanager
def a_bench(uri: str, client: MongoClient[dict[str, Any]], database: str) -> Iterator[Bench]:
    """On a database of its own, which goes afterwards."""
    bench = Bench(uri, client, database)
    try:
        yield bench
    finally:
        bench.close()
        client.drop_database(database)


def now() -> datetime:
    """This machine's clock, which is MongoDB's, too."""
    return datetime.now(UTC)


def _is_date(field: str) -> dict[str, Any]:
    return {"$eq": [{"$type": f"${field}"}, "date"]}
