"""The database handle that a job is lent: async, synchronous or Motor, one of each for the whole server."""

from __future__ import annotations

from typing import Any

from jobserver.definition import JobDefinition
from jobserver.errors import DefinitionError
from jobserver.store.connection import AsyncDb, Document, sync_client


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

    async def close(self) -> None:
        """Close what was made here; the server's own database stays open."""
        if self._sync is not None:
            self._sync.client.close()
        if self._motor is not None:
            self._motor.client.close()

    def _synchronous(self) -> Any:
        if self._sync is None:
            self._sync = sync_client(self._uri, app_name="jobserver jobs", pool_size=100)[self._async.name]
        return self._sync

    def _for_motor(self, definition: JobDefinition) -> Any:
        if self._motor is None:
            try:
                from motor.motor_asyncio import AsyncIOMotorClient
            except ImportError as error:
                raise DefinitionError(
                    path=definition.path,
                    class_name=definition.job_class.__name__,
                    message="driver = 'motor' needs Motor: pip install 'jobserver[motor]'",
                ) from error
            client: AsyncIOMotorClient[Document] = AsyncIOMotorClient(self._uri)
            self._motor = client[self._async.name]
        return self._motor
