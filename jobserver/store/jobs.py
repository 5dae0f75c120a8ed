"""Settles claimed job documents, many in one bulk command, and writes what else a runner has to say of them.

A settle may be repeated after a lost reply: what was stored is recognised by its token.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from pymongo import ReturnDocument, UpdateMany, UpdateOne
from pymongo.errors import DuplicateKeyError, PyMongoError

from jobserver.errors import DatabaseError
from jobserver.store import transitions
from jobserver.store.arming import Arming, arm
from jobserver.store.codec import is_text, key_of
from jobserver.store.connection import AsyncJobs, Document, lacks_room, what_mongodb_said
from jobserver.store.documents import ABSENT, ClaimedJob, ErrorRecord, ProgressReport, Settlement
from jobserver.store.expressions import BEGINNING, NOW
from jobserver.store.indexes import holder_indexes
from jobserver.store.states import Transition
from jobserver.store.task_transitions import withdraw
from jobserver.store.views import moment, text


class JobStore:
    """The jobs collection, for a runner. Raises DatabaseError when MongoDB is away."""

    def __init__(
        self,
        collection: AsyncJobs,
        *,
        retention: timedelta,
        failed_retention: timedelta,
    ) -> None:
        self._jobs = collection
        self._retention = retention
        self._failed_retention = failed_retention

    async def settle(self, settlements: Sequence[Settlement]) -> list[Settlement]:
        """Store how these runs ended; returns those whose lock was lost, for which nothing was stored.

        Safe to call again with the same settlements after a DatabaseError: what was stored is recognised, unless a
        later claim of the same document has settled since.
        """
        statements = self._statements(settlements)
        try:
            outcome = await self._jobs.bulk_write(statements, ordered=False)
        except PyMongoError as error:
            if lacks_room(error):  # or these would be tried for ever, and all that ends after them would wait
                return await self._settle_the_full(settlements)
            raise DatabaseError(f"results could not be stored: {what_mongodb_said(error)}") from error
        if outcome.matched_count == len(settlements):
            return []
        return await self._lost(settlements)

    async def held(self, settlements: Sequence[Settlement]) -> list[Settlement]:
        """Those whose documents still carry the token of their claim."""
        tokens = {"$in": [settlement.job.token for settlement in settlements]}
        claimed = {"_id": {"$in": [settlement.job.id for settlement in settlements]}, "lockToken": tokens}
        try:
            found = await self._jobs.find(claimed, {"lockToken": 1}).to_list()
        except PyMongoError as error:
            raise DatabaseError(f"locks could not be verified: {what_mongodb_said(error)}") from error
        valid = {(key_of(document["_id"]), key_of(document["lockToken"])) for document in found}
        return [each for each in settlements if (key_of(each.job.id), each.job.token) in valid]

    async def touch(self, job: ClaimedJob, *, lock_lifetime: timedelta, report: ProgressReport | None = None) -> bool:
        """Extend the run's lock from now, with a progress report or without; False when the lock is lost."""
        change = transitions.touch(lock_lifetime=lock_lifetime, report=report)
        try:
            outcome = await self._jobs.update_one({"_id": job.id, "lockToken": job.token}, change)
        except PyMongoError as error:
            raise DatabaseError(f"progress of {job.name} could not be stored: {what_mongodb_said(error)}") from error
        return outcome.matched_count == 1

    async def stand_for(self, job: ClaimedJob, occurrence: datetime) -> bool:
        """Say that this claim is for a later occurrence than the one it was due for; False when the lock is lost."""
        try:
            owned = {"_id": job.id, "lockToken": job.token}
            outcome = await self._jobs.update_one(owned, {"$set": {"scheduledFor": occurrence}})
        except PyMongoError as error:
            raise DatabaseError(f"{job.name} could not be moved on: {what_mongodb_said(error)}") from error
        return outcome.matched_count == 1

    async def cancel_requests(self, *, owner: str) -> dict[str, str]:
        """The runs of `owner` that somebody wants to end: why, by run id."""
        asked = {"cancelRequest.token": {"$gt": ""}, "lockedBy": owner}
        try:
            found = await self._jobs.find(asked, {"fence": 1, "lockToken": 1, "cancelRequest": 1}).to_list()
        except PyMongoError as error:
            raise DatabaseError(f"cancel requests could not be read: {what_mongodb_said(error)}") from error
        return {
            f"{each['_id']}:{each.get('fence')}": text(request.get("reason")) or "cancelled"
            for each in found
            # A hand may have written anything, and a request for an earlier claim means nothing to this one.
            if isinstance(request := each["cancelRequest"], dict) and request.get("token") == each.get("lockToken")
        }

    async def may_come(self, id_: Any, *, owner: str) -> bool:
        """Whether this document is due and waits, or `owner` has it."""
        waits = {"_id": id_, "lockToken": None, "$expr": {"$lte": ["$nextRunAt", NOW]}, "nextRunAt": {"$gt": BEGINNING}}
        try:
            return await self._jobs.find_one({"$or": [waits, {"_id": id_, "lockedBy": owner}]}, {"_id": 1}) is not None
        except PyMongoError as error:
            raise DatabaseError(f"{id_} could not be read: {what_mongodb_said(error)}") from error

    async def withdraw_all(self, name: str, *, reason: str) -> int:
        """Nothing of this job runs any more: what waits is cancelled, a run under way is the last; returns how many."""
        live = [{field: {"$ne": None}} for field in ("nextRunAt", "lockToken", "lockedAt", "follows")]
        change = withdraw(settlement=f"cancelled:{uuid4().hex}", reason=reason, retention=self._retention)
        try:
            # A holder that has lost its schedule takes the next one, whatever that is.
            withdrawn = await self._jobs.update_many({"name": name, "$or": live}, [*change, {"$unset": "scheduleKey"}])
        except PyMongoError as error:
            raise DatabaseError(f"{name} could not be withdrawn: {what_mongodb_said(error)}") from error
        return withdrawn.modified_count

    async def held_tokens(self, *, owner: str) -> set[str]:
        """The tokens of all that `owner` holds by MongoDB's word."""
        try:
            return {token for token in await self._jobs.distinct("lockToken", _held_by(owner)) if is_text(token)}
        except PyMongoError as error:
            raise DatabaseError(f"the locks of {owner} could not be read: {what_mongodb_said(error)}") from error

    async def release(self, *, owner: str, tokens: set[str] | None = None) -> int:
        """Give back everything that `owner` still holds, or what it holds by these tokens; attempts do not count."""
        held = _held_by(owner)
        if tokens is not None:
            held["lockToken"] = {"$in": sorted(tokens)}
        try:
            return (await self._jobs.update_many(held, transitions.release())).modified_count
        except PyMongoError as error:
            raise DatabaseError(f"the locks of {owner} could not be given back: {what_mongodb_said(error)}") from error

    async def arm(self, name: str, arming: Arming, *, create: bool) -> datetime | None:
        """Give the recurring document of a job its schedule; returns its next moment, None where there is none.

        Without `create` a document that is not there, or is not ours, is left so.
        """
        holder: Document = {"name": name, "type": "single"}
        if not create:
            holder["scheduleKey"] = {"$exists": True}
        for _ in range(2):  # two servers may insert at once; the unique index lets one, the other then updates
            try:
                found = await self._arm(holder, arm(arming))
                if found is None and create:
                    # Whoever drops the collection takes the index along, and without it both would insert.
                    await self._jobs.create_indexes(holder_indexes())
                    found = await self._arm(holder, arm(arming), upsert=True)
            except DuplicateKeyError:
                continue
            except PyMongoError as error:
                raise DatabaseError(f"{name} could not be scheduled: {what_mongodb_said(error)}") from error
            return moment((found or {}).get("nextRunAt"))
        raise DatabaseError(f"{name} could not be scheduled: its document is created and removed again and again")

    async def without_holder(self, names: Sequence[str]) -> list[str]:
        """Those of these jobs that have no recurring document."""
        try:
            held = set(await self._jobs.distinct("name", {"name": {"$in": list(names)}, "type": "single"}))
        except PyMongoError as error:
            raise DatabaseError(f"schedules could not be looked for: {what_mongodb_said(error)}") from error
        return [name for name in names if name not in held]

    async def insert(self, document: Document) -> None:
        """Add one job document; the same `_id` again adds nothing."""
        try:
            await self._jobs.insert_one(document)
        except DuplicateKeyError:
            return
        except PyMongoError as error:
            raise DatabaseError(f"{document['name']} could not be queued: {what_mongodb_said(error)}") from error

    async def _settle_the_full(self, settlements: Sequence[Settlement]) -> list[Settlement]:
        """One by one: those whose documents have no room for their end have failed for that reason, and say so."""
        for settlement in await self.held(settlements):
            owned, ending = transitions.owned(settlement), self._ending(settlement)
            try:
                await self._jobs.update_one(owned, ending)
            except PyMongoError as error:
                if not lacks_room(error):
                    raise DatabaseError(f"results could not be stored: {what_mongodb_said(error)}") from error
                settlement.transition, settlement.result, settlement.retry_in = Transition.FAIL, ABSENT, None
                settlement.error = ErrorRecord(message=transitions.NO_ROOM)
                await self._let_go(owned)
        return await self._lost(settlements)

    async def _let_go(self, owned: Document) -> None:
        try:
            await self._jobs.update_one(owned, transitions.let_go())
        except PyMongoError as error:
            if not lacks_room(error):  # else a hand has torn out what the lock took up: it stays as it is
                raise DatabaseError(f"results could not be stored: {what_mongodb_said(error)}") from error

    async def _arm(self, holder: Document, change: list[Document], *, upsert: bool = False) -> Document | None:
        return await self._jobs.find_one_and_update(
            holder, change, upsert=upsert, projection={"nextRunAt": 1}, return_document=ReturnDocument.AFTER
        )

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
        by_id = {key_of(document["_id"]): document for document in found}
        return [settlement for settlement in settlements if not _is_settled(settlement, by_id)]


def is_plain(settlement: Settlement) -> bool:
    """Whether nothing in this end differs from the others of its claim."""
    return (
        settlement.transition in (Transition.COMPLETE, Transition.RELEASE)
        and settlement.result is ABSENT
        and not settlement.job.recurring
        and not settlement.job.one_off
    )


def _is_settled(settlement: Settlement, by_id: dict[Any, Document]) -> bool:
    document = by_id.get(key_of(settlement.job.id))
    if document is None:
        return False
    match settlement.transition:
        case Transition.RELEASE:
            return bool(document.get("lockToken") != settlement.job.token)
        case Transition.REAP:
            return bool(document.get("crashedToken") == settlement.job.token)
        case _:
            # What was taken back has settled under this token, too, but not by whoever held it.
            is_ours = document.get("settledBy") == settlement.job.token
            return bool(is_ours and document.get("crashedToken") != settlement.job.token)


def _held_by(owner: str) -> Document:
    return {"lockedAt": {"$exists": True}, "lockToken": {"$gt": ""}, "lockedBy": owner}
