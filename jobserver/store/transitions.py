"""One pure function per transition: the filter that guards it and the update that makes it.

Guarantees
- Every moment that decides is the server's `$$NOW`, inside the update itself.
- Whatever follows a claim filters on the claim's `lockToken`; no match means the lock is lost and nothing was stored.
- `nextRunAt` stays while a document is locked, so a crash at any point leaves it due.
- A token that has settled stays as `settledBy`: after a lost reply, "was it me?" has an answer.
- Fields that do not apply are removed, never null: the queries that people run count on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from jobserver.store.documents import ABSENT, ErrorRecord, Lane, ProgressReport, Settlement
from jobserver.store.expressions import (
    BEGINNING,
    LOCK_FIELDS,
    NOW,
    OCCURRENCE_FIELDS,
    REMOVE,
    Document,
    Expression,
    either,
    from_now,
    goes_after,
    is_moment,
    is_there,
    keep,
    literal,
    milliseconds,
    plus,
    since,
)
from jobserver.store.states import TRANSITIONS, Transition
from jobserver.store.stops import deadline
from jobserver.task import RETENTION

MAX_CRASHES = 3
WITHDRAWN: Expression = {"$eq": ["$withdrawn", True]}  # cancelled while it ran: that run is the last
CANCELLED = TRANSITIONS[Transition.WITHDRAW].target
# ... and it has ended in a way that would otherwise go on: it frees its key and is kept for a while, like any other.
WITHDRAWN_IS_OVER: Document = {
    "$set": {
        "expireAt": either(WITHDRAWN, goes_after(RETENTION), keep("expireAt")),
        **{each: either(WITHDRAWN, REMOVE, keep(each)) for each in ("uniqueKey", *OCCURRENCE_FIELDS)},
    }
}
MAX_BYTES = 14 * 1024 * 1024  # of MongoDB's 16 MiB: a result and a traceback have to find room

NO_ROOM = "no room for its end: over 16 MB"

Pipeline = list[Document]

_FAILURE_FIELDS = ("failedAt", "lastError", "failReason", "stack", "poison")


def due(names: str | Sequence[str]) -> Document:
    """Documents that may be claimed: due by the server's clock, unlocked for us and for Pulse, not disabled."""
    return {
        "name": names if isinstance(names, str) else {"$in": list(names)},
        "lockToken": None,
        "lockedAt": None,
        "disabled": {"$ne": True},
        "nextRunAt": {"$gt": BEGINNING},
        "$expr": {"$lte": ["$nextRunAt", NOW]},
    }


def claimable(name: str) -> Document:
    """Of the due ones, those that can be carried through; a hand may have written anything.

    A list matches what any of its items would, and a document close to MongoDB's limit could not store its end.
    """
    sound = [
        {"$lte": ["$nextRunAt", NOW]},
        is_moment("nextRunAt"),
        {"$eq": [{"$type": "$name"}, "string"]},
        {"$lt": [{"$bsonSize": "$$ROOT"}, MAX_BYTES]},
    ]
    return due(name) | {"$expr": {"$and": sound}}


def claim(lanes: Sequence[Lane], *, token: str, owner: str) -> Pipeline:
    """due → running, on the server's clock; `fence` grows by one, `scheduledFor` survives the retries."""
    return [
        {
            "$set": {
                "status": TRANSITIONS[Transition.CLAIM].target,
                "lockToken": token,
                "lockedBy": owner,
                "lockedAt": NOW,
                "lockUntil": {"$add": [NOW, _lock_lifetimes(lanes)]},
                "lastRunAt": NOW,
                "scheduledFor": _occurrence(),
                "fence": plus("fence", 1),
                "attempt": plus("attempt", 1),
                "runCount": plus("runCount", 1),
                **deadline(lanes),
            }
        },
        {"$unset": ["progress", "progressData", "expireAt", "cancelReason", "withdrawn"]},
    ]


def owned(settlement: Settlement) -> Document:
    """The fence: this document, while it still carries the token of this claim."""
    return {"_id": settlement.job.id, "lockToken": settlement.job.token}


