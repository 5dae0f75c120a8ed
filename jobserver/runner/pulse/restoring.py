"""Puts back what somebody has dropped: a collection's indexes first, then the documents that hold schedules.

The look comes when the stream of the jobs collection has opened again, which is about a second after that collection
was dropped or renamed, and once a minute for everything else. Schedules are put back one by one, each by an upsert that
makes sure of its unique index before: servers that look at once still make one document.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

import structlog

from jobserver.errors import DatabaseError
from jobserver.runner.pulse.jobs import KnownJobs
from jobserver.runner.pulse.scheduler import PulseScheduler
from jobserver.schedule import ScheduleKind
from jobserver.store.indexes import IndexRefused
from jobserver.store.jobs import JobStore

EVERY = 60.0
AFTER_ERROR = 1.0

_log = structlog.get_logger("jobserver")


class Restoring:
    """A chore of every server. `prepare` creates the indexes that are missing; it blocks, and raises DatabaseError."""

    def __init__(
        self, *, prepare: Callable[[], None], store: JobStore, jobs: KnownJobs, scheduler: PulseScheduler
    ) -> None:
        self._prepare, self._store, self._jobs, self._scheduler = prepare, store, jobs, scheduler
        self._wanted = asyncio.Event()
        self._openings = 0
        self._said = ""

    def stream_opened(self) -> None:
        """The stream of the jobs collection; at the first time everything has just been made."""
        self._openings += 1
        if self._openings > 1:
            self._wanted.set()

    async def run(self) -> None:
        """Look when told to, and at intervals, until cancelled."""
        while True:
            try:
                async with asyncio.timeout(EVERY * random.uniform(0.8, 1.2)):
                    await self._wanted.wait()
            except TimeoutError:
                pass
            self._wanted.clear()
            if not await self._look():
                await asyncio.sleep(AFTER_ERROR)
                self._wanted.set()

    async def _look(self) -> bool:
        try:
            await self._restore_indexes()
            await self._restore_schedules()
        except DatabaseError as error:
            _log.warning("mongodb away", chore="restoring", error=str(error))
            return False
        return True

    async def _restore_indexes(self) -> None:
        """One that cannot be made, say for duplicates that have come meanwhile, is said once and tried every time."""
        try:
            await asyncio.to_thread(self._prepare)
            self._said = ""
        except IndexRefused as error:
            if str(error) != self._said:
                self._said = str(error)
                _log.error("index missing", error=str(error))

    async def _restore_schedules(self) -> None:
        recurring = {
            name: settings
            for name, settings in self._jobs.settings().items()
            if settings.schedule.kind is not ScheduleKind.MANUAL
        }
        missing = await self._store.without_holder(list(recurring))
        for name in missing:
            await self._scheduler.schedule(name, recurring[name])
        if missing:
            _log.warning("schedules restored", jobs=len(missing), note="their documents were gone")
