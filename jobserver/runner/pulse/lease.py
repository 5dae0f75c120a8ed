"""What the rest of the server knows of its lease: whose name its claims carry, and whether it may still claim."""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Callable
from datetime import timedelta

from jobserver.store.servers import LEASE

MARGIN = 1 / 6  # of the lease: a server stops its runs this long before its end, others take them as long after it
LAST_MARGIN = 1 / 60  # of the lease: who keeps the runs in processes ends them so long before its end, server or not


class Lease:
    """Written by the heartbeat thread, read by the event loop; both fields are replaced in one assignment.

    Who keeps a run's process reads the end of the lease in memory shared with this server, which may be stopped when
    the lease is over. Each registration has such memory of its own: what was claimed under one ends with it. So has
    each renewal that comes too late: what had been kept until then has ended, whatever was renewed afterwards.
    """

    def __init__(self, *, monotonic: Callable[[], float], length: timedelta = LEASE) -> None:
        self._monotonic = monotonic
        self._length = length.total_seconds() * (1 - MARGIN)
        self._shared_length = length.total_seconds() * (1 - LAST_MARGIN)
        self._state: tuple[str, float] = ("", 0.0)
        self._shared: tuple[str, int] = ("", -1)
        self._shared_until = 0.0
        self._sharing = threading.Lock()  # one thread's new registration, and another's duplicate of the old one

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
        with self._sharing:
            self._share(owner, sent_at + self._shared_length)

    def shared_with(self, owner: str) -> int | None:
        """A descriptor, the caller's to close, of the eight bytes that say when the lease ends; None for a past one."""
        with self._sharing:
            held = owner == self._shared[0] and self._shared[1] >= 0
            return os.dup(self._shared[1]) if held else None

    def close(self) -> None:
        """Share nothing any more; what was shared ends at its time."""
        with self._sharing:
            if self._shared[1] >= 0:
                os.close(self._shared[1])
            self._shared = ("", -1)

    def lost(self) -> None:
        """MongoDB has said that the lease is gone."""
        self._state = (self._state[0], 0.0)

    def _share(self, owner: str, until: float) -> None:
        if owner != self._shared[0] or self._monotonic() >= self._shared_until:
            if self._shared[1] >= 0:
                os.close(self._shared[1])
            self._shared = (owner, _shared_memory())
        if self._shared[1] >= 0:
            os.pwrite(self._shared[1], struct.pack("d", until), 0)
        self._shared_until = until


def _shared_memory() -> int:
    """Anonymous memory behind a descriptor; -1 where the system has none, and no run gets a process there."""
    return os.memfd_create("lease", os.MFD_CLOEXEC) if hasattr(os, "memfd_create") else -1
