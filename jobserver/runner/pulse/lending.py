"""The database handle that a job is lent: async, synchronous or Motor, one of each for the whole server."""

from __future__ import annotations

import asyncio
from typing import Any

from jobserver.definition import JobDefinition
from jobserver.errors import DefinitionError
from jobserver.store.connection import AsyncDb, Document, closed, sync_client


class Databases:
    """Makes each kind of handle when the first job asks for it."""

    def __init__(self, *, uri: str, database: AsyncDb) -> None:
        self._uri, self._async = uri, database
        self._sync: Any = None
        self._motor: Any = None

    def lend(self, definition: JobDefinition) -> Any:
        """The handle that this job's `run` works with."""
        if not definition.is_async:
            return self._synchronous()
        return self._async if definition.driver == "pymongo" else self._for_motor(definition)

    @property
    def address(self) -> dict[str, str]:
        """Where a process makes a handle of its own."""
        return {"uri": self._uri, "database": self._async.name}

    async def close(self) -> None:
        """Close what was made here; the server's own database stays open."""
        if self._sync is not None:
            await asyncio.to_thread(closed, self._sync.client)
        if self._motor is not None:
            self._motor.client.close()

    def _synchronous(self) -> Any:
        if self._sync is None:
            self._sync = sync_client(self._uri, app_name="jobserver jobs", pool_size=100)[self._async.name]
        return self._sync

    def _for_motor(self, definition: JobDefinition) -> Any:
        if self._motor is None:
            client = motor_client(self._uri, path=definition.path, class_name=definition.job_class.__name__)
            self._motor = client[self._async.name]
        return self._motor


def motor_client(uri: str, *, path: str, class_name: str) -> Any:
    """For code written for Motor. Raises DefinitionError where it is not installed, in the name of the job."""
    try:
        from motor.motor_asyncio import AsyncIOMotorClient
    except ImportError as error:
        message = "driver = 'motor' needs Motor: pip install 'jobserver[motor]'"
        raise DefinitionError(path=path, class_name=class_name, message=message) from error
    client: AsyncIOMotorClient[Document] = AsyncIOMotorClient(uri)
    return client
