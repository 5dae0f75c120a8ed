"""The database that jobs are lent in a test: a real one of the test's own, a handle that the test has, or none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol
from uuid import uuid4

from jobserver.definition import JobDefinition
from jobserver.embedded import EmbeddedMongo
from jobserver.errors import ConfigError, did_you_mean
from jobserver.excerpt import excerpt
from jobserver.runner.pulse.run import Lender

EMBEDDED = "embedded"
_WAYS = "database='embedded' for a MongoDB of its own, an EmbeddedMongo, a mongodb:// URI, or a database handle"
_ASYNCHRONOUS = ("pymongo.asynchronous.", "motor.")
_SYNCHRONOUS = ("pymongo.synchronous.", "pymongo.database")


class Databases(Lender, Protocol):
    """What jobs are lent, and what the test itself may look into. Raises ConfigError where there is nothing to lend."""

    def for_test(self, *, is_async: bool) -> Any:
        """The database itself, for a test that looks what its jobs wrote."""
        ...


class NoDatabase:
    """Says what to do about it."""

    def lend(self, definition: JobDefinition) -> Any:
        raise ConfigError("database", f"{definition.name} asks for `db`, and there is none here; pass {_WAYS}")

    def for_test(self, *, is_async: bool) -> Any:
        raise ConfigError("database", f"there is none here; pass {_WAYS}")


class GivenHandle:
    """The test's own handle, lent as it is; a driver's handle only to jobs that are written for its kind."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle
        self._home = f"{type(handle).__module__}."

    def lend(self, definition: JobDefinition) -> Any:
        if self._home.startswith(_SYNCHRONOUS if definition.is_async else _ASYNCHRONOUS):
            needs, form = ("an asynchronous", "async def run") if definition.is_async else ("a synchronous", "def run")
            raise ConfigError(
                "database",
                f"{definition.name} is `{form}` and needs {needs} handle, this is a "
                f"{self._home}{type(self._handle).__name__}; an EmbeddedMongo or a URI serves both kinds",
            )
        return self._handle

    def for_test(self, *, is_async: bool) -> Any:
        return self._handle


class ThrowawayDatabase:
    """A database of the test's own, lent as a server lends its database, and dropped at the end."""

    def __init__(self, uri: str) -> None:
        from jobserver.runner.pulse.lending import Databases as ServerDatabases
        from jobserver.store.connection import async_client, sync_client

        self._name = f"virtual_{uuid4().hex}"
        self._client, self._sync_client = async_client(uri), sync_client(uri)
        self._lending = ServerDatabases(uri=uri, database=self._client[self._name])

    def lend(self, definition: JobDefinition) -> Any:
        return self._lending.lend(definition)

    def for_test(self, *, is_async: bool) -> Any:
        return (self._client if is_async else self._sync_client)[self._name]

    async def drop(self) -> None:
        """Remove it and disconnect."""
        await self._client.drop_database(self._name)
        await self._lending.close()
        await self._client.close()
        self._sync_client.close()


@asynccontextmanager
async def databases(wanted: Any) -> AsyncIterator[Databases]:
    """What `database=` means. Raises ConfigError for a text that means nothing, EmbeddedMongoError."""
    if wanted is None:
        yield NoDatabase()
    elif isinstance(wanted, str | EmbeddedMongo):
        async with _uri(wanted) as uri, _throwaway(uri) as database:
            yield database
    else:
        yield GivenHandle(wanted)


@asynccontextmanager
async def _uri(wanted: str | EmbeddedMongo) -> AsyncIterator[str]:
    if isinstance(wanted, EmbeddedMongo):
        yield wanted.uri
    elif wanted == EMBEDDED:
        with TemporaryDirectory(prefix="jobserver-testing-") as directory:
            mongod = await asyncio.to_thread(EmbeddedMongo.start, Path(directory), cache_gb=0.25)
            try:
                yield mongod.uri
            finally:
                await asyncio.to_thread(mongod.close)
    elif wanted.startswith(("mongodb://", "mongodb+srv://")):
        yield wanted
    else:
        hint = did_you_mean(wanted, [EMBEDDED])
        raise ConfigError("database", f"{excerpt(wanted)} is no database{hint}; pass {_WAYS}")


@asynccontextmanager
async def _throwaway(uri: str) -> AsyncIterator[ThrowawayDatabase]:
    database = ThrowawayDatabase(uri)
    try:
        yield database
    finally:
        await database.drop()
