"""Follows a change stream for as long as the server lives. Where there is none, polling does the work."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import structlog

from jobserver.errors import DatabaseError
from jobserver.store.changes import Changes, ChangeStreamsUnsupported

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
AT_A_TIME = 100  # events, before the loop may do something else

_log = structlog.get_logger("jobserver")


class Listener:
    """Reads one change stream for as long as the server lives and hands every event to `hear`."""

    def __init__(
        self,
        *,
        changes: Changes,
        what: str,
        hear: Callable[[Any], None],
        opened: Callable[[], None],
        unsupported: Callable[[], None] = lambda: None,
    ) -> None:
        self._changes, self._what, self._hear, self._opened = changes, what, hear, opened
        self._unsupported = unsupported
        self._pause = FIRST_PAUSE

    async def run(self) -> None:
        """Listen until cancelled, or until it is clear that this MongoDB has no change streams."""
        while True:
            try:
                await self._listen()
            except ChangeStreamsUnsupported as error:
                _log.warning("no change streams", what=self._what, reason=str(error))
                self._unsupported()
                return
            except DatabaseError as error:
                _log.warning("change stream broke", what=self._what, error=str(error), next_try_in=self._pause)
            await asyncio.sleep(self._pause)
            self._pause = min(LONGEST_PAUSE, self._pause * 2)

    async def _listen(self) -> None:
        count = 0
        async for event in self._changes.events(self._opened):
            self._pause = FIRST_PAUSE
            self._hear(event)
            count += 1
            if count % AT_A_TIME == 0:
                await asyncio.sleep(0)
