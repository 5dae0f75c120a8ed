"""Waiting for the end of a one-off, from any process: rare looks that cost little, and soon enough."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from jobserver.errors import CompletionTimeout
from jobserver.one_off import OneOff

FIRST_PAUSE, LONGEST_PAUSE = 0.02, 0.5  # seconds


class Patience:
    """How long to wait between two looks. `timeout` in seconds, None for ever."""

    def __init__(self, timeout: float | None, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._timeout, self._monotonic = timeout, monotonic
        self._until = None if timeout is None else monotonic() + timeout
        self._pauses = _pauses()

    def pause(self, one_off: OneOff) -> float:
        """Seconds until the next look. Raises CompletionTimeout when the time is over."""
        pause = next(self._pauses)
        if self._until is None or self._timeout is None:
            return pause
        left = self._until - self._monotonic()
        if left <= 0:
            raise CompletionTimeout(one_off.name, self._timeout, one_off.state)
        return min(pause, left)


def _pauses() -> Iterator[float]:
    pause = FIRST_PAUSE
    while True:
        yield pause
        pause = min(LONGEST_PAUSE, pause * 1.5)
