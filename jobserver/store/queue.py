"""Inserts what clients ask for: one sequence of steps, carried out with `await` or without."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any

from bson import ObjectId
from bson.errors import InvalidDocument
from pymongo import IndexModel, ReturnDocument
from pymongo.errors import BulkWriteError, DocumentTooLarge, DuplicateKeyError, OperationFailure, PyMongoError

from jobserver.errors import DatabaseError, DataError
from jobserver.job import Priority
from jobserver.store.clock import ServerClock, boottime
from jobserver.store.codec import is_text
from jobserver.store.collections import CollectionNames
from jobserver.store.connection import AsyncDb, Document, SyncDb, deciding, deciding_sync, what_mongodb_said
from jobserver.store.enqueue import Request, check_name, check_storable, data_of, job_document
from jobserver.store.indexes import ONE_OFF, job_indexes
from jobserver.store.steps import Result, Steps, carried_out, carried_out_plainly

CLOCK_AGE = timedelta(minutes=1)
PRIORITY_AGE = 30.0  # seconds that a job's priority is remembered
RACES = 10
UNAUTHORIZED = 13
NOT_QUEUED = "the job could not be queued"
UNIQUE_KEY = "one_active_per_key"

# What the driver raises for a moment, a number or a text that no document can hold.
_UNSTORABLE = (InvalidDocument, OverflowError, UnicodeEncodeError)


class Desk:
    """What both queues know: MongoDB's time, the jobs' priorities, and how a document comes into the collection."""

    def __init__(self, database: Any, names: CollectionNames) -> None:
        self.jobs, self.runs = database[names.jobs], database[names.runs]
        self.clock = ServerClock()
        self._database, self.configs = database, database[names.configs]
        self._unique_there: set[str] = set()
        self._priorities: dict[str, tuple[float, int]] = {}

    def add(self, requests: Sequence[Request], session: Any) -> Steps[list[Any]]:
        """Insert what is asked for; the ids in its order."""
        for request in requests:
            check_name(request.name)
        yield from self.know_the_time()
        if unknown := self._unknown_priorities(requests):
            self._learn_priorities(unknown, (yield self.configs.find(*_priorities_of(unknown)).to_list()))
        if session is not None or any(request.unique_key is not None for request in requests):
            yield from self.keep_keys_unique()
        ids: list[Any] = []
        for unique, group in _grouped(self._made(requests)):
            if unique:
                for document in group:
                    ids.append((yield from _insert_unique(self.jobs, document, session)))
            elif len(group) == 1:
                ids.append((yield self.jobs.insert_one(group[0], session=session)).inserted_id)
            else:
                ids += (yield self.jobs.insert_many(group, ordered=False, session=session)).inserted_ids
        return ids

    def keep_keys_unique(self) -> Steps[None]:
        """Make the index before a unique key comes, should no server have done so yet.

        Inside a transaction that is before its first write: afterwards the index would wait for its end, and it for us.
        Whoever may not make indexes does not need to, where a server has.
        """
        yield from self._keep_unique(UNIQUE_KEY)

    def keep_one_offs_unique(self) -> Steps[None]:
        """The same for the index that keeps one document per one-off."""
        yield from self._keep_unique(ONE_OFF)

    def know_the_time(self) -> Steps[None]:
        """Ask for MongoDB's clock, unless it was asked a moment ago."""
        if self.clock.is_older_than(CLOCK_AGE):
            asked_at = boottime()
            moment = _local_time((yield self._database.command("hello")))
            self.clock.hear(moment, after=boottime() - asked_at)

    def _keep_unique(self, name: str) -> Steps[None]:
        if name in self._unique_there:
            return
        try:
            yield self.jobs.create_indexes([unique_index(name)])
        except OperationFailure as refused:
            if refused.code != UNAUTHORIZED or name not in (yield self.jobs.index_information()):
                raise
        self._unique_there.add(name)

    def _unknown_priorities(self, requests: Sequence[Request]) -> list[str]:
        """The names whose priority has to be looked up."""
        now = time.monotonic()
        names = {request.name for request in requests if request.priority is None}
        return [name for name in names if self._priorities.get(name, (0.0, 0))[0] < now]

    def _learn_priorities(self, names: Sequence[str], configs: Sequence[Mapping[str, Any]]) -> None:
        """Remember what `jobConfigs` says, NORMAL for jobs that it does not know."""
        found = {name: _priority(config) for config in configs if is_text(name := config.get("jobName"))}
        until = time.monotonic() + PRIORITY_AGE
        for name in names:
            self._priorities[name] = (until, found.get(name, int(Priority.NORMAL)))

    def _made(self, requests: Sequence[Request]) -> list[Document]:
        """All documents, or DataError before anything was inserted."""
        now = self.clock.now()
        now = now.replace(microsecond=now.microsecond // 1000 * 1000)
        with _uncollected():
            return list(self._documents(requests, now))

    def _documents(self, requests: Sequence[Request], now: datetime) -> Iterator[Document]:
        last: Request | None = None
        document: Document = {}
        for request in requests:
            check_storable(request.data)
            if last is not None and request.is_like(last):  # thousands that differ in their data alone
                document = {**document, "_id": ObjectId(), "data": data_of(request)}
            else:
                priority = self._priorities.get(request.name, (0.0, int(Priority.NORMAL)))[1]
                document = job_document(request, now=now, priority=priority)
            last = request
            yield document


class AsyncQueue:
    """On a PyMongo AsyncDatabase."""

    def __init__(self, database: AsyncDb, names: CollectionNames) -> None:
        self.desk = Desk(deciding(database), names)

    async def add(self, requests: Sequence[Request], *, session: Any = None) -> list[Any]:
        """Insert in the order given; returns the ids. Raises DataError, DatabaseError."""
        return await self.carry_out(self.desk.add(requests, session), session=session)

    async def carry_out(self, steps: Steps[Result], *, session: Any = None, failed: str = NOT_QUEUED) -> Result:
        """Steps of this desk; `failed` begins the sentence in which an error of MongoDB is told."""
        try:
            return await carried_out(steps)
        except (PyMongoError, *_UNSTORABLE) as error:
            raise _translated(error, session, failed) from error


class SyncQueue:
    """On a PyMongo Database."""

    def __init__(self, database: SyncDb, names: CollectionNames) -> None:
        self.desk = Desk(deciding_sync(database), names)

    def add(self, requests: Sequence[Request], *, session: Any = None) -> list[Any]:
        """Insert in the order given; returns the ids. Raises DataError, DatabaseError."""
        return self.carry_out(self.desk.add(requests, session), session=session)

    def carry_out(self, steps: Steps[Result], *, session: Any = None, failed: str = NOT_QUEUED) -> Result:
        """Steps of this desk; `failed` begins the sentence in which an error of MongoDB is told."""
        try:
            return carried_out_plainly(steps)
        except (PyMongoError, *_UNSTORABLE) as error:
            raise _translated(error, session, failed) from error


@contextmanager
def _uncollected() -> Iterator[None]:
    """No garbage collection meanwhile: it would go through all that was made again and again, and find nothing."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _insert_unique(jobs: Any, document: Document, session: Any) -> Steps[Any]:
    """The id of the active document with this key: the one that is there, or this one."""
    which = {"name": document["name"], "uniqueKey": document["uniqueKey"]}
    insert = {"$setOnInsert": {key: value for key, value in document.items() if key not in which}}
    races_left = 0 if session is not None else RACES  # a duplicate key has ended the caller's transaction already
    while True:
        try:
            found = yield jobs.find_one_and_update(which, insert, session=session, **_UPSERT)
        except DuplicateKeyError:  # two asked in the same moment and one has inserted: look again
            if not races_left:
                raise
            races_left -= 1
        else:
            return found["_id"]


_UPSERT: dict[str, Any] = {
    "upsert": True,
    "projection": {"_id": 1},
    "return_document": ReturnDocument.AFTER,
}


def unique_index(name: str) -> IndexModel:
    """An index on which the writes of clients rely; servers make it too."""
    return next(index for index in job_indexes() if index.document["name"] == name)


def _grouped(documents: list[Document]) -> Iterator[tuple[bool, list[Document]]]:
    for unique, group in groupby(documents, key=lambda document: "uniqueKey" in document):
        yield unique, list(group)


def _priorities_of(names: Sequence[str]) -> tuple[Document, Document]:
    return {"jobName": {"$in": list(names)}}, {"jobName": 1, "priority": 1, "defaultConfig.priority": 1}


def _priority(config: Mapping[str, Any]) -> int:
    default = config.get("defaultConfig")
    candidates = [config.get("priority"), default.get("priority") if isinstance(default, Mapping) else None]
    for priority in candidates:
        if isinstance(priority, str) and priority.upper() in Priority.__members__:
            return int(Priority[priority.upper()])
        if isinstance(priority, int) and not isinstance(priority, bool) and -20 <= priority <= 20:
            return priority
    return int(Priority.NORMAL)


def _local_time(hello: Mapping[str, Any]) -> datetime:
    moment: datetime = hello["localTime"]
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _translated(error: Exception, session: Any, failed: str) -> Exception:
    """Ours for theirs; inside a transaction theirs stays, for the driver retries transactions by its labels."""
    if isinstance(error, (DocumentTooLarge, *_UNSTORABLE)):
        return DataError(f"data cannot be stored in MongoDB: {what_mongodb_said(error)}")
    if session is not None:
        return error
    if isinstance(error, BulkWriteError):
        return DatabaseError(f"not all jobs could be queued: {error.details}")
    return DatabaseError(f"{failed}: {what_mongodb_said(error)}")
