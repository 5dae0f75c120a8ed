"""What a person changes by command: the same edits as by hand, made by one guarded update each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pymongo.errors import PyMongoError

from jobserver.errors import DatabaseError, UnknownJob
from jobserver.store import transitions
from jobserver.store.codec import is_text
from jobserver.store.collections import CollectionNames
from jobserver.store.configs import RESET_FIELDS
from jobserver.store.connection import Document, SyncDb, deciding_sync, what_mongodb_said
from jobserver.store.expressions import NOW, literal
from jobserver.store.states import TRANSITIONS, Status, Transition

OVERRIDES = ("enabled", *RESET_FIELDS)


class Editor:
    """Edits in the name of `by`. Every method raises DatabaseError when MongoDB is away."""

    def __init__(self, database: SyncDb, names: CollectionNames, *, by: str) -> None:
        database = deciding_sync(database)
        self._configs, self._jobs, self._by = database[names.configs], database[names.jobs], by

    def enable(self, name: str, *, enabled: bool) -> bool:
        """Switch a job's schedule on or off; False when it was so before. Raises UnknownJob."""
        return self._edit(name, {"enabled": enabled}, ())

    def schedule(self, name: str, schedule: Mapping[str, Any]) -> bool:
        """Override a job's schedule; False when it was so before. Raises UnknownJob."""
        return self._edit(name, {"schedule": dict(schedule)}, ())

    def restore(self, name: str, values: Mapping[str, Any]) -> bool:
        """Bring back exactly these overrides; the rest goes back to the class's defaults. Raises UnknownJob."""
        kept = {field: values[field] for field in OVERRIDES if field in values}
        return self._edit(name, kept, [field for field in OVERRIDES if field not in kept])

    def revive(self, ids: Sequence[Any]) -> int:
        """Give these documents one more go, from now and with all their attempts; counts those that had given up."""
        given_up = {"status": {"$in": list(TRANSITIONS[Transition.REVIVE].sources)}, "nextRunAt": None}
        return self._revive({"_id": {"$in": list(ids)}, **given_up})

    def revive_all(self, name: str) -> int:
        """The same for all of one job that has failed: neither what was cancelled (also by itself), nor what waits."""
        failed = {"status": Status.FAILED, "nextRunAt": None}
        return self._revive({"name": name, **failed, "withdrawn": {"$ne": True}, "follows": {"$exists": False}})

    def _edit(self, name: str, values: Document, removed: Sequence[str]) -> bool:
        wanted = {field: literal(value) for field, value in values.items()}
        differs = [{"$ne": [f"${field}", value]} for field, value in wanted.items()]
        differs += [{"$ne": [{"$type": f"${field}"}, "missing"]} for field in removed]
        change: list[Document] = [{"$set": {**wanted, "updatedAt": NOW, "updatedBy": literal(self._by)}}]
        if removed:
            change.append({"$unset": list(removed)})
        try:
            if self._configs.update_one({"jobName": name, "$expr": {"$or": differs}}, change).matched_count:
                return True
            if self._configs.count_documents({"jobName": name}, limit=1):
                return False
            known = self._configs.distinct("jobName")
        except PyMongoError as error:
            raise DatabaseError(
                f"the configuration of {name} could not be edited: {what_mongodb_said(error)}"
            ) from error
        raise UnknownJob(name, [other for other in known if is_text(other)])

    def _revive(self, which: Document) -> int:
        try:
            return self._jobs.update_many(which, transitions.revive()).modified_count
        except PyMongoError as error:
            raise DatabaseError(f"jobs could not be retried: {what_mongodb_said(error)}") from error
