"""Job documents that people and Pulse workers have left in a state that nobody else would mend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TypeVar

from pymongo.errors import PyMongoError

from jobserver.errors import DatabaseError
from jobserver.store import transitions
from jobserver.store.connection import Document, SyncJobs, what_mongodb_said
from jobserver.store.expressions import BEGINNING, LOCK_FIELDS, NOW, milliseconds

Value = TypeVar("Value")


class StrayStore:
    """For the jobs that a server knows. Raises DatabaseError when MongoDB is away."""

    def __init__(self, *, jobs: SyncJobs) -> None:
        self._jobs = jobs

    def adopt(self, priorities: Mapping[str, int]) -> int:
        """Complete waiting documents without a priority: in the claim's order they would come last of all."""
        return sum(self._adopt(names, priority) for priority, names in _grouped(priorities).items())

    def restore_stripped(self, names: Sequence[str]) -> int:
        """Put back `lockedAt` where it is missing: a Pulse worker that starts removes it from every running document.

        The token keeps such a document from being claimed twice, but reaping looks where `lockedAt` is.
        """
        stripped = {
            "name": {"$in": list(names)},
            "lockToken": {"$gt": ""},
            "lockedAt": None,
            "nextRunAt": {"$gt": BEGINNING},
        }
        return self._update(stripped, [{"$set": {"lockedAt": NOW}}])

    def release_foreign(self, lifetimes: Mapping[str, timedelta]) -> int:
        """Unlock documents that a Pulse worker locked longer ago than the job's lock lifetime.

        And those whose token a hand has overwritten, say by "" to unlock them: no claim of ours has such a token.
        """
        return sum(self._release_foreign(names, lifetime) for lifetime, names in _grouped(lifetimes).items())

    def _adopt(self, names: Sequence[str], priority: int) -> int:
        unfinished = {
            "name": {"$in": list(names)},
            "lockToken": None,
            "lockedAt": None,
            "priority": None,
            "nextRunAt": {"$gt": BEGINNING},
            "status": None,
        }
        return self._update(unfinished, transitions.adopt(priority))

    def _release_foreign(self, names: Sequence[str], lifetime: timedelta) -> int:
        expired = {
            "name": {"$in": list(names)},
            "$expr": {"$lt": ["$lockedAt", {"$subtract": [NOW, milliseconds(lifetime)]}]},
        }
        pulses = {**expired, "lockToken": None, "lockedAt": {"$gt": BEGINNING}}
        torn = {**expired, "lockToken": {"$ne": None, "$not": {"$gt": ""}}, "nextRunAt": {"$gt": BEGINNING}}
        released = self._update(pulses, [{"$unset": "lockedAt"}])
        return released + self._update(torn, [{"$unset": list(LOCK_FIELDS)}])

    def _update(self, which: Document, change: transitions.Pipeline) -> int:
        try:
            return self._jobs.update_many(which, change).modified_count
        except PyMongoError as error:
            raise DatabaseError(f"stray documents could not be mended: {what_mongodb_said(error)}") from error


def _grouped(values: Mapping[str, Value]) -> dict[Value, list[str]]:
    groups: dict[Value, list[str]] = {}
    for name, value in values.items():
        groups.setdefault(value, []).append(name)
    return groups
