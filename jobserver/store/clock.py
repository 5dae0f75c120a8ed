"""The server's clock as a client may guess it: never ahead of the truth."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

PRECISION = timedelta(milliseconds=1)  # of moments in MongoDB

_CLOCK: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def boottime() -> float:
    """Seconds on a clock that no one sets back and that also runs while the machine sleeps."""
    return time.clock_gettime(_CLOCK)


class ServerClock:
    """Counts on from the last moment that the server told.

    That moment was true before the reply arrived, so the guess lags by at most the reply's way and never runs ahead:
    a document dated with it is due at once. A slow reply does not set the guess back, so what is asked for later is
    dated later. It bounds scans and dates new documents; it decides nothing.
    """

    def __init__(self, *, monotonic: Callable[[], float] = boottime) -> None:
        self._monotonic = monotonic
        # One value: the heartbeat's thread hears while others ask.
        self._heard: tuple[datetime, float] | None = None

    def hear(self, moment: datetime, *, after: float) -> None:
        """Take over a moment that the server has told, `after` seconds from being asked.

        What was guessed so far is kept where it may be true: not before that moment, nor later than the whole exchange
        can explain.
        """
        told = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        guess = told if self._heard is None else self.now()
        may_be_true = told < guess <= told + PRECISION + timedelta(seconds=after)
        self._heard = (guess if may_be_true else told, self._monotonic())

    def is_older_than(self, age: timedelta) -> bool:
        """Whether nothing was heard yet, or nothing for so long."""
        return self._heard is None or self._monotonic() - self._heard[1] > age.total_seconds()

    def now(self) -> datetime:
        """The server's now, aware UTC. Raises LookupError before anything was heard."""
        if self._heard is None:
            raise LookupError("the server's clock was not heard yet")
        told, heard_at = self._heard
        return told + timedelta(seconds=self._monotonic() - heard_at)