def settle(  # noqa: PLR0911 - one return per end
    settlement: Settlement, *, retention: timedelta, failed_retention: timedelta
) -> Pipeline:
    """running → whatever the run came to, in one update."""
    match settlement.transition:
        case Transition.COMPLETE:
            return complete(settlement, retention)
        case Transition.RETRY:
            return retry(settlement)
        case Transition.FAIL:
            return fail(settlement, failed_retention)
        case Transition.CANCEL:
            return cancel(settlement, retention)
        case Transition.SKIP:
            return skip(settlement, retention)
        case Transition.RELEASE:
            return release()
        case Transition.REAP:
            return reap(settlement.reason or "the run was stuck")
        case other:
            raise ValueError(f"{other} does not end a run")


def complete(settlement: Settlement, retention: timedelta) -> Pipeline:
    """running → completed: the failure of an earlier run is over."""
    changes = _ended(Transition.COMPLETE, settlement, retention)
    changes["finishedCount"] = plus("finishedCount", 1)
    changes["lastCompletedAt"] = NOW
    if settlement.job.recurring:  # of what ends but once `settledBy` says it
        changes["completedBy"] = settlement.job.token
    removed = [*LOCK_FIELDS, *OCCURRENCE_FIELDS, *_FAILURE_FIELDS]
    if settlement.result is ABSENT:
        removed.append("result")
    else:
        changes["result"] = literal(settlement.result)
    return _changed(changes, removed, settlement)


def retry(settlement: Settlement) -> Pipeline:
    """running → scheduled: the wait is in the database, and the occurrence keeps its count of attempts."""
    changes = _ended(Transition.RETRY, settlement, None) | _failure(settlement.error)
    changes["nextRunAt"] = either(WITHDRAWN, REMOVE, from_now(settlement.retry_in or timedelta()))
    changes["status"] = either(WITHDRAWN, CANCELLED, changes["status"])
    if settlement.job.recurring:  # misfire may have moved the run on from the occurrence that was claimed
        changes["scheduledFor"] = settlement.job.scheduled_at
    return [{"$set": changes}, {"$unset": list(LOCK_FIELDS)}, WITHDRAWN_IS_OVER]


def fail(settlement: Settlement, retention: timedelta) -> Pipeline:
    """running → failed: no attempts are left, or the error allows none."""
    changes = _ended(Transition.FAIL, settlement, retention) | _failure(settlement.error)
    return _changed(changes, [*LOCK_FIELDS, *OCCURRENCE_FIELDS], settlement)


def cancel(settlement: Settlement, retention: timedelta) -> Pipeline:
    """running → cancelled: ended on purpose, neither success nor failure."""
    changes = _ended(Transition.CANCEL, settlement, retention)
    if settlement.reason:
        changes["cancelReason"] = literal(settlement.reason)
    return _changed(changes, [*LOCK_FIELDS, *OCCURRENCE_FIELDS], settlement)


def skip(settlement: Settlement, retention: timedelta) -> Pipeline:
    """running → skipped: the occurrence was missed and is not caught up with; neither attempt nor run counts."""
    changes = {
        "status": TRANSITIONS[Transition.SKIP].target,
        "runCount": plus("runCount", -1),
        "settledBy": settlement.job.token,
        **_expiry(settlement, retention),
    }
    return _changed(changes, [*LOCK_FIELDS, *OCCURRENCE_FIELDS], settlement)


def release() -> Pipeline:
    """running → queued: given back in order, so neither the attempt nor the run counts."""
    return [
        {
            "$set": {
                "status": either(WITHDRAWN, CANCELLED, TRANSITIONS[Transition.RELEASE].target),
                "nextRunAt": either(WITHDRAWN, REMOVE, keep("nextRunAt")),
                "settledBy": either(WITHDRAWN, "$lockToken", keep("settledBy")),
                "attempt": plus("attempt", -1),
                "runCount": plus("runCount", -1),
            }
        },
        {"$unset": list(LOCK_FIELDS)},
        WITHDRAWN_IS_OVER,
    ]


