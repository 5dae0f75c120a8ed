"""Claims job documents, many at a time: find the ids that are due, lock those that still are, read them back.

Locking and reading back are two calls, so that MongoDB may lock the next documents while the last ones are read.
Neither is retried blindly: what a claim with a lost answer has locked is looked up by its token.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from pymongo import ReturnDocument
from pymongo.errors import PyMongoError

from jobserver.errors import DatabaseError
from jobserver.store import transitions
from jobserver.store.admission import Admission
from jobserver.store.candidates import READ_AHEAD, WHOLE, Candidate, Candidates, Share
from jobserver.store.codec import is_text
from jobserver.store.connection import AsyncJobs, Document, bounded, what_mongodb_said
from jobserver.store.documents import ClaimedJob, Lane
from jobserver.store.due import read_due
from jobserver.store.expressions import BEGINNING
from jobserver.store.global_slots import Slots, free_slots, lock_into_slot, within

SHARED_FOR = 4.0  # seconds
# MongoDB itself ends a claim that takes longer. Without that it would carry one out whose client has gone meanwhile,
# after everything else of that server was given back.
LONGEST_CLAIM = 2.5  # seconds
MOST_READ = 5_000  # candidates at once, where slots are limited
ASKED_AGAIN = 2.0  # seconds, while claims keep colliding: servers come and go

# What a run needs of its document; a result or a traceback of the run before may be long.
RUN_FIELDS = (
    *("name", "type", "priority", "data", "scheduledFor", "scheduleKey", "anchorAt"),
    *("lockToken", "lockedBy", "fence", "attempt", "crashes", "lastRunAt"),
    *("attempts", "backoff", "repeatInterval", "repeatTimezone"),
    *("recurrence", "lastCompletedAt", "slots", "oneOff"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Documents that we tried to lock under one token; `locked` of them were, as far as is known.

    `alone` is the one document, read back by the command that locked it. `slots` is what all of them asked for, where
    the server limits that.
    """

    token: str
    candidates: Sequence[Candidate]
    locked: int
    slots: int = 0
    alone: Document | None = None

    @property
    def ids(self) -> list[Any]:
        """Of every document that was tried."""
        return [candidate.id for candidate in self.candidates]

    @property
    def names(self) -> Counter[str]:
        """How many of each job were tried."""
        return Counter(candidate.name for candidate in self.candidates)


class ClaimInDoubt(DatabaseError):
    """A claim was sent and its answer lost: `ClaimStore.verify` tells which documents it reached."""

    def __init__(self, claim: Claim, cause: Exception) -> None:
        super().__init__(f"the outcome of claim {claim.token} is unknown: {what_mongodb_said(cause)}")
        self.claim = claim


