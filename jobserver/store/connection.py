"""How this project talks to MongoDB: majority writes and primary reads, whatever the URI says."""

from __future__ import annotations

import re
from contextlib import AbstractContextManager
from typing import Any

import pymongo
from pymongo import AsyncMongoClient, MongoClient
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import BulkWriteError, PyMongoError, WriteError
from pymongo.read_concern import ReadConcern
from pymongo.read_preferences import ReadPreference
from pymongo.write_concern import WriteConcern

from jobserver.store.codec import CODEC

Document = dict[str, Any]
AsyncDb = AsyncDatabase[Document]
AsyncJobs = AsyncCollection[Document]
SyncDb = Database[Document]
SyncJobs = Collection[Document]

# A write that no majority confirms within this time has an unknown outcome, which every caller can look up.
WRITE_TIMEOUT_MS = 10_000
LAST_WORD = 0.3  # seconds for telling MongoDB that a client goes

_TOO_LARGE = (10334, 17419, 17420)  # any document, what is left after an update in place, after a replacement

_CLIENT_OPTIONS: dict[str, Any] = {
    "serverSelectionTimeoutMS": 5_000,
    "connectTimeoutMS": 5_000,
    "socketTimeoutMS": 30_000,
    # Who monitors a node gives up on it after this and a connect's time: what waits for one that stands still, or is
    # behind a network that swallows everything, goes on with its successor ten seconds later, not fifteen.
    "heartbeatFrequencyMS": 5_000,
    # One question per node and look, not two. News of an election comes with the next command that fails, at once.
    "serverMonitoringMode": "poll",
    "retryWrites": True,
    "retryReads": True,
}
_CONCERNS: dict[str, Any] = {
    "codec_options": CODEC,
    "read_preference": ReadPreference.PRIMARY,
    # What a read finds is only ever a hint for a guarded majority write, or what such a write has just confirmed.
    "read_concern": ReadConcern("local"),
    "write_concern": WriteConcern("majority", wtimeout=WRITE_TIMEOUT_MS),
}


def async_client(uri: str, *, app_name: str = "jobserver") -> AsyncMongoClient[Document]:
    """The engine's client; nothing is connected before the first command."""
    return AsyncMongoClient(uri, appname=app_name, **_CLIENT_OPTIONS)


def sync_client(uri: str, *, app_name: str = "jobserver", pool_size: int = 10) -> MongoClient[Document]:
    """A client of its own for threads that must not wait for the event loop, and for commands."""
    return MongoClient(uri, appname=app_name, maxPoolSize=pool_size, **_CLIENT_OPTIONS)


def closed(client: MongoClient[Document]) -> None:
    """Close it. A MongoDB that stands still is told so, and would be waited for."""
    with bounded(LAST_WORD):
        client.close()


async def closed_async(client: AsyncMongoClient[Document]) -> None:
    """The same for the engine's client."""
    with bounded(LAST_WORD):
        await client.close()


def bounded(seconds: float) -> AbstractContextManager[None]:
    """What is asked inside it, in this thread or task, fails after so many seconds in all."""
    return pymongo.timeout(seconds)


def what_mongodb_said(error: Exception) -> str:
    """What MongoDB said, without the driver's dump of the whole reply, of its settings and of the topology."""
    return re.split(r", full error:|, Timeout:| \(configured timeouts", str(error))[0]


def lacks_room(error: PyMongoError) -> bool:
    """Whether MongoDB has refused nothing but documents that would be over its 16 MiB: trying again is in vain."""
    if isinstance(error, BulkWriteError):
        refused = error.details.get("writeErrors", [])
        return bool(refused) and all(each.get("code") in _TOO_LARGE for each in refused)
    return isinstance(error, WriteError) and error.code in _TOO_LARGE


def deciding(database: AsyncDb) -> AsyncDb:
    """The same database with the concerns under which decisions are safe."""
    return database.with_options(**_CONCERNS)


def deciding_sync(database: SyncDb) -> SyncDb:
    """The same database with the concerns under which decisions are safe."""
    return database.with_options(**_CONCERNS)
