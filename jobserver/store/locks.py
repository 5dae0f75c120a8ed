"""Takes back locks that nobody can hold any more: of dead servers, of stuck runs, of vanished Pulse workers.

A live server's locks are never touched. Each document is taken back by one update that names the lock it ends, so a
run that settles in the same moment wins or loses as a whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from pymongo.errors import PyMongoError, WriteError

from jobserver.errors import DatabaseError
from jobserver.store import transitions
from jobserver.store.claims import as_claimed
from jobserver.store.codec import is_text
from jobserver.store.connection import Document, SyncJobs, lacks_room, what_mongodb_said
from jobserver.store.documents import ClaimedJob
from jobserver.store.expressions import NOW, Expression, ago, is_moment
from jobserver.store.runs import crash_record, record_runs
from jobserver.store.servers import GRACE

OVERDUE_AFTER = timedelta(seconds=30)
SHOWN_DEAD_FOR = timedelta(days=1)
HELD: Document = {"lockedAt": {"$exists": True}, "lockToken": {"$gt": ""}}


class LockStore:
    """What the reaper does. Raises DatabaseError when MongoDB is away."""

    def __init__(
        self,
        *,
        jobs: SyncJobs,
        runs: SyncJobs,
        servers: SyncJobs,
        grace: timedelta = GRACE,
        overdue_after: timedelta = OVERDUE_AFTER,
        failed_retention: timedelta = timedelta(days=30),
    ) -> None:
        self._jobs, self._runs, self._servers = jobs, runs, servers
        self._grace, self._overdue_after, self._failed_retention = grace, overdue_after, failed_retention

    def reap_dead_servers(self) -> list[ClaimedJob]:
        """Take back every lock whose owner's lease is over, registered or not."""
        try:
            # Owners first: whoever claims later has registered before, and is then seen alive.
            owners = self._jobs.distinct("lockedBy", HELD)
            named = {owner for owner in owners if is_text(owner)}  # a hand may have written anything
            dead = named - self._alive() if named else named
            return [job for owner in sorted(dead) if self._has_ended(owner) for job in self._reap_owner(owner)]
        except PyMongoError as error:
            raise DatabaseError(f"dead servers could not be looked for: {what_mongodb_said(error)}") from error

    def reap_server(self, owner: str, *, reason: str | None = None) -> list[ClaimedJob]:
        """End this server's lease and take back all it holds."""
        self._servers.delete_one({"_id": owner})
        return self._reap_owner(owner, reason)

    def reap_process(self, *, supervisor: str, pid: int, reason: str) -> list[ClaimedJob]:
        """Take back what a process held whose end its supervisor has seen; `sign_off` is to follow."""
        try:
            return [job for owner in self._owners(supervisor, [pid]) for job in self._reap_owner(owner, reason)]
        except PyMongoError as error:
            said = what_mongodb_said(error)
            raise DatabaseError(f"the locks of process {pid} could not be taken back: {said}") from error

    def release_process(self, *, supervisor: str, pid: int) -> None:
        """Give back what a process held whose supervisor has killed it: no crash of its runs; `sign_off` follows."""
        try:
            self._release(self._owners(supervisor, [pid]))
        except PyMongoError as error:
            said = what_mongodb_said(error)
            raise DatabaseError(f"the locks of process {pid} could not be given back: {said}") from error

    def sign_off(self, *, supervisor: str, pids: Sequence[int]) -> int:
        """End the leases of dead processes, whose claims can no longer come through.

        What was locked for them since they died never began: it is given back, and no crash is counted. Returns how
        many documents.
        """
        try:
            owners = self._owners(supervisor, pids)
            count = self._release(owners)
            self._servers.delete_many({"_id": {"$in": owners}})
            return count
        except PyMongoError as error:
            raise DatabaseError(f"processes {pids} could not be signed off: {what_mongodb_said(error)}") from error

    def reap_stuck(self) -> list[ClaimedJob]:
        """Take back locks past their `lockUntil`: no progress and no touch for a whole lock lifetime.

        Those without a server go with them: nobody could be found dead for them.
        """
        stuck = {"$or": [{"$expr": {"$lt": ["$lockUntil", NOW]}}, {"lockedBy": {"$not": {"$type": "string"}}}]}
        try:
            return self._reap(stuck, "no progress within the lock lifetime, the lock expired")
        except PyMongoError as error:
            raise DatabaseError(f"stuck runs could not be looked for: {what_mongodb_said(error)}") from error

    def fail_overdue(self) -> list[ClaimedJob]:
        """Fail runs that should have been stopped by their own server long ago, which lives and does not do it."""
        overdue = {"deadlineAt": {"$type": "date"}, "$expr": {"$lt": ["$deadlineAt", ago(self._overdue_after)]}}
        reason = "it took longer than its max_execution_time, and its server has not stopped it"
        try:
            change = transitions.overrun(reason, self._failed_retention)
            return self._take_back(overdue, reason, change, at="lastFinishedAt")
        except PyMongoError as error:
            raise DatabaseError(f"overdue runs could not be looked for: {what_mongodb_said(error)}") from error

    def forget_dead_servers(self) -> None:
        """Remove the leases of servers that died a day ago and held nothing, so that nobody has taken anything back."""
        over = {"leaseUntil": {"$type": "date"}, "$expr": {"$lt": ["$leaseUntil", ago(SHOWN_DEAD_FOR)]}}
        try:
            self._servers.delete_many(over)
        except PyMongoError as error:
            raise DatabaseError(f"dead servers could not be forgotten: {what_mongodb_said(error)}") from error

    def held_runs(self, owner: str) -> set[str]:
        """The run ids that this server holds by MongoDB's word."""
        try:
            found = self._jobs.find({**HELD, "lockedBy": owner}, {"fence": 1})
            return {f"{document['_id']}:{document.get('fence')}" for document in found}
        except PyMongoError as error:
            raise DatabaseError(f"the locks of {owner} could not be read: {what_mongodb_said(error)}") from error

    def _owners(self, supervisor: str, pids: Sequence[int]) -> list[Any]:
        return self._servers.distinct("_id", {"supervisor": supervisor, "pid": {"$in": list(pids)}})

    def _release(self, owners: Sequence[Any]) -> int:
        return self._jobs.update_many({**HELD, "lockedBy": {"$in": owners}}, transitions.release()).modified_count

    def _alive(self) -> set[Any]:
        found = self._servers.find({"$expr": self._lease_holds()}, {"_id": 1})
        return {server["_id"] for server in found if is_text(server["_id"])}

    def _has_ended(self, owner: str) -> bool:
        """End this server's lease if it is over; whether there is none any more.

        Asked by writes, after the read: a server that stood still may have renewed its lease since. And a primary that
        is none any more shows old leases for a while; it cannot confirm a write, not even one that changes nothing.
        """
        self._servers.delete_one({"_id": owner, "$expr": {"$not": [self._lease_holds()]}})
        return self._servers.update_one({"_id": owner}, {"$set": {"_id": owner}}).matched_count == 0

    def _lease_holds(self) -> Expression:
        # On the right side: `$add` would fail on a lease that is no date.
        return {"$and": [is_moment("leaseUntil"), {"$gt": ["$leaseUntil", ago(self._grace)]}]}

    def _reap_owner(self, owner: str, reason: str | None = None) -> list[ClaimedJob]:
        return self._reap({"lockedBy": owner}, reason or f"server {owner} died while it ran")

    def _reap(self, which: Document, reason: str) -> list[ClaimedJob]:
        return self._take_back(which, reason, transitions.reap(reason), at="lastCrashAt")

    def _take_back(self, which: Document, reason: str, change: list[Document], *, at: str) -> list[ClaimedJob]:
        """Make this change to every held document like these; it leaves the lock's token in `crashedToken`, `at` when.

        `settledBy` would not do: a run that its own server has settled in the last moment has that, too.
        """
        held = list(self._jobs.find({**HELD, **which}))
        if not held:
            return []
        # What has come to match only now, also under another claim of the same documents, is left to the next look, or
        # it would be taken back without a word.
        tokens = [document["lockToken"] for document in held]
        seen = {"_id": {"$in": [document["_id"] for document in held]}, "lockToken": {"$in": tokens}}
        try:
            self._jobs.update_many({**HELD, **which, **seen}, change)
        except WriteError as error:
            if not lacks_room(error):
                raise
            for document in held:  # one that has no room keeps those after it from being taken back
                one = {"_id": document["_id"], "lockToken": document["lockToken"]}
                self._take_back_alone({**HELD, **which, **one}, change)
        sound = [as_claimed(document) for document in held if _is_sound(document)]
        return self._recorded(sound, reason, at=at)

    def _take_back_alone(self, which: Document, change: list[Document]) -> None:
        try:
            self._jobs.update_one(which, change)
        except WriteError as error:
            if not lacks_room(error):
                raise
            self._jobs.update_one(which, transitions.let_go())

    def _recorded(self, held: Sequence[ClaimedJob], reason: str, *, at: str) -> list[ClaimedJob]:
        """Write history for those that were taken back and not settled in the last moment."""
        # Another reaper may have found another reason in the same moment: then `at` says nothing, or of a run before.
        taken = {"crashedToken": {"$in": [job.token for job in held]}, at: {"$type": "date"}}
        ids = {"_id": {"$in": [job.id for job in held]}}
        after = {repr(found["_id"]): found for found in self._jobs.find(ids | taken, {"crashedToken": 1, at: 1})}
        reaped = [job for job in held if (found := after.get(repr(job.id))) and _ended_by_this(job, found, at)]
        records = [
            crash_record(
                job,
                server=str(job.document.get("lockedBy")),
                reason=reason,
                duration=after[repr(job.id)][at] - job.started_at,
            )
            for job in reaped
        ]
        if records:
            record_runs(self._runs, records)
        return reaped


def _ended_by_this(job: ClaimedJob, found: Document, at: str) -> bool:
    """The moment is a new one: not a later one, for the clock may have been set back."""
    return bool(found["crashedToken"] == job.token and found[at] != job.document.get(at))


def _is_sound(document: Document) -> bool:
    """Whether a claim wrote these fields; a hand may have torn a locked document apart."""
    kinds = {"name": str, "fence": int, "attempt": int, "lastRunAt": datetime}
    return all(isinstance(document.get(field), kind) for field, kind in kinds.items())
