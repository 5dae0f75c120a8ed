"""`jobConfigs` and `jobConfigHistory`: read, created, marked; what people write is never overwritten by chance."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from bson import ObjectId, encode
from pymongo import IndexModel
from pymongo.errors import DocumentTooLarge, DuplicateKeyError, OperationFailure, PyMongoError

from jobserver.errors import DatabaseError
from jobserver.store.codec import CODEC
from jobserver.store.connection import AsyncJobs, Document, lacks_room, what_mongodb_said
from jobserver.store.expressions import NOW, REMOVE, literal
from jobserver.store.indexes import IN_THE_WAY, config_indexes, history_indexes

RESET_FIELDS = (
    *("schedule", "retry", "concurrency", "globalConcurrency", "lockLifetime", "priority"),
    *("execution", "slots", "maxExecutionTime"),
)

MOST_VERSIONS = 2**62  # whatever is above it a hand has written, and there may be no number after it


@dataclass(frozen=True, slots=True, kw_only=True)
class AppliedVersion:
    """The newest entry of a job's history: the override values that are in force."""

    version: int
    values: Mapping[str, Any]


class ConfigFull(DatabaseError):
    """The document is so large that MongoDB does not take a word more into it; the others are not concerned."""


class ConfigStore:
    """Raises DatabaseError when MongoDB is away, and ConfigFull where the document of this one job is too large."""

    def __init__(self, *, configs: AsyncJobs, history: AsyncJobs) -> None:
        self._configs, self._history = configs, history

    async def read_all(self) -> list[Document]:
        """Every configuration document as it stands, in the order of their names."""
        try:
            return await self._configs.find({}).sort("jobName").to_list()
        except PyMongoError as error:
            raise _away("configurations could not be read", error) from error

    async def read(self, name: str) -> Document | None:
        """The configuration document of one job."""
        try:
            return await self._configs.find_one({"jobName": name})
        except PyMongoError as error:
            raise _away(f"the configuration of {name} could not be read", error) from error

    async def still_says(self, name: str, document: Mapping[str, Any], fields: Iterable[str]) -> bool:
        """Whether these fields are as they were read; by its id, for a hand may have written another of that name."""
        which = {"_id": document["_id"]} if "_id" in document else {"jobName": name}
        try:
            now = await self._configs.find_one(which) or {}
        except PyMongoError as error:
            raise _away(f"the configuration of {name} could not be read", error) from error
        return all(_written(now, field) == _written(document, field) for field in fields)

    async def ensure_unique(self) -> None:
        """The index again, after somebody has dropped or renamed the collection: all servers then recreate at once."""
        try:
            await _made(self._configs, config_indexes())
        except PyMongoError as error:
            raise _away("the index of configurations could not be created", error) from error

    async def create(self, name: str, *, checksum: str, enabled: bool, defaults: Document) -> bool:
        """The document of a job seen for the first time; False when it is there already (another server was first)."""
        change = {
            "_id": ObjectId(),
            "enabled": enabled,
            "checksum": checksum,
            "schedule": defaults["schedule"],
            "retry": defaults["retry"],
            "runNow": False,
            "defaultConfig": defaults,
        }
        stamps = {"createdAt": NOW, "updatedAt": NOW}
        values = {key: {"$ifNull": [f"${key}", literal(value)]} for key, value in change.items()}
        kept = {key: {"$ifNull": [f"${key}", value]} for key, value in stamps.items()}
        absent = {"jobName": name, "checksum": None}
        try:
            outcome = await self._configs.update_one(absent, [{"$set": values | kept}], upsert=True)
        except DuplicateKeyError:
            return False
        except PyMongoError as error:
            raise _refused(f"the configuration of {name} could not be created", error) from error
        return outcome.upserted_id is not None

    async def reset(self, name: str, *, checksum: str, defaults: Document) -> bool:
        """New code: its defaults take the place of every override but `enabled`; False when that was done already."""
        values = {
            "checksum": checksum,
            "schedule": defaults["schedule"],
            "retry": defaults["retry"],
            "defaultConfig": defaults,
        }
        change: Document = {key: literal(value) for key, value in values.items()}
        change["updatedAt"] = NOW
        overrides = [field for field in (*RESET_FIELDS, "configError") if field not in values]
        try:
            outcome = await self._configs.update_one(
                {"jobName": name, "checksum": {"$ne": checksum}}, [{"$set": change}, {"$unset": overrides}]
            )
        except PyMongoError as error:
            raise _refused(f"the configuration of {name} could not be reset", error) from error
        return outcome.modified_count == 1

    async def mark_error(self, id_: Any, error: Document | None) -> None:
        """Show what is wrong with the document, in the document; None clears it. Writes only what differs."""
        if error is None:
            await self._update({"_id": id_, "configError": {"$exists": True}}, [{"$unset": "configError"}])
            return
        shown = {f"configError.{key}": value for key, value in error.items()}
        differs = {"_id": id_, "$nor": [shown]}
        # Removed first: into a list that a hand has left there, `$set` would write the error many times over.
        change = [{"$unset": "configError"}, {"$set": {"configError": {**_literals(error), "at": NOW}}}]
        await self._update(differs, change)

    async def mark_missing(self, name: str, *, missing: bool) -> None:
        """Say whether a job file for it is known; the configuration itself is kept."""
        which = {"jobName": name, "missingSince": {"$exists": not missing}}
        await self._update(which, [{"$set": {"missingSince": NOW if missing else REMOVE}}])

    async def take_run_now(self, id_: Any) -> Any | None:
        """Turn `runNow: true` into one request that only one server wins; returns its id, None for the others."""
        request = ObjectId()
        taken = await self._update({"_id": id_, "runNow": True}, {"$set": {"runNow": False, "runNowRequest": request}})
        return request if taken else None

    async def finish_run_now(self, id_: Any, request: Any) -> None:
        """The request is in the jobs collection: forget it here."""
        await self._update({"_id": id_, "runNowRequest": request}, {"$unset": {"runNowRequest": ""}})

    async def applied(self, name: str) -> AppliedVersion | None:
        """What history says is in force for this job; an entry that a hand has torn keeps its number and no more."""
        counts = {"$gte": 0, "$lt": MOST_VERSIONS}
        numbered = {"$type": ["int", "long", "double"], "$not": {"$type": "array"}, **counts}
        version = 0
        try:
            async for found in self._history.find({"jobName": name, "version": numbered}).sort("version", -1):
                version = max(version, int(found["version"]))
                if isinstance(found.get("values"), dict):
                    return AppliedVersion(version=version, values=found["values"])
        except PyMongoError as error:
            raise _away(f"the history of {name} could not be read", error) from error
        return AppliedVersion(version=version, values={}) if version else None

    async def record(self, name: str, *, version: int, changes: list[Document], values: Document, by: str) -> bool:
        """Add the next version; False when another server has recorded that version before."""
        entry = {"jobName": name, "version": version, "changes": changes, "values": values, "by": by}
        stamped = {**_literals(entry), "at": NOW}
        this = {"jobName": name, "version": version}
        try:
            # Gone, where somebody has dropped the collection. Where it cannot be made two servers may both be first,
            # which is better than nothing.
            if not await _made(self._history, history_indexes()) and await self._history.find_one(this, {"_id": 1}):
                return False
            absent = {**this, "values": {"$exists": False}}
            outcome = await self._history.update_one(absent, [{"$set": stamped}], upsert=True)
        except DuplicateKeyError:
            return False
        except (PyMongoError, DocumentTooLarge) as error:
            raise _refused(f"the history of {name} could not be written", error) from error
        return outcome.upserted_id is not None

    async def _update(self, which: Document, change: Any) -> bool:
        try:
            return (await self._configs.update_one(which, change)).modified_count == 1
        except PyMongoError as error:
            raise _refused("a configuration could not be updated", error) from error


