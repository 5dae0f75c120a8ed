"""This server's lease: renewed every five seconds by a thread that no job can block.

The lease is lost when MongoDB says so, or when nothing was heard for the lease's length less a margin. Then the runs
here are told at once; others take their documents only after the lease's full length and a grace.
"""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import structlog

from jobserver.errors import DatabaseError
from jobserver.runner.pulse.chore import Chore
from jobserver.runner.pulse.lease import Lease
from jobserver.store.clock import ServerClock
from jobserver.store.connection import bounded
from jobserver.store.servers import LEASE, Identity, ServerStore

EVERY = 1 / 6  # of the lease: one that was renewed just before MongoDB went away lasts for more than half of its length
LAST_WORD = 1.0  # seconds, for signing off
AFTER_ERROR = 1.0  # seconds: tries are cheap, and the lease is running out

_log = structlog.get_logger("jobserver")


class Heartbeat:
    """Registers this server, renews its lease, signs it off."""

    def __init__(
        self,
        *,
        store: ServerStore,
        lease: Lease,
        clock: ServerClock,
        version: str,
        supervisor: str | None,
        facts: Callable[[], Mapping[str, Any]],
        lost: Callable[[str, str], None],
        renewed: Callable[[str], None],
        monotonic: Callable[[], float],
        length: timedelta = LEASE,
    ) -> None:
        self._store, self._lease, self._clock = store, lease, clock
        self._version, self._supervisor, self._facts = version, supervisor, facts
        self._lost, self._renewed, self._monotonic = lost, renewed, monotonic
        self._every = length.total_seconds() * EVERY
        self._patience = max(self._every, AFTER_ERROR)
        self._told_lost = self._stopped = False
        self._chore = Chore("heartbeat", self.step, after_error=AFTER_ERROR)

    def register(self) -> None:
        """Take a new lease under a new id. Raises DatabaseError."""
        identity = Identity(
            id=new_server_id(),
            host=socket.gethostname(),
            pid=os.getpid(),
            version=self._version,
            supervisor=self._supervisor,
        )
        sent_at = self._monotonic()
        moment = self._store.register(identity, self._facts())
        self._clock.hear(moment, after=self._monotonic() - sent_at)
        self._lease.renewed(identity.id, sent_at=sent_at)
        self._told_lost = False

    def start(self) -> None:
        """Renew from now on."""
        self._chore.start()

    def soon(self) -> None:
        """Renew now: what this server says of itself has changed."""
        self._chore.wake()

    def stop(self) -> None:
        """Renew no more; a renewal that hangs is not waited for."""
        self._stopped = True
        self._chore.stop()
        self._chore.join(timeout=LAST_WORD)

    def sign_off(self) -> None:
        """Nothing is held any more: leave `jobServers`. Raises DatabaseError."""
        self._lease.lost()
        if self._lease.owner:
            with bounded(LAST_WORD):
                self._store.end(self._lease.owner)

    def step(self) -> float:
        """Renew once; the seconds until the next renewal."""
        # A command that hangs must not outlast the lease: nobody would tell the runs here that it is over. Nor must it
        # keep the next try waiting: a primary that stands still has a successor long before its connections break.
        with bounded(min(self._patience, self._lease.seconds_left() or self._every)):
            return self._renew()

    def _renew(self) -> float:
        owner = self._lease.owner
        sent_at = self._monotonic()
        try:
            moment = self._store.renew(owner, self._facts())
        except DatabaseError as error:
            return self._unheard(owner, error)
        if moment is None and self._stopped:  # it has signed off meanwhile
            return self._every
        if moment is None:
            self._tell_lost(owner, "other servers have declared this one dead")
            self.register()
            return self._every
        self._clock.hear(moment, after=self._monotonic() - sent_at)
        self._lease.renewed(owner, sent_at=sent_at)
        if self._told_lost:
            self._told_lost = False
            _log.info("mongodb back", server=owner)
        self._renewed(owner)
        return self._every

    def _unheard(self, owner: str, error: DatabaseError) -> float:
        left = self._lease.seconds_left()
        if not self._told_lost:
            _log.warning("lease not renewed", server=owner, runs_stop_in=round(left, 1), error=str(error))
        if left <= 0:
            self._tell_lost(owner, "the lease could not be renewed in time")
        return min(AFTER_ERROR, left) if left > 0 else AFTER_ERROR

    def _tell_lost(self, owner: str, reason: str) -> None:
        if not self._told_lost:
            self._told_lost = True
            self._lease.lost()
            self._lost(owner, reason)


def new_server_id() -> str:
    """Readable, and new for every registration: a dead server's locks can never be taken for a live one's."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
