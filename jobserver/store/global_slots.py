"""Limits across all servers: each running document of a limited job owns one numbered slot, unique by an index.

No counter that could drift: a slot is free as soon as no document carries it.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from pymongo.errors import DuplicateKeyError, PyMongoError

from jobserver.errors import DatabaseError
from jobserver.store import transitions
from jobserver.store.candidates import Candidate
from jobserver.store.codec import is_text
from jobserver.store.connection import AsyncJobs, Document, what_mongodb_said
from jobserver.store.documents import Lane

Slots = dict[str, list[str]]


async def free_slots(jobs: AsyncJobs, lanes: Sequence[Lane]) -> Slots:
    """For each job with a global limit the slots that it may still take, also after the limit was lowered."""
    limits = {lane.name: lane.global_limit for lane in lanes if lane.global_limit is not None}
    if not limits:
        return {}
    try:
        found = await jobs.distinct("globalSlot", {"globalSlot": {"$gt": ""}})
    except PyMongoError as error:
        raise DatabaseError(f"the slots of limited jobs could not be read: {what_mongodb_said(error)}") from error
    taken = {slot for slot in found if is_text(slot)}  # a hand may have written anything
    running = Counter(name for name, _, number in (slot.rpartition("#") for slot in taken) if number.isdigit())
    free: Slots = {}
    for name, limit in limits.items():
        untaken = [slot for slot in (f"{name}#{number}" for number in range(limit)) if slot not in taken]
        # The lowest ones: while more run than a lowered limit says, servers that look in the same moment must race for
        # the same few slots, or each would take another one.
        free[name] = untaken[: max(0, limit - running[name])]
        random.shuffle(free[name])  # servers that race would otherwise all try the same next one
    return free


def within(slots: Slots, lane: Lane) -> Lane:
    """The lane, no wider than its job has free slots."""
    free = slots.get(lane.name)
    return lane if free is None else replace(lane, limit=min(lane.limit, len(free)))


async def lock_into_slot(jobs: AsyncJobs, candidate: Candidate, change: list[Document], free: list[str]) -> bool:
    """Make this claim with one of the free slots, which it uses up; whether the document was locked."""
    still_due = transitions.due(candidate.name) | {"_id": candidate.id}
    while free:
        slot = free.pop()
        change[0]["$set"]["globalSlot"] = {"$literal": slot}
        try:
            if (await jobs.update_one(still_due, change)).matched_count:
                return True
            free.append(slot)
            return False
        except DuplicateKeyError:  # another server was faster to take this slot
            continue
    return False