class ClaimStore:
    """The jobs collection, for whoever claims. Raises DatabaseError when MongoDB is away."""

    def __init__(
        self,
        collection: AsyncJobs,
        *,
        sort: tuple[tuple[str, int], ...],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._jobs = collection
        self._sort = dict(sort)
        self._monotonic = monotonic
        self._candidates = Candidates()
        self._shared_until = 0.0

    async def lock(
        self,
        lanes: Sequence[Lane],
        *,
        limit: int,
        token: str,
        owner: str,
        ahead: bool = False,
        admission: Admission | None = None,
    ) -> Claim:
        """At most `limit` due documents of these lanes, highest priority first, locked for `owner` under `token`.

        `ahead` works through a known backlog: it reads more ids than it locks, and goes on with those of the last
        call. What has become due since may then wait for a few calls. With `admission` only what it admits, and
        always of what is due now: what others have taken meanwhile must not close the line. Raises ClaimInDoubt.
        """
        if not ahead or admission is not None:
            self._candidates.clear()
        slots = await free_slots(self._jobs, lanes)
        lanes = [within(slots, lane) for lane in lanes]
        if admission is None:
            candidates = await self._next_candidates(lanes, limit=limit, ahead=ahead)
        else:
            candidates = await self._admitted(lanes, limit, admission)
        if not candidates:
            return Claim(token=token, candidates=(), locked=0)
        claim = Claim(token=token, candidates=candidates, locked=0, slots=admission.taken if admission else 0)
        try:
            if len(candidates) == 1 and not slots:
                claim = await self._lock_alone(claim, lanes, owner)
            else:
                locked = await self._lock(candidates, lanes, slots, token=token, owner=owner)
                claim = replace(claim, locked=locked)
        except PyMongoError as error:
            raise ClaimInDoubt(claim, error) from error
        if claim.locked < len(candidates) and self._monotonic() > self._shared_until - ASKED_AGAIN:
            await self._share_backlog(lanes, owner)
        elif self._monotonic() > self._shared_until:
            self._candidates.divide(WHOLE)
        self._candidates.drop({name for name, free in slots.items() if not free})
        return claim

    def unfinished(self) -> set[str]:
        """The jobs of the last claim that may have more due documents than it locked."""
        return self._candidates.unfinished()

    async def read(self, claim: Claim) -> list[ClaimedJob]:
        """The documents that this claim has locked, in the order in which they are to start. Raises ClaimInDoubt."""
        if claim.alone is not None:
            return [as_claimed(claim.alone)]
        try:
            return await self._held(claim)
        except PyMongoError as error:
            raise ClaimInDoubt(claim, error) from error

    async def verify(self, claim: Claim) -> list[ClaimedJob]:
        """The documents that a claim with a lost answer did lock. Raises ClaimInDoubt.

        A majority write that changes nothing goes first: then what is found is there to stay.
        """
        locked = {"_id": {"$in": claim.ids}, "lockToken": claim.token}
        try:
            await self._jobs.update_many(locked, {"$set": {"lockToken": claim.token}})
            return await self._held(claim)
        except PyMongoError as error:
            raise ClaimInDoubt(claim, error) from error

    async def _next_candidates(self, lanes: Sequence[Lane], *, limit: int, ahead: bool) -> list[Candidate]:
        known = self._candidates.unfinished()
        await self._read_due([lane for lane in lanes if lane.name not in known], limit)
        picked = self._candidates.pick(lanes, limit)
        if picked or not ahead:
            return picked
        await self._read_due([replace(lane, limit=lane.limit * READ_AHEAD) for lane in lanes], limit * READ_AHEAD)
        return self._candidates.pick(lanes, limit)

    async def _admitted(self, lanes: Sequence[Lane], limit: int, admission: Admission) -> list[Candidate]:
        """Each lane is read further than we can lock: what is behind a large document, or many, may be small."""
        wider = [replace(lane, limit=min(lane.limit, limit) * READ_AHEAD) for lane in lanes]
        most = min(MOST_READ, sum(lane.limit for lane in wider))
        await self._read_due(wider, most, admission.available)
        return self._candidates.pick(lanes, limit, admission)

    async def _read_due(self, lanes: Sequence[Lane], limit: int, available_slots: int | None = None) -> None:
        lanes = [replace(lane, limit=min(lane.limit, limit)) for lane in lanes if lane.limit > 0]
        if lanes:
            found = await read_due(self._jobs, lanes, limit, self._sort, available_slots)
            self._candidates.put(found, lanes, limit)

    async def _share_backlog(self, lanes: Sequence[Lane], owner: str) -> None:
        """After a collision: divide what is due with the servers that hold documents of the same jobs, for a while."""
        self._shared_until = self._monotonic() + SHARED_FOR
        held = {"lockedAt": {"$gt": BEGINNING}, "name": {"$in": [lane.name for lane in lanes]}}
        try:
            owners = await self._jobs.distinct("lockedBy", held)
        except PyMongoError:  # the next collision asks again
            return
        servers = sorted({owner, *(other for other in owners if is_text(other))})
        self._candidates.divide(Share(servers.index(owner), len(servers)))

    async def _lock_alone(self, claim: Claim, lanes: Sequence[Lane], owner: str) -> Claim:
        """The usual case where jobs come one by one: locked and read back in one round trip."""
        (candidate,) = claim.candidates
        lane = next(lane for lane in lanes if lane.name == candidate.name)
        with bounded(LONGEST_CLAIM):
            found = await self._jobs.find_one_and_update(
                transitions.due([lane.name]) | {"_id": candidate.id},
                transitions.claim([lane], token=claim.token, owner=owner),
                projection=RUN_FIELDS,
                return_document=ReturnDocument.AFTER,
                hint="_id_",
            )
        return replace(claim, locked=int(found is not None), alone=found)

    async def _lock(
        self, candidates: Sequence[Candidate], lanes: Sequence[Lane], slots: Slots, *, token: str, owner: str
    ) -> int:
        """Together, but for jobs with a global limit: theirs one by one, each into a slot of its own."""
        together = [candidate.id for candidate in candidates if candidate.name not in slots]
        locked = 0
        if together:
            shared = [lane for lane in lanes if lane.name not in slots]
            still_due = transitions.due([lane.name for lane in shared]) | {"_id": {"$in": together}}
            change = transitions.claim(shared, token=token, owner=owner)
            # Without the hint the planner tries the due index against the ids, at every claim.
            with bounded(LONGEST_CLAIM):
                locked = (await self._jobs.update_many(still_due, change, hint="_id_")).matched_count
        limited = {lane.name: lane for lane in lanes if lane.name in slots}
        for candidate in candidates:
            if candidate.name in limited:
                change = transitions.claim([limited[candidate.name]], token=token, owner=owner)
                with bounded(LONGEST_CLAIM):
                    locked += await lock_into_slot(self._jobs, candidate, change, slots[candidate.name])
        return locked

    async def _held(self, claim: Claim) -> list[ClaimedJob]:
        held = {"_id": {"$in": claim.ids}, "lockToken": claim.token}
        found = await self._jobs.find(held, RUN_FIELDS, batch_size=len(claim.candidates) + 1).to_list()
        if len(found) > 1:
            found.sort(key=_start_order)
        return [as_claimed(document) for document in found]


def as_claimed(document: Document) -> ClaimedJob:
    """Read a document that a claim has locked; a hand may have written anything, also since then."""
    id_, fence = document["_id"], _whole(document.get("fence"))
    name = document.get("name")
    return ClaimedJob(
        id=id_,
        name=name if is_text(name) else "",
        token=document["lockToken"],
        fence=fence,
        attempt=_whole(document.get("attempt")),
        started_at=_moment(document.get("lastRunAt")),
        scheduled_at=_moment(document.get("scheduledFor")),
        recurring=_recurs(document),
        document=document,
        run_id=f"{id_}:{fence}",
    )


def _recurs(document: Document) -> bool:
    """The holder of a job, a task with a recurrence, and whatever Pulse repeats."""
    return document.get("type") == "single" or bool(document.get("recurrence") or document.get("repeatInterval"))


def _start_order(document: Document) -> tuple[float, datetime]:
    priority = document.get("priority")
    return (-priority if isinstance(priority, (int, float)) else 0, _moment(document.get("scheduledFor")))


def _whole(value: Any) -> int:
    return value if isinstance(value, int) else 0


def _moment(value: Any) -> datetime:
    return value if isinstance(value, datetime) else datetime.fromtimestamp(0, UTC)