def request_under_way(document: Mapping[str, Any]) -> Any | None:
    """The run that a server has taken on and may not have queued; what a hand has written in its place is none."""
    request = document.get("runNowRequest")
    return request if isinstance(request, ObjectId) else None


def _written(document: Mapping[str, Any], field: str) -> bytes:
    """As it stands in MongoDB: what is not a number is not equal to itself."""
    return encode({"": document.get(field)}, codec_options=CODEC)


def _literals(values: Document) -> Document:
    return {key: literal(value) for key, value in values.items()}


async def _made(collection: AsyncJobs, indexes: list[IndexModel]) -> bool:
    """Whether they are there; what a hand has put in their way is told by those who look after all indexes."""
    try:
        await collection.create_indexes(indexes)
    except OperationFailure as refused:
        if refused.code not in IN_THE_WAY:
            raise
        return False
    return True


def _refused(what: str, cause: PyMongoError | DocumentTooLarge) -> DatabaseError:
    if isinstance(cause, DocumentTooLarge) or lacks_room(cause):
        return ConfigFull(f"{what}: {what_mongodb_said(cause)}")
    return _away(what, cause)


def _away(what: str, cause: Exception) -> DatabaseError:
    return DatabaseError(f"{what}: {what_mongodb_said(cause)}")
