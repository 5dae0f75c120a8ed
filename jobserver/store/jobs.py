"""Claims and settles job documents, many at a time.

A claim is three commands whatever its size: find the ids that are due, lock those that still are, read back what now
carries our token. A settle is one bulk command. Neither is retried blindly: a lost reply is looked up by its token.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from pymongo import ReturnDocument, UpdateMany, UpdateOne
from pymongo.errors import DuplicateKeyError, PyMongoError

from jobserver.errors import DatabaseError
from jobserver.store import transitions
from jobserver.store.candidates import READ_AHEAD, Candidate, Candidates
from jobserver.store.connection import AsyncJobs, Document, what_mongodb_said
from jobserver.store.documents import ABSENT, ClaimedJob, Lane, ProgressReport, Settlement
from jobserver.store.states import Transition

MAX_LANES = 400  # MongoDB refuses pipelines of more than 1000 stages


class ClaimInDoubt(DatabaseError):
    """The lock command was sent and its answer lost: `claimed_in_doubt` tells which documents it reached."""

    def __init__(self, *, token: str, ids: list[Any], cause: Exception) -> None:
        super().__init__(f"the outcome of claim {token} is unknown: {what_mongodb_said(cause)}")
        self.token, self.ids = token, ids


class JobStore:
    """The jobs collection, for a runner. Raises DatabaseError when MongoDB is away."""

    def __init__(
        self,
        collection: AsyncJobs,
        *,
        sort: tuple[tuple[str, int], ...],
        retention: timedelta,
        failed_retention: timedelta,
    ) -> None:
        self._jobs = collection
        self._sort = dict(sort)
        self._retention = retention
        self._failed_retention = failed_retention
        self._candidates = Candidates()

    async def claim(
        self, lanes: Sequence[Lane], *, limit: int, token: str, owner: str, ahead: bool = False
    ) -> list[ClaimedJob]:
        """At most `limit` due documents of these lanes, highest priority first, locked for `owner` under `token`.

        `ahead` works through a known backlog: it reads more ids than it locks, and goes on with those of the last
        call. What has become due since may then wait for a few calls.
        """
        if not ahead:
            self._candidates.clear()
        slots = await self._free_global_slots(lanes)
        lanes = [_within(slots, lane) for lane in lanes]
        candidates = await self._next_candidates(lanes, limit=limit, ahead=ahead)
        if not candidates:
            return []
        ids = [candidate.id for candidate in candidates]
        try:
            await self._lock(candidates, lanes, slots, token=token, owner=owner)
            claimed = await self._claimed(ids, token)
        except (PyMongoError, DatabaseError) as error:
            raise ClaimInDoubt(token=token, ids=ids, cause=error) from error
        if len(claimed) < len(ids):
            self._candidates.crowded(len(ids))
        self._candidates.drop({name for name, free in slots.items() if not free})
        return claimed

    def unfinished(self) -> set[str]:
        """The jobs of the last claim that may have more due documents than it locked."""
        return self._candidates.unfinished()

    async def claimed_in_doubt(self, doubt: ClaimInDoubt) -> list[ClaimedJob]:
        """The documents that a claim with a lost answer did lock.

        A majority write that changes nothing goes first: then what is found is there to stay.
        """
        locked = {"_id": {"$in": doubt.ids}, "lockToken": doubt.token}
        try:
            await self._jobs.update_many(locked, {"$set": {"lockToken": doubt.token}})
        except PyMongoError as error:
            raise DatabaseError(f"claim {doubt.token} could not be looked up: {what_mongodb_said(error)}") from error
        return await self._claimed(doubt.ids, doubt.token)

    async def settle(self, settlements: Sequence[Settlement]) -> list[Settlement]:
        """Store how these runs ended; returns those whose lock was lost, for which nothing was stored.

        Safe to call again with the same settlements after a DatabaseError: what was stored is recognised.
        """
        statements = self._statements(settlements)
        try:
            outcome = await self._jobs.bulk_write(statements, ordered=False)
        except PyMongoError as error:
            raise DatabaseError(f"results could not be stored: {what_mongodb_said(error)}") from error
        if outcome.matched_count == len(settlements):
            return []
        return await self._lost(settlements)

    async def touch(self, job: ClaimedJob, *, lock_lifetime: timedelta, report: ProgressReport | None = None) -> bool:
        """Extend the run's lock from now, with a progress report or without; False when the lock is lost."""
        change = transitions.touch(lock_lifetime=lock_lifetime, report=report)
        try:
            outcome = await self._jobs.update_one({"_id": job.id, "lockToken": job.token}, change)
        except PyMongoError as error:
            raise DatabaseError(f"progress of {job.name} could not be stored: {what_mongodb_said(error)}") from error
        return outcome.matched_count == 1

    async def release(self, *, owner: str) -> int:
        """Give back everything that `owner` still holds; its attempts do not count."""
        held = {"lockedAt": {"$exists": True}, "lockToken": {"$gt": ""}, "lockedBy": owner}
        try:
            return (await self._jobs.update_many(held, transitions.release())).modified_count
        except PyMongoError as error:
            raise DatabaseError(f"the locks of {owner} could not be given back: {what_mongodb_said(error)}") from error

    async def arm(
        self,
        name: str,
        *,
        key: str,
        first: Any,
        recurs: bool,
        enabled: bool,
        priority: int,
        fields: Document,
        create: bool,
        afresh: bool,
    ) -> datetime | None:
        """Give the recurring document of a job its schedule; returns its next moment, None where there is none.

        Without `create` a document that is not there, or is not ours, is left so.
        """
        change = transitions.arm(
            key=key, first=first, recurs=recurs, enabled=enabled, priority=priority, fields=fields, afresh=afresh
        )
        holder: Document = {"name": name, "type": "single"}
        if not create:
            holder["scheduleKey"] = {"$exists": True}
        for _ in range(2):  # two servers may insert at once; the unique index lets one, the other then updates
            try:
                found = await self._jobs.find_one_and_update(
                    holder,
                    change,
                    upsert=create,
                    projection={"nextRunAt": 1},
                    return_document=ReturnDocument.AFTER,
                )
            except DuplicateKeyError:
                continue
            except PyMongoError as error:
                raise DatabaseError(f"{name} could not be scheduled: {what_mongodb_said(error)}") from error
            return _moment_or_none((found or {}).get("nextRunAt"))
        raise DatabaseError(f"{name} could not be scheduled: its document is created and removed again and again")

    async def insert(self, document: Document) -> None:
        """Add one job document; the same `_id` again adds nothing."""
        try:
            await self._jobs.insert_one(document)
        except DuplicateKeyError:
            return
        except PyMongoError as error:
            raise DatabaseError(f"{document['name']} could not be queued: {what_mongodb_said(error)}") from error

    async def _next_candidates(self, lanes: Sequence[Lane], *, limit: int, ahead: bool) -> list[Candidate]:
        known = self._candidates.unfinished()
        await self._read([lane for lane in lanes if lane.name not in known], limit)
        picked = self._candidates.pick(lanes, limit)
        if picked or not ahead:
            return picked
        await self._read([replace(lane, limit=lane.limit * READ_AHEAD) for lane in lanes], limit * READ_AHEAD)
        return self._candidates.pick(lanes, limit)

    async def _read(self, lanes: Sequence[Lane], limit: int) -> None:
        lanes = [replace(lane, limit=min(lane.limit, limit)) for lane in lanes if lane.limit > 0]
        if lanes:
            self._candidates.put(await self._due(lanes, limit), lanes, limit)

    async def _lock(
        self,
        candidates: Sequence[Candidate],
        lanes: Sequence[Lane],
        slots: Mapping[str, list[str]],
        *,
        token: str,
        owner: str,
    ) -> None:
        """Together, but for jobs with a global limit: theirs one by one, each into a slot of its own."""
        together = [candidate.id for candidate in candidates if candidate.name not in slots]
        if together:
            shared = [lane for lane in lanes if lane.name not in slots]
            still_due = transitions.due([lane.name for lane in shared]) | {"_id": {"$in": together}}
            change = transitions.claim(shared, token=token, owner=owner)
            # Without the hint the planner tries the due index against the ids, at every claim.
            await self._jobs.update_many(still_due, change, hint="_id_")
        limited = {lane.name: lane for lane in lanes if lane.name in slots}
        for candidate in candidates:
            if candidate.name in limited:
                change = transitions.claim([limited[candidate.name]], token=token, owner=owner)
                await self._lock_into_slot(candidate, change, slots[candidate.name])

    async def _lock_into_slot(self, candidate: Candidate, change: list[Document], free: list[str]) -> None:
        """A unique index keeps each numbered slot single: no counter that could drift."""
        still_due = transitions.due(candidate.name) | {"_id": candidate.id}
        while free:
            slot = free.pop()
            change[0]["$set"]["globalSlot"] = {"$literal": slot}
            try:
                if not (await self._jobs.update_one(still_due, change)).matched_count:
                    free.append(slot)
                return
            except DuplicateKeyError:  # another server was faster to take this slot
                continue

    async def _free_global_slots(self, lanes: Sequence[Lane]) -> dict[str, list[str]]:
        """For each job with a global limit the slots that it may still take, also after the limit was lowered."""
        limits = {lane.name: lane.global_limit for lane in lanes if lane.global_limit is not None}
        if not limits:
            return {}
        try:
            found = await self._jobs.distinct("globalSlot", {"globalSlot": {"$gt": ""}})
        except PyMongoError as error:
            raise DatabaseError(f"the slots of limited jobs could not be read: {what_mongodb_said(error)}") from error
        taken = {slot for slot in found if isinstance(slot, str)}  # a hand may have written anything
        running = Counter(name for name, _, number in (slot.rpartition("#") for slot in taken) if number.isdigit())
        free = {}
        for name, limit in limits.items():
            untaken = [slot for slot in (f"{name}#{number}" for number in range(limit)) if slot not in taken]
            random.shuffle(untaken)  # servers that race for the same slot would otherwise all try the same next one
            free[name] = untaken[: max(0, limit - running[name])]
        return free

    async def _due(self, lanes: Sequence[Lane], limit: int) -> list[Candidate]:
        found: list[Document] = []
        try:
            for start in range(0, len(lanes), MAX_LANES):
                group = lanes[start : start + MAX_LANES]
                pipeline = due_pipeline(group, limit, self._sort, self._jobs.name)
                cursor = await self._jobs.aggregate(pipeline, batchSize=limit + 1)  # one reply, not one per 101
                found += await cursor.to_list()
        except PyMongoError as error:
            raise DatabaseError(f"due jobs could not be read: {what_mongodb_said(error)}") from error
        if len(lanes) > MAX_LANES:
            _put_in_order(found, self._sort)
            del found[limit:]
        return [Candidate(each["name"], each["_id"], each.get("priority")) for each in found]

    async def _claimed(self, ids: list[Any], token: str) -> list[ClaimedJob]:
        try:
            held = {"_id": {"$in": ids}, "lockToken": token}
            found = await self._jobs.find(held, batch_size=len(ids) + 1).to_list()
        except PyMongoError as error:
            raise DatabaseError(f"claimed jobs could not be read: {what_mongodb_said(error)}") from error
        if len(found) > 1:
            found.sort(key=_start_order)
        return [as_claimed(document) for document in found]

    def _statements(self, settlements: Sequence[Settlement]) -> list[UpdateOne | UpdateMany]:
        """Ends without a word of their own share one statement per claim; each other has its own."""
        alike: dict[tuple[str, Transition], list[Settlement]] = {}
        statements: list[UpdateOne | UpdateMany] = []
        for settlement in settlements:
            if is_plain(settlement):
                alike.setdefault((settlement.job.token, settlement.transition), []).append(settlement)
            else:
                statements.append(UpdateOne(transitions.owned(settlement), self._ending(settlement)))
        for (token, _), group in alike.items():
            owned = {"_id": {"$in": [settlement.job.id for settlement in group]}, "lockToken": token}
            statements.append(UpdateMany(owned, self._ending(group[0])))
        return statements

    def _ending(self, settlement: Settlement) -> list[Document]:
        return transitions.settle(settlement, retention=self._retention, failed_retention=self._failed_retention)

    async def _lost(self, settlements: Sequence[Settlement]) -> list[Settlement]:
        """Those that did not go through, now or in an earlier try whose answer was lost."""
        settled = {"_id": {"$in": [settlement.job.id for settlement in settlements]}}
        try:
            found = await self._jobs.find(settled, {"settledBy": 1, "crashedToken": 1, "lockToken": 1}).to_list()
        except PyMongoError as error:
            raise DatabaseError(f"results could not be verified: {what_mongodb_said(error)}") from error
        by_id = {_key(document["_id"]): document for document in found}
        return [settlement for settlement in settlements if not _is_settled(settlement, by_id)]


