"""Notices a rush: so many claims a second that hints no longer pay.

An open change stream makes MongoDB look at every write, and in a rush nearly all of them are our own. The streams rest
then, and jobs and configurations are polled several times a second instead.
"""

from __future__ import annotations

from collections.abc import Callable

RUSH = 1_000  # claims per second
WINDOW = 0.5  # seconds
POLL_IN_RUSH = 0.25  # seconds


class Rush:
    """Counts claims; tells when a rush begins (True) and when it is over (False)."""

    def __init__(self, *, tell: Callable[[bool], None], monotonic: Callable[[], float]) -> None:
        self._tell, self._monotonic = tell, monotonic
        self._window_from = monotonic()
        self._count = 0
        self.is_on = False

    def claimed(self, count: int) -> None:
        """So many documents were claimed just now; 0 is worth saying too."""
        self._count += count
        passed = self._monotonic() - self._window_from
        if passed >= WINDOW:
            self._turn(self._count / passed > RUSH)
            self._window_from, self._count = self._monotonic(), 0

    def _turn(self, on: bool) -> None:
        if on != self.is_on:
            self.is_on = on
            self._tell(on)
