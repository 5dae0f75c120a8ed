"""What this server's own tables learn when a run's end is stored: free slots, and when the job is due again."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from jobserver.runner.pulse.capacity import Capacity
from jobserver.runner.pulse.jobs import KnownJobs
from jobserver.runner.pulse.misfire import OVERLAPPED
from jobserver.runner.pulse.wakeups import Wakeups
from jobserver.store.clock import ServerClock
from jobserver.store.documents import Settlement
from jobserver.store.states import Transition

_log = structlog.get_logger("jobserver")


class Upkeep:
    """A listener of the settle loop."""

    def __init__(self, *, jobs: KnownJobs, capacity: Capacity, wakeups: Wakeups, clock: ServerClock) -> None:
        self._jobs, self._capacity, self._wakeups, self._clock = jobs, capacity, wakeups, clock

    def settled(self, settlements: Sequence[Settlement], lost: Sequence[Settlement]) -> None:
        """Free what these held and note when their jobs are due again."""
        for settlement in settlements:
            self._capacity.settled(settlement.job.name)
            if settlement.next_run_at is not None:
                self._wakeups.hint_in(settlement.next_run_at - self._clock.now(), settlement.job.name)
            elif settlement.retry_in is not None:
                self._wakeups.hint_in(settlement.retry_in, settlement.job.name)
            elif settlement.transition is not Transition.COMPLETE or self._had_global_slot(settlement.job.name):
                self._wakeups.hint([settlement.job.name])
        self._wakeups.nudge()

    def _had_global_slot(self, name: str) -> bool:
        """A slot that all servers share is free again, and another document may be waiting for it."""
        known = self._jobs.get(name)
        return known is not None and known.settings.global_concurrency is not None

    def warn_of_overlap(self, settlement: Settlement) -> None:
        """Say so when occurrences came due while the one before them still ran."""
        if settlement.skipped and settlement.next_run_at is not None:
            _log.warning(
                "occurrence not started",
                name=settlement.job.name,
                due=settlement.skipped[0].at.isoformat(),
                count=len(settlement.skipped),
                reason=OVERLAPPED,
                next=settlement.next_run_at.isoformat(),
            )
