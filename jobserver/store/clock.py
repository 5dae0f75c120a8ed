"""The server's clock as a client may guess it: never ahead of the truth."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

_CLOCK: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def boottime() -> float:
    """Seconds on a clock that no one sets back and that also runs while the machine sleeps."""
    return time.clock_gettime(_CLOCK)


class ServerClock:
    """Counts on from the last moment that the server told.

    That moment was true before the reply arrived, so the guess lags by at most the reply's way and never runs ahead:
    a document dated with it is due at once. It bounds scans and dates new documents; it decides nothing.
    """

    def __init__(self, *, monotonic: Callable[[], float] = boottime) -> None:
        self._monotonic = monotonic
        self._told: datetime | None = None
        self._heard_at = 0.0

    def hear(self, moment: datetime) -> None:
        """Take over a moment that the server has just told."""
        self._told = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        self._heard_at = self._monotonic()

    def is_older_than(self, age: timedelta) -> bool:
        """Whether nothing was heard yet, or nothing for so long."""
        return self._told is None or self._monotonic() - self._heard_at > age.total_seconds()

    def now(self) -> datetime:
        """The server's now, aware UTC. Raises LookupError before anything was heard."""
        if self._told is None:
            raise LookupError("the server's clock was not heard yet")
        return self._told + timedelta(seconds=self._monotonic() - self._heard_at)
