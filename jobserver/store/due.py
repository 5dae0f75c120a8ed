"""Which documents are due: the ids to claim, read across all jobs in one query."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from pymongo.errors import PyMongoError

from jobserver.errors import DatabaseError
from jobserver.store import transitions
from jobserver.store.admission import needed, slots_of
from jobserver.store.candidates import Candidate
from jobserver.store.codec import key_of
from jobserver.store.connection import AsyncJobs, Document, what_mongodb_said
from jobserver.store.documents import Lane
from jobserver.store.expressions import NOW, either, literal

MAX_LANES = 400  # MongoDB refuses pipelines of more than 1000 stages


async def read_due(
    jobs: AsyncJobs, lanes: Sequence[Lane], limit: int, sort: Document, available_slots: int | None = None
) -> list[Candidate]:
    """The best `limit` due documents of these lanes, in the order of the claim. Raises DatabaseError.

    With `available_slots` those that need more are left out, for whoever has them.
    """
    fields = ("name", "priority") if available_slots is None else ("name", "priority", "slots")
    found: list[Document] = []
    try:
        for start in range(0, len(lanes), MAX_LANES):
            pipeline = due_pipeline(lanes[start : start + MAX_LANES], limit, sort, jobs.name, available_slots)
            pipeline += [{"$project": dict.fromkeys(fields, 1)}] if len(lanes) <= MAX_LANES else []
            cursor = await jobs.aggregate(pipeline, batchSize=limit + 1)  # one reply, not one per 101
            found += await cursor.to_list()
    except PyMongoError as error:
        raise DatabaseError(f"due jobs could not be read: {what_mongodb_said(error)}") from error
    if len(lanes) > MAX_LANES:
        _put_in_order(found, sort)
        del found[limit:]
    if available_slots is None:
        return [Candidate(each["name"], each["_id"], each.get("priority")) for each in found]
    return [Candidate(each["name"], each["_id"], each.get("priority"), slots_of(each.get("slots"))) for each in found]


def due_pipeline(
    lanes: Sequence[Lane], limit: int, sort: Document, collection: str, available_slots: int | None = None
) -> list[Document]:
    """The ids to claim: per lane the first `lane.limit` in the index, then the best `limit` of all lanes.

    One lane per job keeps a job with a long backlog from filling the batch of the others.
    """
    first, *others = (_lane_pipeline(lane, limit, sort, available_slots) for lane in lanes)
    if not others:
        return first
    return [
        *first,
        *({"$unionWith": {"coll": collection, "pipeline": lane}} for lane in others),
        {"$sort": sort},
        {"$limit": limit},
    ]


async def count_oversized(jobs: AsyncJobs, usual: Mapping[str, int], available_slots: int) -> dict[str, int]:
    """How many due documents of these jobs need more slots than that, by name. Raises DatabaseError."""
    try:
        cursor = await jobs.aggregate(oversized_pipeline(usual, available_slots))
        return {key_of(group["_id"]): group["count"] for group in await cursor.to_list()}
    except PyMongoError as error:
        raise DatabaseError(f"due jobs could not be counted: {what_mongodb_said(error)}") from error


def oversized_pipeline(usual: Mapping[str, int], available_slots: int) -> list[Document]:
    """Of each job the number of due documents that need more slots; `usual` is what a run of it takes by itself."""
    large = [name for name, slots in usual.items() if slots > available_slots]
    needs = needed(either({"$in": ["$name", literal(large)]}, available_slots + 1, 1))
    too_large = {"$expr": {"$and": [{"$lte": ["$nextRunAt", NOW]}, {"$gt": [needs, available_slots]}]}}
    return [
        {"$match": transitions.due(list(usual)) | too_large},
        {"$group": {"_id": "$name", "count": {"$sum": 1}}},
    ]


def _lane_pipeline(lane: Lane, limit: int, sort: Document, available_slots: int | None) -> list[Document]:
    which, fields = transitions.claimable(lane.name), {"name": 1, **dict.fromkeys(sort, 1)}
    if available_slots is not None:
        which["$expr"]["$and"].append({"$lte": [needed(lane.slots), available_slots]})
        fields["slots"] = 1
    return [
        {"$match": which},
        {"$sort": sort},
        {"$limit": min(lane.limit, limit)},
        {"$project": fields},
    ]


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