def reap(reason: str) -> Pipeline:
    """running → queued, or failed and marked as poison at the third crash; a crash is no failed attempt."""
    crashes = plus("crashes", 1)
    poison = {"$gte": [crashes, MAX_CRASHES]}
    is_over = {"$or": [poison, WITHDRAWN]}
    again = either(WITHDRAWN, CANCELLED, TRANSITIONS[Transition.REAP].target)
    message = literal(f"{reason}; {MAX_CRASHES} crashes, not tried again")
    return [
        {
            "$set": {
                "crashes": crashes,
                "attempt": plus("attempt", -1),
                "lastCrashAt": NOW,
                "lastCrashReason": literal(reason),
                "crashedToken": "$lockToken",
                "status": either(poison, TRANSITIONS[Transition.BURY].target, again),
                "settledBy": either(is_over, "$lockToken", keep("settledBy")),
                "poison": either(poison, True, REMOVE),
                "failedAt": either(poison, NOW, keep("failedAt")),
                "failCount": either(poison, plus("failCount", 1), keep("failCount")),
                "lastError": either(poison, message, keep("lastError")),
                "failReason": either(poison, message, keep("failReason")),
                "lastFinishedAt": either(poison, NOW, keep("lastFinishedAt")),
                "nextRunAt": either(is_over, REMOVE, "$nextRunAt"),
                "rearmAt": either(poison, REMOVE, keep("rearmAt")),
                "uniqueKey": either(poison, REMOVE, keep("uniqueKey")),
            }
        },
        {"$unset": list(LOCK_FIELDS)},
        WITHDRAWN_IS_OVER,
    ]


def overrun(reason: str, retention: timedelta) -> Pipeline:
    """running → failed: its own server has not stopped it in time, so another one says so.

    What recurs stays due, for nobody here knows its schedule; what does not is over.
    """
    is_over = {"$or": [{"$not": [_recurs()]}, WITHDRAWN]}
    return [
        {
            "$set": {
                "status": TRANSITIONS[Transition.FAIL].target,
                "lastFinishedAt": NOW,
                "duration": since("lastRunAt"),
                "settledBy": "$lockToken",
                "crashedToken": "$lockToken",  # its own server did not end it, and is told so when it comes
                "nextRunAt": either(is_over, REMOVE, keep("nextRunAt")),
                "expireAt": either(is_over, goes_after(retention), keep("expireAt")),
                "uniqueKey": either(is_over, REMOVE, keep("uniqueKey")),
                **_failure(ErrorRecord(message=reason)),
            }
        },
        {"$unset": [*LOCK_FIELDS, *OCCURRENCE_FIELDS]},
    ]


def let_go() -> Pipeline:
    """running → failed, where the document has grown so large that no more fits into it than the lock takes up.

    Nothing of what its author wrote is touched. It is too large to be claimed again: what recurs stays where it is.
    """
    return [
        {
            "$set": {
                "status": TRANSITIONS[Transition.FAIL].target,
                "settledBy": "$lockToken",
                "nextRunAt": either(_recurs(), keep("nextRunAt"), REMOVE),
                "lastError": NO_ROOM,
            }
        },
        {"$unset": [*LOCK_FIELDS, "scheduledFor", *(field for field in _FAILURE_FIELDS if field != "lastError")]},
    ]


def touch(*, lock_lifetime: timedelta, report: ProgressReport | None) -> Pipeline:
    """running stays running: a sign of life moves `lockUntil`, a report is stored with it."""
    changes: Document = {"lockUntil": from_now(lock_lifetime)}
    removed: list[str] = []
    if report is not None:
        data = {"total": report.total, "current": report.current, "updatedAt": NOW}
        if report.message is not None:
            data["message"] = literal(report.message)
        if report.percent is None:
            removed.append("progress")
        else:
            changes["progress"] = data["percent"] = report.percent
        changes["progressData"] = data
    cleared = ["progressData", *removed] if report is not None else []
    return [*([{"$unset": cleared}] if cleared else []), {"$set": changes}]


