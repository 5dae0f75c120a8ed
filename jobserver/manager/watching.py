"""When to look at `jobConfigs` again: on every change event, and in full every minute whatever the events say."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from jobserver.errors import DatabaseError

FULL_LOOK = 60.0
WITHOUT_EVENTS = 0.5
AFTER_ERROR = 1.0

_log = structlog.get_logger("jobserver")


class ConfigWatch:
    """Looks whenever it is told to, and at the latest after a minute; twice a second where there are no events."""

    def __init__(self) -> None:
        self._told = asyncio.Event()
        self._every = FULL_LOOK

    def tell(self) -> None:
        """Something may have changed."""
        self._told.set()

    def has_events(self) -> None:
        """From now on it will be told."""
        self._every = FULL_LOOK
        self._told.set()

    def has_no_events(self) -> None:
        """It will not be told for now: poll."""
        self._every = WITHOUT_EVENTS
        self._told.set()

    async def run(self, look: Callable[[], Awaitable[None]]) -> None:
        """Look until cancelled."""
        while True:
            delay = await self._guarded_look(look)
            try:
                async with asyncio.timeout(delay):
                    await self._told.wait()
            except TimeoutError:
                pass

    async def _guarded_look(self, look: Callable[[], Awaitable[None]]) -> float:
        self._told.clear()
        try:
            await look()
        except DatabaseError as error:
            _log.warning("mongodb away", chore="reading configurations", error=str(error))
            return AFTER_ERROR
        return self._every
