"""due → claimed: in batches, across all jobs in one query, only for free slots.

Polling is the truth: all jobs every `process_every`, in one command. Between polls only those are looked at that were
hinted at, or whose last claim came back full. What one step has locked, the next reads back and begins, while it locks
more if there is more. A claim with a lost answer is looked up before anything else is claimed.

Where slots are limited, jobs of which nothing fits are left alone until slots come back, or until other jobs are looked
at: then they are looked at too, for a large document must be seen to wait before smaller ones may be told to.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta

import structlog

from jobserver.errors import DatabaseError
from jobserver.runner.pulse.capacity import Capacity
from jobserver.runner.pulse.jobs import KnownJobs
from jobserver.runner.pulse.lease import Lease
from jobserver.runner.pulse.rush import POLL_IN_RUSH, Rush
from jobserver.runner.pulse.wakeups import Wakeups
from jobserver.store.claims import LONGEST_CLAIM, Claim, ClaimInDoubt, ClaimStore
from jobserver.store.documents import ClaimedJob, Lane

LARGEST_BATCH = 500
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
WITHOUT_LEASE = 0.1  # seconds between looks whether the lease is back

_log = structlog.get_logger("jobserver")


class ClaimLoop:
    """Claims for as long as the lease holds and hands every claimed document to `begin`."""

    def __init__(
        self,
        *,
        store: ClaimStore,
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
        self._short_of_slots: set[str] = set()
        self._free_slots_then = 0
        self._asked: str = ""
        self._locked: Claim | None = None
        self._being_read: Claim | None = None
        self._in_doubt: list[Claim] = []
        self._may_come_through_until = 0.0
        self._next_poll = 0.0
        self._stopping = False
        self._pause = FIRST_PAUSE

    async def run(self) -> None:
        """Work, then wait for stop or wake-up with the delay that the work returned."""
        while not self._stopping:
            delay = await self._guarded_step()
            if delay:
                await self._wakeups.wait(delay)
        with suppress(DatabaseError):  # what is not begun now, the shutdown gives back
            await self._begin_locked()
        # Nor must the shutdown give everything back while MongoDB may still carry a claim out that lost its connection.
        await asyncio.sleep(self._may_come_through_until - self._monotonic())

    @property
    def is_stopping(self) -> bool:
        """Whether it was told to claim nothing more."""
        return self._stopping

    @property
    def tokens(self) -> set[str]:
        """Of the claims under way: nobody else knows yet what they have locked."""
        claims = [*self._in_doubt, *filter(None, (self._locked, self._being_read))]
        return {self._asked, *(claim.token for claim in claims)}

    def stop(self) -> None:
        """Claim nothing more; the claim under way is still begun or given back."""
        self._stopping = True
        self._wakeups.nudge()

    async def _guarded_step(self) -> float:
        """One step; a database that is away makes the steps rarer, not the server fail."""
        try:
            delay = await self._step()
        except DatabaseError as error:
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
            await self._begin_locked()  # which gives them back
            return WITHOUT_LEASE
        await self._clear_up()
        if self._monotonic() >= self._next_poll:
            self._next_poll = self._monotonic() + self._poll_every()
            self._backlog.update(self._jobs)
            if not self._rush.is_on:  # in a rush, jobs without a backlog are read beside those that have one
                hinted.update(self._jobs)
        self._consider_the_short()
        await self._lock_and_begin(self._capacity.lanes(self._backlog), ahead=not hinted)
        if self._locked or self._capacity.lanes(self._backlog):
            return 0.0
        return max(0.0, self._next_poll - self._monotonic())

    async def _clear_up(self) -> None:
        """Look up the claims whose answers were lost, before anything else is claimed."""
        while self._in_doubt:
            jobs = await self._store.verify(self._in_doubt[-1])
            self._start(self._in_doubt.pop(), jobs)

    def _consider_the_short(self) -> None:
        if self._short_of_slots:
            have_come_back = self._capacity.slots.free > self._free_slots_then
            if have_come_back or self._capacity.lanes(self._backlog):
                self._backlog |= self._short_of_slots
                self._short_of_slots = set()

    async def _lock_and_begin(self, lanes: list[Lane], *, ahead: bool) -> None:
        """Lock the next documents while those of the last step are read back and their runs begin."""
        if not lanes:
            self._rush.claimed(0)
            await self._begin_locked()
        elif self._locked is None:
            await self._lock(lanes, ahead=ahead)
        else:
            both = await asyncio.gather(self._begin_locked(), self._lock(lanes, ahead=ahead), return_exceptions=True)
            for error in filter(None, both):
                raise error

    async def _lock(self, lanes: list[Lane], *, ahead: bool) -> None:
        limit = min(self._capacity.free(), LARGEST_BATCH)
        # Taken off before the answer: a hint that comes while we ask must not be lost.
        self._backlog.difference_update(lane.name for lane in lanes)
        self._asked, owner = uuid.uuid4().hex, self._lease.owner
        admission = self._capacity.slots.admission(lanes)
        try:
            claim = await self._store.lock(
                lanes, limit=limit, token=self._asked, owner=owner, ahead=ahead, admission=admission
            )
        except ClaimInDoubt as doubt:
            self._count(doubt.claim)
            self._in_doubt.append(doubt.claim)
            self._may_come_through_until = self._monotonic() + LONGEST_CLAIM
            raise
        finally:
            self._asked = ""
        self._backlog |= self._store.unfinished()
        self._rush.claimed(claim.locked)
        if claim.locked:
            self._count(claim)
            self._locked = claim
        elif admission is not None and not claim.candidates:  # or this would be asked again at once, and again
            self._short_of_slots = admission.left_out | self._store.unfinished()
            self._free_slots_then = admission.free
            self._backlog -= self._short_of_slots

    def _count(self, claim: Claim) -> None:
        self._capacity.claimed(claim.names)
        self._capacity.slots.reserve(claim.slots)

    async def _begin_locked(self) -> None:
        claim, self._locked = self._locked, None
        if claim is None:
            return
        self._being_read = claim
        try:
            self._start(claim, await self._store.read(claim))
        except ClaimInDoubt:
            self._in_doubt.append(claim)
            raise
        finally:
            self._being_read = None

    def _start(self, claim: Claim, jobs: list[ClaimedJob]) -> None:
        """Begin what was locked, and free the room of what others had taken in the meantime."""
        locked = Counter(job.name for job in jobs)
        self._capacity.missed(claim.names - locked)
        self._capacity.claimed(locked - claim.names)  # a hand may have renamed one in between
        self._capacity.slots.release(claim.slots)
        for job in jobs:
            self._begin(job)

    def _poll_every(self) -> float:
        return min(POLL_IN_RUSH, self._process_every) if self._rush.is_on else self._process_every
