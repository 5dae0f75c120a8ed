"""The code and the orders that a program hands to its server, before its start and after.

What is wrong with them is said at once. What comes before the start is kept, and added at the start in its order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from dataclasses import replace
from typing import Any

import structlog

from jobserver.definition import JobDefinition
from jobserver.errors import AlreadyAdded, DatabaseError, DataError, JobServerError, UnknownJob
from jobserver.manager.added import AddedJobs
from jobserver.scanner.handlers.definitions import Handed, define_handed
from jobserver.scanner.handlers.references import is_reference, stored_reference
from jobserver.store.enqueue import check_name, check_storable
from jobserver.store.one_offs import OneOffRequest, check_one_off

_Order = Callable[[AddedJobs], Awaitable[Any]]

_log = structlog.get_logger("jobserver")


class HandedOver:
    """Gives each order to `AddedJobs`, one at a time, as soon as there is one."""

    def __init__(self) -> None:
        self._added: AddedJobs | None = None
        self._waiting: list[tuple[str, _Order]] = []
        self._turn = asyncio.Lock()

    async def begin(self, added: AddedJobs) -> None:
        """The server has started: do what waits. Raises DatabaseError, and may be called again then."""
        async with self._turn:
            while self._waiting:
                await self._do(added, *self._waiting[0])
                del self._waiting[0]
            self._added = added

    def end(self) -> None:
        """The server has ended."""
        self._added = None

    async def add_job(self, handed: Handed) -> str:
        """A job; returns its name."""
        if not handed.offloaded and handed.at is not None:
            raise DataError(
                "at: a job that is not offloaded runs in turn, and cannot be scheduled; leave out one of them"
            )
        check_storable(handed.data)
        async with self._turn:
            if handed.at is not None and handed.data is None:
                handed = replace(handed, data={})
            definition = await _defined(handed)
            if handed.at is None:
                definition = replace(definition, data=None)  # its one run has the data in its own document
            check_name(definition.name)
            now, data = handed.at is None, handed.data
            await self._give(definition.name, lambda added: added.add(definition, now=now, data=data))
            return definition.name

    async def remove_job(self, name: str) -> None:
        """No more runs of an added job."""
        async with self._turn:
            if self._added is not None:
                await self._added.remove(name)
                return
            if name not in (known := [each for each, _ in self._waiting]):
                raise UnknownJob(name, known)
            self._waiting = [each for each in self._waiting if each[0] != name]

    async def add_one_off(self, handed: Handed) -> str:
        """A one-off job; returns its name."""
        name = check_one_off(handed.name, at=handed.at, data=handed.data)
        named = handed.job is None or isinstance(handed.job, str)
        async with self._turn:
            # A text may be the name of a job, once there are any.
            definition = None if named else await _defined(handed)

            async def order(added: AddedJobs) -> None:
                request, code = await _one_off(name, handed, definition, added.known)
                await added.add_one_off(request, code)

            await self._give(name, order)
            return name

    async def _give(self, name: str, order: _Order) -> None:
        if self._added is None:
            self._waiting.append((name, order))
        else:
            await order(self._added)

    async def _do(self, added: AddedJobs, name: str, order: _Order) -> None:
        try:
            await order(added)
        except DatabaseError:
            raise
        except AlreadyAdded as error:
            _log.info("job not added", name=name, reason=str(error))
        except JobServerError as error:
            _log.error("job not added", name=name, reason=str(error))


async def _one_off(
    name: str, handed: Handed, definition: JobDefinition | None, known: Collection[str]
) -> tuple[OneOffRequest, JobDefinition | None]:
    """What is stored, and the code that stays here."""
    request = OneOffRequest(name=name, data=handed.data)
    if handed.job is None or handed.job == name:
        if name not in known:
            raise UnknownJob(name, known)
        return replace(request, by_name=True), None
    if isinstance(handed.job, str) and handed.job in known:
        return replace(request, handler={"kind": "job", "name": handed.job}), None
    definition = definition or await _defined(handed)
    if handed.offloaded and is_reference(handed.job):
        return replace(request, handler=stored_reference(handed.job)), None
    return request, definition


async def _defined(handed: Handed) -> JobDefinition:
    """Files are read, and may be tried, away from the event loop."""
    if is_reference(handed.job):
        return await asyncio.to_thread(define_handed, handed)
    return define_handed(handed)
