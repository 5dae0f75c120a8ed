"""Which jobs are worth a look, and when: hints that make a claim come sooner than the next poll."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Iterable
from datetime import timedelta

MOST_TIMERS = 10_000  # later hints than these are left to polling


class Wakeups:
    """Collects names until somebody takes them. Hints may be lost or wrong; polling finds what they miss."""

    def __init__(self, *, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._names: set[str] = set()
        self._everything = True
        self._timers: list[tuple[float, str]] = []
        self._waiting: set[tuple[float, str]] = set()
        self._event = asyncio.Event()

    def hint(self, names: Iterable[str]) -> None:
        """These may have due work now."""
        self._names.update(names)
        self._event.set()

    def hint_everything(self) -> None:
        """Any job may."""
        self._everything = True
        self._event.set()

    def hint_in(self, delay: timedelta, name: str) -> None:
        """This job will have due work in so long."""
        seconds = delay.total_seconds()
        if seconds <= 0:
            self.hint([name])
        elif len(self._timers) < MOST_TIMERS:
            # Equal to the millisecond is one: a thousand documents due together need one look.
            timer = (round(self._monotonic() + seconds + 0.001, 3), name)
            if timer not in self._waiting:
                self._waiting.add(timer)
                heapq.heappush(self._timers, timer)
                self._event.set()

    def nudge(self) -> None:
        """Something has changed that is no hint by itself, such as a free slot."""
        self._event.set()

    def take(self, everyone: Iterable[str]) -> set[str]:
        """The names hinted at since the last take."""
        self._event.clear()
        self._ring()
        names = set(everyone) if self._everything else self._names
        self._names, self._everything = set(), False
        return names

    async def wait(self, longest: float) -> None:
        """Wait for a hint, for the next timer, or for so many seconds; the event loop turns at least once."""
        await asyncio.sleep(0)
        next_timer = self._timers[0][0] - self._monotonic() if self._timers else longest
        try:
            async with asyncio.timeout(max(0.0, min(longest, next_timer))):
                await self._event.wait()
        except TimeoutError:
            return

    def _ring(self) -> None:
        now = self._monotonic()
        while self._timers and self._timers[0][0] <= now:
            timer = heapq.heappop(self._timers)
            self._waiting.discard(timer)
            self._names.add(timer[1])
