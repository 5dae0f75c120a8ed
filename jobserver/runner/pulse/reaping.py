"""Takes back what dead servers, stuck runs and vanished Pulse workers have locked; every server does this for all."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from datetime import timedelta

import structlog

from jobserver.runner.pulse.chore import Chore
from jobserver.store.documents import ClaimedJob
from jobserver.store.locks import LockStore

EVERY = 5.0
FOREIGN_EVERY = 60.0

_log = structlog.get_logger("jobserver")


class Reaper:
    """A chore in a thread of its own."""

    def __init__(
        self,
        *,
        store: LockStore,
        lock_lifetimes: Callable[[], Mapping[str, timedelta]],
        freed: Callable[[set[str]], None],
        monotonic: Callable[[], float],
    ) -> None:
        self._store, self._lock_lifetimes, self._freed, self._monotonic = store, lock_lifetimes, freed, monotonic
        self._foreign_at = 0.0
        self._chore = Chore("reaping", self.step, after_error=EVERY)

    def start(self) -> None:
        """Begin."""
        self._chore.start()

    def stop(self) -> None:
        """End."""
        self._chore.stop()
        self._chore.join(timeout=2.0)

    def step(self) -> float:
        """Look once; the seconds until the next look, spread so that servers do not look together."""
        reaped = [*self._store.reap_dead_servers(), *self._store.reap_stuck()]
        for job in reaped:
            _log.warning("lock taken back", name=job.name, job_id=str(job.id), server=job.document.get("lockedBy"))
        freed = names(reaped)
        if self._monotonic() >= self._foreign_at:
            self._foreign_at = self._monotonic() + FOREIGN_EVERY
            lifetimes = self._lock_lifetimes()
            self._store.restore_stripped(list(lifetimes))
            if self._store.release_foreign(lifetimes):
                freed.update(lifetimes)
        if freed:
            self._freed(freed)
        return EVERY * random.uniform(0.8, 1.2)


def names(jobs: list[ClaimedJob]) -> set[str]:
    """Which jobs these documents belong to."""
    return {job.name for job in jobs}
