"""Every index by name, with the query that needs it. Created at start; a missing unique index stops the start.

Once a minute they are made sure of: whoever drops or renames a collection takes its indexes along.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from bson import encode
from pymongo import ASCENDING, DESCENDING, IndexModel
from pymongo.errors import OperationFailure, PyMongoError, WriteConcernError

from jobserver.errors import DatabaseError
from jobserver.store.collections import CollectionNames
from jobserver.store.connection import SyncDb, SyncJobs, what_mongodb_said
from jobserver.store.expressions import BEGINNING

DUE = "due"
ONE_OFF = "one_off_per_name"
IN_THE_WAY = (11000, 85, 86)  # duplicates, another index that is the same, another index of the same name
PRIORITY_FIRST = (("priority", DESCENDING), ("nextRunAt", ASCENDING))

# Locks and documents that others hold just now, a command that took too long, a collection that was dropped meanwhile.
_PASSING = (24, 26, 46, 50, 112, 117, 262, 276, 12586, 12587)


class IndexRefused(DatabaseError):
    """MongoDB is there and does not make this index; the message says what stands in its way."""


def ensure_indexes(
    database: SyncDb,
    names: CollectionNames,
    *,
    sort: tuple[tuple[str, int], ...] = PRIORITY_FIRST,
    history_retention: timedelta = timedelta(days=30),
) -> None:
    """Create what is missing. Raises DatabaseError; the first IndexRefused when all others are made."""
    wanted = {
        names.jobs: job_indexes(sort),
        names.runs: run_indexes(history_retention),
        names.configs: config_indexes(),
        names.history: history_indexes(),
        names.servers: [IndexModel("leaseUntil", name="leases")],
    }
    refused = []
    for name, indexes in wanted.items():
        try:
            create_indexes(database[name], indexes)
        except IndexRefused as error:
            refused.append(error)
    if refused:
        raise refused[0]


def due_index_name(sort: tuple[tuple[str, int], ...]) -> str:
    """One index per configured sort, so that changing the setting back and forth rebuilds nothing."""
    return DUE if sort == PRIORITY_FIRST else "due_" + "_".join(f"{field}_{order}" for field, order in sort)


def job_indexes(sort: tuple[tuple[str, int], ...] = PRIORITY_FIRST) -> list[IndexModel]:
    """The jobs collection: finished documents have no nextRunAt and cost the claim nothing."""
    return [
        # claim: per name the unlocked ones, highest priority first, earliest due first
        IndexModel(
            [("name", ASCENDING), ("lockToken", ASCENDING), *sort],
            name=due_index_name(sort),
            partialFilterExpression={"nextRunAt": {"$gt": BEGINNING}},
        ),
        # reaping, and the queries that people ask about locks: only running documents are in it
        IndexModel([("lockedAt", ASCENDING)], name="locks", partialFilterExpression={"lockedAt": {"$exists": True}}),
        # cancelling: the few running documents that somebody wants to end
        IndexModel(
            [("cancelRequest.token", ASCENDING)],
            name="cancel_requests",
            partialFilterExpression={"cancelRequest.token": {"$exists": True}},
        ),
        # the dead letters: what gave up
        IndexModel(
            [("name", ASCENDING), ("failedAt", DESCENDING)],
            name="failed",
            partialFilterExpression={"status": "failed"},
        ),
        *holder_indexes(),
        # enqueue: one active document per unique key
        IndexModel(
            [("name", ASCENDING), ("uniqueKey", ASCENDING)],
            name="one_active_per_key",
            unique=True,
            partialFilterExpression={"uniqueKey": {"$exists": True}},
        ),
        # claim: each running document of a job with a global limit owns one numbered slot
        IndexModel(
            [("globalSlot", ASCENDING)],
            name="one_per_global_slot",
            unique=True,
            partialFilterExpression={"globalSlot": {"$exists": True}},
        ),
        # one-offs: one document per name, ever
        IndexModel([("name", ASCENDING)], name=ONE_OFF, unique=True, partialFilterExpression={"oneOff": True}),
        # one-offs: which servers are to take on
        IndexModel(
            [("nextRunAt", ASCENDING)],
            name="one_offs_due",
            partialFilterExpression={"oneOff": True, "nextRunAt": {"$gt": BEGINNING}},
        ),
        # chains: what waits for the end of another document
        IndexModel("startAfter", name="chains", partialFilterExpression={"follows": {"$exists": True}}),
        # the list of tasks
        IndexModel([("createdAt", DESCENDING)], name="tasks", partialFilterExpression={"task": True}),
        # retention
        IndexModel(
            [("expireAt", ASCENDING)],
            name="retention",
            expireAfterSeconds=0,
            partialFilterExpression={"expireAt": {"$exists": True}},
        ),
    ]


def holder_indexes() -> list[IndexModel]:
    """One holder per recurring job."""
    one_holder: dict[str, str] = {"type": "single"}
    return [IndexModel([("name", ASCENDING)], name="one_holder", unique=True, partialFilterExpression=one_holder)]


def history_indexes() -> list[IndexModel]:
    """One entry per version of a configuration, whichever server is first."""
    return [IndexModel([("jobName", ASCENDING), ("version", DESCENDING)], name="one_per_version", unique=True)]


def config_indexes() -> list[IndexModel]:
    """Configurations: one document per job, however many servers discover it at once."""
    return [IndexModel("jobName", name="one_per_job", unique=True)]


def run_indexes(retention: timedelta) -> list[IndexModel]:
    """Run history: the newest runs of a job, and the end of its retention."""
    return [
        IndexModel([("name", ASCENDING), ("startedAt", DESCENDING)], name="newest_per_job"),
        IndexModel([("finishedAt", ASCENDING)], name="retention", expireAfterSeconds=int(retention.total_seconds())),
    ]


def create_indexes(collection: SyncJobs, indexes: list[IndexModel]) -> None:
    """Create what is missing of one collection's. Raises DatabaseError, IndexRefused once all others are made."""
    try:
        refusals = _refusals(collection, indexes)
    except PyMongoError as error:
        said = what_mongodb_said(error)
        raise DatabaseError(f"the indexes of {collection.full_name} could not be made: {said}") from error
    if refusals:
        raise refusals[0]