def due_pipeline(lanes: Sequence[Lane], limit: int, sort: Document, collection: str) -> list[Document]:
    """The ids to claim: per lane the first `lane.limit` in the index, then the best `limit` of all lanes.

    One lane per job keeps a job with a long backlog from filling the batch of the others.
    """
    first, *others = (_lane_pipeline(lane, limit, sort) for lane in lanes)
    if not others:
        return first
    return [
        *first,
        *({"$unionWith": {"coll": collection, "pipeline": lane}} for lane in others),
        {"$sort": sort},
        {"$limit": limit},
    ]


def _lane_pipeline(lane: Lane, limit: int, sort: Document) -> list[Document]:
    return [
        {"$match": transitions.claimable(lane.name)},
        {"$sort": sort},
        {"$limit": min(lane.limit, limit)},
        {"$project": {"name": 1, **dict.fromkeys(sort, 1)}},
    ]


def is_plain(settlement: Settlement) -> bool:
    """Whether nothing in this end differs from the others of its claim."""
    return (
        settlement.transition in (Transition.COMPLETE, Transition.RELEASE)
        and settlement.result is ABSENT
        and not settlement.job.recurring
    )


def as_claimed(document: Document) -> ClaimedJob:
    """Read a document that a claim has just locked; what the claim wrote is sound, the rest may be anything."""
    id_, fence = document["_id"], int(document["fence"])
    return ClaimedJob(
        id=id_,
        name=document["name"],
        token=document["lockToken"],
        fence=fence,
        attempt=int(document["attempt"]),
        started_at=document["lastRunAt"],
        scheduled_at=_moment(document.get("scheduledFor")),
        # Pulse also repeats documents of type "normal"
        recurring=document.get("type") == "single" or document.get("repeatInterval") is not None,
        document=document,
        run_id=f"{id_}:{fence}",
    )


