"""Takes back what dead servers and stuck runs have locked, and mends strays; every server does this for all."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import timedelta

import structlog

from jobserver.runner.pulse.chore import Chore
from jobserver.runner.pulse.jobs import KnownJobs
from jobserver.store.chains import ChainStore
from jobserver.store.locks import LockStore
from jobserver.store.strays import StrayStore
from jobserver.store.transitions import MAX_CRASHES

EVERY = timedelta(seconds=5)
STRAYS_EVERY = 60.0
OVERDUE_EVERY = 20.0
LAST_LOOK = 1.0  # seconds

OVERDUE = "it is over its max_execution_time, and its server has not stopped it"

_log = structlog.get_logger("jobserver")


class Reaper:
    """A chore in a thread of its own. `freed` is told which jobs may have due work again."""

    def __init__(
        self,
        *,
        locks: LockStore,
        strays: StrayStore,
        chains: ChainStore,
        jobs: KnownJobs,
        freed: Callable[[set[str]], None],
        monotonic: Callable[[], float],
        every: timedelta = EVERY,
    ) -> None:
        self._locks, self._strays, self._chains, self._jobs = locks, strays, chains, jobs
        self._freed, self._monotonic = freed, monotonic
        self._strays_at = self._overdue_at = 0.0
        self._every = every.total_seconds()
        self._chore = Chore("reaping", self.step, after_error=self._every)

    def start(self) -> None:
        """Begin."""
        self._chore.start()

    def stop(self) -> None:
        """End; a look that hangs is not waited for."""
        self._chore.stop()
        self._chore.join(timeout=LAST_LOOK)

    def step(self) -> float:
        """Look once; the seconds until the next look, spread so that servers do not look together."""
        freed = self._reap() | self._fail_overdue()
        settings = self._jobs.settings()
        self._strays.adopt({name: each.priority for name, each in settings.items()})
        if settings and self._monotonic() >= self._strays_at:
            self._strays_at = self._monotonic() + STRAYS_EVERY
            self._strays.restore_stripped(list(settings))
            if self._strays.release_foreign({name: each.lock_lifetime for name, each in settings.items()}):
                freed.update(settings)
            freed |= self._chains.sweep() & settings.keys()
        if freed:
            self._freed(freed)
        return self._every * random.uniform(0.8, 1.2)

    def _fail_overdue(self) -> set[str]:
        if self._monotonic() < self._overdue_at:
            return set()
        self._overdue_at = self._monotonic() + OVERDUE_EVERY
        overdue = self._locks.fail_overdue()
        for job in overdue:
            server = job.document.get("lockedBy")
            _log.warning("run not stopped", name=job.name, run=job.run_id, server=server, note=OVERDUE)
        return {job.name for job in overdue}

    def _reap(self) -> set[str]:
        reaped = [*self._locks.reap_dead_servers(), *self._locks.reap_stuck()]
        for job in reaped:
            _log.warning(
                "lock taken back",
                name=job.name,
                job_id=str(job.id),
                server=job.document.get("lockedBy"),
                crashes=job.crash_count,
                given_up=job.crash_count >= MAX_CRASHES,
            )
        return {job.name for job in reaped}
