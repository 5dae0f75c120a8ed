"""What becomes of a task that waits: for its moment, or for the task before it. One pure function per transition."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from jobserver.store.expressions import (
    NOW,
    OCCURRENCE_FIELDS,
    REMOVE,
    Document,
    Expression,
    either,
    goes_after,
    is_there,
    keep,
    literal,
)
from jobserver.store.states import TRANSITIONS, Transition
from jobserver.store.stops import cancel_request

Pipeline = list[Document]

# A Pulse worker's lock has no token.
LOCKED: Expression = {"$or": [is_there("lockToken"), is_there("lockedAt")]}


def release_child(settlement: Any, completion: Any, *, recurs: bool) -> Pipeline:
    """The task before it has completed: due now, or once more after the run under way."""
    waits = {"$not": [{"$or": [LOCKED, is_there("nextRunAt")]}]}
    return [
        {
            "$set": {
                "status": either(waits, TRANSITIONS[Transition.FOLLOW].target, "$status"),
                "nextRunAt": either(waits, NOW, keep("nextRunAt")),
                "rearmAt": either(LOCKED, NOW, keep("rearmAt")),
                "follows": literal(settlement) if recurs else REMOVE,
                "followsCompletion": literal(completion) if recurs else REMOVE,
            }
        }
    ]


def follow_silently(settlement: Any) -> Pipeline:
    """The task before it has ended in a way that means nothing to this one."""
    return [{"$set": {"follows": literal(settlement)}}]


def cancel_occurrence(settlement: Any, *, reason: str) -> Pipeline:
    """The task before it has failed this time and will run again: so will this one, but not now."""
    idle = {"$not": [{"$or": [LOCKED, is_there("nextRunAt")]}]}
    return [
        {
            "$set": {
                "status": either(idle, TRANSITIONS[Transition.WITHDRAW].target, "$status"),
                "settledBy": either(idle, literal(settlement), keep("settledBy")),
                "cancelReason": either(idle, literal(reason), keep("cancelReason")),
                "follows": literal(settlement),
            }
        }
    ]


def withdraw(*, settlement: Any, reason: str, retention: timedelta, stop: bool = False) -> Pipeline:
    """It will not run again; a run that is under way is the last, and is not retried. `stop` asks it to end now."""
    gone = {field: either(LOCKED, keep(field), REMOVE) for field in ("nextRunAt", "uniqueKey", *OCCURRENCE_FIELDS)}
    return [
        {
            "$set": {
                "status": either(LOCKED, "$status", TRANSITIONS[Transition.WITHDRAW].target),
                "settledBy": either(LOCKED, keep("settledBy"), literal(settlement)),
                "cancelReason": literal(reason),
                "expireAt": either(LOCKED, keep("expireAt"), goes_after(retention)),
                "withdrawn": True,
                **({"cancelRequest": cancel_request(reason)} if stop else {}),
                **gone,
            }
        },
        {"$unset": ["follows", "followsCompletion", "rearmAt"]},
    ]
