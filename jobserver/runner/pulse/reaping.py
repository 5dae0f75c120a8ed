"""Takes back what dead servers and stuck runs have locked, and mends strays; every server does this for all."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from datetime import timedelta

import structlog

from jobserver.runner.pulse.chore import Chore
from jobserver.runner.pulse.jobs import KnownJobs
from jobserver.store.chains import ChainStore
from jobserver.store.documents import ClaimedJob
from jobserver.store.locks import LockStore
from jobserver.store.strays import StrayStore
from jobserver.store.transitions import MAX_CRASHES

EVERY = timedelta(seconds=5)
SELDOM = 4  # looks, from one at what may wait to the next
STRAYS_EVERY = 60.0
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
        self._every = every.total_seconds()
        self._seldom_at = self._strays_at = 0.0
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
        freed = self._taken_back(self._locks.reap_dead_servers())
        if self._monotonic() >= self._seldom_at:
            freed |= self._taken_back(self._locks.reap_stuck()) | self._fail_overdue() | self._mend_strays()
            self._seldom_at = self._monotonic() + self._every * SELDOM
        if freed:
            self._freed(freed)
        return self._every * random.uniform(0.8, 1.2)

    def _mend_strays(self) -> set[str]:
        settings, freed = self._jobs.settings(), set[str]()
        self._strays.adopt({name: each.priority for name, each in settings.items()})
        if settings and self._monotonic() >= self._strays_at:
            self._strays.restore_stripped(list(settings))
            if self._strays.release_foreign({name: each.lock_lifetime for name, each in settings.items()}):
                freed.update(settings)
            freed |= self._chains.sweep() & settings.keys()
            self._locks.forget_dead_servers()
            self._strays_at = self._monotonic() + STRAYS_EVERY
        return freed

    def _fail_overdue(self) -> set[str]:
        overdue = self._locks.fail_overdue()
        for job in overdue:
            server = job.document.get("lockedBy")
            _log.warning("run not stopped", name=job.name, run=job.run_id, server=server, note=OVERDUE)
        return {job.name for job in overdue}

    def _taken_back(self, reaped: Sequence[ClaimedJob]) -> set[str]:
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