def _within(slots: Mapping[str, list[str]], lane: Lane) -> Lane:
    free = slots.get(lane.name)
    return lane if free is None else replace(lane, limit=min(lane.limit, len(free)))


def _put_in_order(documents: list[Document], sort: Document) -> None:
    """As MongoDB would: what several queries have found is one claim."""
    for field, direction in reversed(sort.items()):
        documents.sort(key=lambda document: _rank(document.get(field)), reverse=direction < 0)


def _rank(value: Any) -> tuple[int, Any]:
    """Missing values first, then numbers, then moments; what else a hand may have written lies between them."""
    match value:
        case None:
            return (0, 0)
        case datetime():
            return (3, value)
        case int() | float() if not math.isnan(value):
            return (1, value)
        case _:
            return (2, 0)


def _is_settled(settlement: Settlement, by_id: dict[Any, Document]) -> bool:
    document = by_id.get(_key(settlement.job.id))
    if document is None:
        return False
    match settlement.transition:
        case Transition.RELEASE:
            return bool(document.get("lockToken") != settlement.job.token)
        case Transition.REAP:
            return bool(document.get("crashedToken") == settlement.job.token)
        case _:
            return bool(document.get("settledBy") == settlement.job.token)


def _key(id_: Any) -> Any:
    """An `_id` may be a sub-document, which Python cannot hash."""
    return repr(id_) if isinstance(id_, dict) else id_


def _start_order(document: Document) -> tuple[float, datetime]:
    priority = document.get("priority")
    return (-priority if isinstance(priority, (int, float)) else 0, _moment(document.get("scheduledFor")))


def _moment_or_none(value: Any) -> datetime | None:
    return value if isinstance(value, datetime) else None


def _moment(value: Any) -> datetime:
    return value if isinstance(value, datetime) else datetime.fromtimestamp(0, UTC)