def _refusals(collection: SyncJobs, indexes: list[IndexModel]) -> list[IndexRefused]:
    """All by one command; where MongoDB refuses it, one by one, for it makes none if it refuses one."""
    try:
        collection.create_indexes(indexes)
    except OperationFailure as refused:
        if isinstance(refused, WriteConcernError) or refused.code in _PASSING:
            raise
        if len(indexes) > 1:
            return [each for index in indexes for each in _refusals(collection, [index])]
        if not _retention_changed(collection, indexes[0], refused):
            return [IndexRefused(_why(collection, indexes[0], refused))]
    return []


def _retention_changed(collection: SyncJobs, index: IndexModel, refused: OperationFailure) -> bool:
    """A TTL index whose length was edited in the settings is changed in place."""
    options = index.document
    if refused.code != 85 or "expireAfterSeconds" not in options:
        return False
    change = {"name": options["name"], "expireAfterSeconds": options["expireAfterSeconds"]}
    try:
        collection.database.command("collMod", collection.name, index=change)
    except OperationFailure:  # the one in the way has another name: it is not ours
        return False
    return True


def _why(collection: SyncJobs, index: IndexModel, refused: OperationFailure) -> str:
    name = index.document["name"]
    if refused.code == 11000:
        advice = "remove the duplicates, then start again"
    elif refused.code in IN_THE_WAY:
        other = _in_the_way(collection, index)
        advice = f"another index has its name or keys: drop it with db.{collection.name}.dropIndex('{other}')"
    elif refused.code == 13:
        advice = "the database user needs the right to create indexes"
    else:
        advice = "mend what MongoDB names, then start again"
    return f"index {name!r} on {collection.full_name} cannot be created: {advice} ({what_mongodb_said(refused)})"


def _in_the_way(collection: SyncJobs, index: IndexModel) -> str:
    """Several indexes of ours have the same keys: only one that is about the same documents is in the way."""
    name, present = index.document["name"], collection.index_information()
    same = (other for other, each in present.items() if _same(each, index.document))
    return str(name) if name in present else next(same, str(name))


def _same(present: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    partial = "partialFilterExpression"
    same_documents = encode({partial: present.get(partial)}) == encode({partial: wanted.get(partial)})
    return same_documents and present["key"] == list(wanted["key"].items())
