"""Follows a change stream for as long as the server lives. Where there is none, polling does the work."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import structlog

from jobserver.ending import end
from jobserver.errors import DatabaseError
from jobserver.store.changes import Changes, ChangeStreamsUnsupported

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
LASTED = 30.0  # seconds; a stream that has been open for so long breaks for a new reason
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
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._changes, self._what, self._hear, self._opened = changes, what, hear, opened
        self._unsupported = unsupported
        self._monotonic = monotonic
        self._opened_at: float | None = None
        self._not_understood: asyncio.TimerHandle | None = None
        self._pause = FIRST_PAUSE
        self._wanted = asyncio.Event()
        self._wanted.set()
        self._listening: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Listen until cancelled, or until it is clear that this MongoDB has no change streams."""
        try:
            while True:
                await self._wanted.wait()
                self._listening = asyncio.create_task(self._listen(), name=f"listening for {self._what}")
                await asyncio.wait({self._listening})
                if not await self._goes_on(self._listening):
                    return
        finally:
            if self._not_understood is not None:
                self._not_understood.cancel()
            await end(task for task in (self._closing, self._listening) if task is not None)

    def rest(self) -> None:
        """Close the stream until `resume`: each one open costs MongoDB a look at every write."""
        self._wanted.clear()
        if self._listening is not None:
            self._closing = asyncio.create_task(end({self._listening}), name=f"resting from {self._what}")

    def resume(self) -> None:
        """Listen again; `opened` is called as after every opening, for whatever was missed."""
        self._wanted.set()

    async def _goes_on(self, ended: asyncio.Task[None]) -> bool:
        if ended.cancelled():
            return True
        error = ended.exception()
        if isinstance(error, ChangeStreamsUnsupported):
            _log.warning("no change streams", what=self._what, reason=str(error))
            self._unsupported()
            return False
        if error is not None and not isinstance(error, DatabaseError):
            raise error
        if self._opened_at is not None and self._monotonic() - self._opened_at > LASTED:
            self._pause = FIRST_PAUSE
        _log.warning("change stream broke", what=self._what, error=str(error), next_try_in=self._pause)
        await asyncio.sleep(self._pause)
        self._pause = min(LONGEST_PAUSE, self._pause * 2)
        return True

    async def _listen(self) -> None:
        count, self._opened_at, self._not_understood = 0, None, None
        async for event in self._changes.events(self._has_opened):
            self._pause = FIRST_PAUSE
            self._guarded_hear(event)
            count += 1
            if count % AT_A_TIME == 0:
                await asyncio.sleep(0)

    def _has_opened(self) -> None:
        self._opened_at = self._monotonic()
        self._opened()

    def _guarded_hear(self, event: Any) -> None:
        """An event that is not understood ends nothing: said once in the life of a stream, then all is looked at."""
        try:
            self._hear(event)
        except Exception:
            if self._not_understood is None:
                _log.exception("change event not understood", what=self._what)
            if self._not_understood is None or self._not_understood.when() <= asyncio.get_running_loop().time():
                self._not_understood = asyncio.get_running_loop().call_later(FIRST_PAUSE, self._opened)
