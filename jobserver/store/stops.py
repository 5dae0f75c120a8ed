"""What is said of a run while it runs: by when it must have ended, and that somebody has cancelled it."""

from __future__ import annotations

from collections.abc import Sequence

from jobserver.store.documents import Lane
from jobserver.store.expressions import NOW, REMOVE, Document, Expression, either, is_there, literal, milliseconds

Pipeline = list[Document]


def deadline(lanes: Sequence[Lane]) -> Document:
    """By when each run with a longest time must have ended; of the others nothing is written."""
    limited = {lane.name: milliseconds(lane.longest_run) for lane in lanes if lane.longest_run is not None}
    if not limited:
        return {}
    branches = [
        {"case": {"$eq": ["$name", literal(name)]}, "then": {"$add": [NOW, longest]}}
        for name, longest in limited.items()
    ]
    return {"deadlineAt": {"$switch": {"branches": branches, "default": REMOVE}}}


def ask_to_stop(reason: str) -> Pipeline:
    """running stays running: its server will see that somebody wants this claim, and no other, to be cancelled."""
    return [{"$set": {"cancelRequest": cancel_request(reason)}}]


def cancel_request(reason: str) -> Expression:
    """What `cancelRequest` holds: it goes with the lock, so that it never meets the next claim."""
    return either(is_there("lockToken"), {"token": "$lockToken", "reason": literal(reason), "at": NOW}, REMOVE)
