"""Says once for each job that something due asks for more slots than this server has: it waits for a larger one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

import structlog

from jobserver.errors import DatabaseError
from jobserver.runner.pulse.jobs import KnownJobs

FIRST_LOOK, LATER_LOOKS = 1.0, 5.0  # seconds
MOST_TIME = 0.01  # of all time: a look reads everything that is due

_log = structlog.get_logger("jobserver")


class Oversized:
    """A chore of servers with limited slots. `count` gives, by name, what is due and needs more than is available."""

    def __init__(
        self,
        *,
        jobs: KnownJobs,
        available: int,
        count: Callable[[Mapping[str, int], int], Awaitable[Mapping[str, int]]],
    ) -> None:
        self._jobs, self._available, self._count = jobs, available, count
        self._told: set[str] = set()

    async def watch(self) -> None:
        """Look now and then; a MongoDB that is away is asked again."""
        pause, clock = FIRST_LOOK, asyncio.get_running_loop().time
        while True:
            await asyncio.sleep(pause)
            began = clock()
            with suppress(DatabaseError):  # the claim loop says so
                await self.look()
            pause = max(LATER_LOOKS, (clock() - began) / MOST_TIME)

    async def look(self) -> None:
        """Look once."""
        usual = {name: settings.slots for name, settings in self._jobs.settings().items()}
        found = await self._count(usual, self._available) if usual else {}
        for name in sorted(found.keys() - self._told):
            _log.warning("too few slots", name=name, documents=found[name], available_slots=self._available)
        self._told.update(found)
