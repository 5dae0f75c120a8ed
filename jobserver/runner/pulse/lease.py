"""What the rest of the server knows of its lease: whose name its claims carry, and whether it may still claim."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from jobserver.store.servers import LEASE

MARGIN = 1 / 6  # of the lease: a server stops its runs this long before its end, others take them as long after it


class Lease:
    """Written by the heartbeat thread, read by the event loop; both fields are replaced in one assignment."""

    def __init__(self, *, monotonic: Callable[[], float], length: timedelta = LEASE) -> None:
        self._monotonic = monotonic
        self._length = length.total_seconds() * (1 - MARGIN)
        self._state: tuple[str, float] = ("", 0.0)

    @property
    def owner(self) -> str:
        """The id under which this server is registered now; "" before the first registration."""
        return self._state[0]

    def holds(self) -> bool:
        """Whether the lease is certain: counted from when the renewal was sent, on a clock that nobody sets."""
        owner, until = self._state
        return bool(owner) and self._monotonic() < until

    def seconds_left(self) -> float:
        """Until the runs here have to stop; 0 when the time has come."""
        return max(0.0, self._state[1] - self._monotonic())

    def renewed(self, owner: str, *, sent_at: float) -> None:
        """MongoDB has confirmed the renewal that was sent at this moment."""
        self._state = (owner, sent_at + self._length)

    def lost(self) -> None:
        """MongoDB has said that the lease is gone."""
        self._state = (self._state[0], 0.0)