def revive() -> Pipeline:
    """failed or cancelled → queued: due now, with all its attempts again."""
    return [
        {"$set": {"status": TRANSITIONS[Transition.REVIVE].target, "nextRunAt": NOW}},
        {"$unset": [*OCCURRENCE_FIELDS, "poison", "expireAt", "withdrawn"]},
    ]


def adopt(priority: int) -> Pipeline:
    """A document written by hand or by Pulse gets what is missing; nothing that is there is changed."""
    return [
        {
            "$set": {
                "type": {"$ifNull": ["$type", "normal"]},
                "priority": {"$ifNull": ["$priority", priority]},
                "status": TRANSITIONS[Transition.ADOPT].target,
            }
        }
    ]


def _ended(transition: Transition, settlement: Settlement, retention: timedelta | None) -> Document:
    changes: Document = {
        "status": TRANSITIONS[transition].target,
        "lastFinishedAt": NOW,
        "duration": since("lastRunAt"),
        "settledBy": settlement.job.token,
    }
    return changes if retention is None else changes | _expiry(settlement, retention)


def _expiry(settlement: Settlement, retention: timedelta) -> Document:
    """What is over goes after a while; what recurs is over when it was cancelled, or its recurrence has ended."""
    if settlement.job.one_off:
        return {}
    if settlement.job.is_last(settlement.next_run_at):
        return {"expireAt": from_now(retention)}
    return {"expireAt": either(WITHDRAWN, from_now(retention), keep("expireAt"))}


def _changed(changes: Document, removed: list[str], settlement: Settlement) -> Pipeline:
    """What recurs goes on to its next moment; a single occurrence has none."""
    if not settlement.job.recurring:
        return [{"$set": changes}, {"$unset": [*removed, "uniqueKey", "nextRunAt"]}]
    upcoming: Expression = settlement.next_run_at if settlement.next_run_at is not None else REMOVE
    stays: Expression = {"$or": [{"$eq": ["$disabled", True]}, WITHDRAWN]}
    changes["nextRunAt"] = either(stays, REMOVE, {"$ifNull": ["$rearmAt", upcoming]})
    if settlement.occurrence_at is not None:
        removed = [field for field in removed if field != "occurrenceAt"]
        changes["occurrenceAt"] = either(is_there("rearmAt"), REMOVE, settlement.occurrence_at)
    if not settlement.job.continues(settlement.next_run_at):
        removed = [*removed, "uniqueKey"]
    return [{"$set": changes}, {"$unset": [*removed, "rearmAt"]}, WITHDRAWN_IS_OVER]


def _recurs() -> Expression:
    return {"$or": [{"$eq": ["$type", "single"]}, is_there("recurrence"), is_there("repeatInterval")]}


def _occurrence() -> Expression:
    """The moment that a claim is for: kept through retries, else before jitter, else the one at which it was due."""
    before_jitter = {"$and": [is_moment("occurrenceAt"), {"$lte": ["$occurrenceAt", "$nextRunAt"]}]}
    fresh = either(before_jitter, "$occurrenceAt", "$nextRunAt")  # a hand may have moved nextRunAt before it
    return either(is_moment("scheduledFor"), "$scheduledFor", fresh)


def _failure(error: ErrorRecord | None) -> Document:
    message = literal(error.message if error else "unknown error")
    return {
        "failedAt": NOW,
        "failCount": plus("failCount", 1),
        "lastError": message,
        "failReason": message,
        "stack": literal(error.stack) if error and error.stack else REMOVE,
    }


def _lock_lifetimes(lanes: Sequence[Lane]) -> Expression:
    names: dict[int, list[str]] = {}
    for lane in lanes:
        names.setdefault(milliseconds(lane.lock_lifetime), []).append(lane.name)
    if len(names) == 1:
        return next(iter(names))
    branches: list[Any] = [
        {"case": {"$in": ["$name", literal(group)]}, "then": lifetime} for lifetime, group in names.items()
    ]
    return {"$switch": {"branches": branches, "default": min(names)}}
