"""due → claimed: in batches, across all jobs in one query, only for free slots.

Polling is the truth: all jobs every `process_every`, in one command. Between polls only those are looked at that were
hinted at, or whose last claim came back full. A claim with a lost answer is looked up before anything else is claimed.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from datetime import timedelta

import structlog

from jobserver.errors import DatabaseError
from jobserver.runner.pulse.capacity import Capacity
from jobserver.runner.pulse.jobs import KnownJobs
from jobserver.runner.pulse.lease import Lease
from jobserver.runner.pulse.rush import POLL_IN_RUSH, Rush
from jobserver.runner.pulse.wakeups import Wakeups
from jobserver.store.documents import ClaimedJob, Lane
from jobserver.store.jobs import ClaimInDoubt, JobStore

LARGEST_BATCH = 500
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
WITHOUT_LEASE = 0.1  # seconds between looks whether the lease is back

_log = structlog.get_logger("jobserver")


class ClaimLoop:
    """Claims for as long as the lease holds and hands every claimed document to `begin`."""

    def __init__(
        self,
        *,
        store: JobStore,
        jobs: KnownJobs,
        capacity: Capacity,
        wakeups: Wakeups,
        lease: Lease,
        begin: Callable[[ClaimedJob], None],
        rush: Rush,
        process_every: timedelta,
        monotonic: Callable[[], float],
    ) -> None:
        self._store, self._jobs, self._capacity = store, jobs, capacity
        self._wakeups, self._lease, self._begin = wakeups, lease, begin
        self._rush = rush
        self._process_every = process_every.total_seconds()
        self._monotonic = monotonic
        self._backlog: set[str] = set()
        self._doubt: ClaimInDoubt | None = None
        self._next_poll = 0.0
        self._stopping = False
        self._pause = FIRST_PAUSE

    async def run(self) -> None:
        """Work, then wait for stop or wake-up with the delay that the work returned.

        Without a delay the next claim is sent before the runs of the last one begin: MongoDB works while they do.
        """
        while not self._stopping:
            delay = await self._guarded_step()
            if delay:
                await self._wakeups.wait(delay)

    def stop(self) -> None:
        """Claim nothing more; the claim under way is still begun or given back."""
        self._stopping = True
        self._wakeups.nudge()

    async def _guarded_step(self) -> float:
        """One step; a database that is away makes the steps rarer, not the server fail."""
        try:
            delay = await self._step()
        except DatabaseError as error:
            self._doubt = error if isinstance(error, ClaimInDoubt) else self._doubt
            _log.warning("mongodb away", chore="claiming", error=str(error), next_try_in=self._pause)
            self._wakeups.hint_everything()
            await asyncio.sleep(self._pause)
            self._pause = min(LONGEST_PAUSE, self._pause * 2)
            return 0.0
        self._pause = FIRST_PAUSE
        return delay

    async def _step(self) -> float:
        hinted = self._wakeups.take(self._jobs)
        self._backlog |= hinted
        if not self._lease.holds():
            return WITHOUT_LEASE
        if self._doubt is not None:
            self._start(await self._store.claimed_in_doubt(self._doubt))
            self._doubt = None
        if self._monotonic() >= self._next_poll:
            self._next_poll = self._monotonic() + self._poll_every()
            self._backlog.update(self._jobs)
            if not self._rush.is_on:  # in a rush, jobs without a backlog are read beside those that have one
                hinted.update(self._jobs)
        lanes = self._capacity.lanes(self._backlog)
        self._rush.claimed(await self._claim(lanes, ahead=not hinted) if lanes else 0)
        if self._capacity.lanes(self._backlog):
            return 0.0
        return max(0.0, self._next_poll - self._monotonic())

    async def _claim(self, lanes: list[Lane], *, ahead: bool) -> int:
        limit = min(self._capacity.free(), LARGEST_BATCH)
        # Taken off before the answer: a hint that comes while we ask must not be lost.
        self._backlog.difference_update(lane.name for lane in lanes)
        token, owner = uuid.uuid4().hex, self._lease.owner
        claimed = await self._store.claim(lanes, limit=limit, token=token, owner=owner, ahead=ahead)
        self._backlog |= self._store.unfinished()
        self._start(claimed)
        return len(claimed)

    def _poll_every(self) -> float:
        return min(POLL_IN_RUSH, self._process_every) if self._rush.is_on else self._process_every

    def _start(self, claimed: list[ClaimedJob]) -> None:
        for job in claimed:
            self._begin(job)
