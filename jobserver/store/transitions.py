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
from datetime import datetime, timedelta
from typing import Any

from jobserver.store.documents import ABSENT, ErrorRecord, Lane, ProgressReport, Settlement
from jobserver.store.expressions import (
    BEGINNING,
    LOCK_FIELDS,
    NOW,
    REMOVE,
    Document,
    Expression,
    from_now,
    is_moment,
    keep,
    literal,
    milliseconds,
    plus,
    since,
)
from jobserver.store.states import TRANSITIONS, Transition

MAX_CRASHES = 3
MAX_BYTES = 14 * 1024 * 1024  # of MongoDB's 16 MiB: a result and a traceback have to find room

Pipeline = list[Document]

_OCCURRENCE_FIELDS = ("attempt", "crashes", "scheduledFor")
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
            }
        },
        {"$unset": ["progress", "progressData", "expireAt", "cancelReason"]},
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
            return skip(settlement)
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
    removed = [*LOCK_FIELDS, *_OCCURRENCE_FIELDS, *_FAILURE_FIELDS, "uniqueKey"]
    if settlement.result is ABSENT:
        removed.append("result")
    else:
        changes["result"] = literal(settlement.result)
    return _changed(changes, removed, settlement)


def retry(settlement: Settlement) -> Pipeline:
    """running → scheduled: the wait is in the database, and the occurrence keeps its count of attempts."""
    changes = _ended(Transition.RETRY, settlement, None) | _failure(settlement.error)
    changes["nextRunAt"] = from_now(settlement.retry_in or timedelta())
    if settlement.job.recurring:  # misfire may have moved the run on from the occurrence that was claimed
        changes["scheduledFor"] = settlement.job.scheduled_at
    return [{"$set": changes}, {"$unset": list(LOCK_FIELDS)}]


def fail(settlement: Settlement, retention: timedelta) -> Pipeline:
    """running → failed: no attempts are left, or the error allows none."""
    changes = _ended(Transition.FAIL, settlement, retention) | _failure(settlement.error)
    return _changed(changes, [*LOCK_FIELDS, *_OCCURRENCE_FIELDS, "uniqueKey"], settlement)


def cancel(settlement: Settlement, retention: timedelta) -> Pipeline:
    """running → cancelled: ended on purpose, neither success nor failure."""
    changes = _ended(Transition.CANCEL, settlement, retention)
    if settlement.reason:
        changes["cancelReason"] = literal(settlement.reason)
    return _changed(changes, [*LOCK_FIELDS, *_OCCURRENCE_FIELDS, "uniqueKey"], settlement)


def skip(settlement: Settlement) -> Pipeline:
    """running → skipped: the occurrence was missed and is not caught up with; neither attempt nor run counts."""
    changes = {
        "status": TRANSITIONS[Transition.SKIP].target,
        "runCount": plus("runCount", -1),
        "settledBy": settlement.job.token,
    }
    return _changed(changes, [*LOCK_FIELDS, *_OCCURRENCE_FIELDS], settlement)


def release() -> Pipeline:
    """running → queued: given back in order, so neither the attempt nor the run counts."""
    return [
        {
            "$set": {
                "status": TRANSITIONS[Transition.RELEASE].target,
                "attempt": plus("attempt", -1),
                "runCount": plus("runCount", -1),
            }
        },
        {"$unset": list(LOCK_FIELDS)},
    ]


def reap(reason: str) -> Pipeline:
    """running → queued, or failed and marked as poison at the third crash; a crash is no failed attempt."""
    crashes = plus("crashes", 1)
    poison = {"$gte": [crashes, MAX_CRASHES]}
    message = literal(f"{reason}; {MAX_CRASHES} crashes, not tried again")
    return [
        {
            "$set": {
                "crashes": crashes,
                "attempt": plus("attempt", -1),
                "lastCrashAt": NOW,
                "lastCrashReason": literal(reason),
                "crashedToken": "$lockToken",
                "status": _either(poison, TRANSITIONS[Transition.BURY].target, TRANSITIONS[Transition.REAP].target),
                "poison": _either(poison, True, REMOVE),
                "failedAt": _either(poison, NOW, keep("failedAt")),
                "failCount": _either(poison, plus("failCount", 1), keep("failCount")),
                "lastError": _either(poison, message, keep("lastError")),
                "failReason": _either(poison, message, keep("failReason")),
                "lastFinishedAt": _either(poison, NOW, keep("lastFinishedAt")),
                "nextRunAt": _either(poison, REMOVE, "$nextRunAt"),
                "rearmAt": _either(poison, REMOVE, keep("rearmAt")),
                "uniqueKey": _either(poison, REMOVE, keep("uniqueKey")),
            }
        },
        {"$unset": list(LOCK_FIELDS)},
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
        {"$unset": [*_OCCURRENCE_FIELDS, "poison", "expireAt"]},
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


def arm(
    *,
    key: str,
    first: Expression | None,
    recurs: bool,
    enabled: bool,
    priority: int,
    fields: Document,
    afresh: bool,
    occurrence: Expression | None = None,
) -> Pipeline:
    """The recurring holder takes on a schedule; one that it already has is left alone, so a missed run is not dropped.

    `first` is a moment or an expression, None for a schedule that never fires by itself. While the holder is locked
    the new moment waits in `rearmAt` for the run's own settlement. A disabled holder has no `nextRunAt`; a one-time
    schedule keeps its moment in `heldRunAt` meanwhile. `occurrence` is what `first` stands for, where jitter has moved
    it. `afresh` also re-arms a holder that was buried as poison.
    """
    changed: Expression = {"$ne": ["$scheduleKey", key]}
    if afresh:
        changed = {"$or": [changed, {"$eq": ["$poison", True]}]}
    locked = _is_there("lockToken")
    woken = {"$eq": ["$disabled", True]}
    moment: Expression = first if first is not None else REMOVE
    held: Expression = keep("heldRunAt")
    if enabled:
        # The run that was under way when it was disabled may have failed: what is due then is in nextRunAt.
        on_wake = moment if recurs else {"$ifNull": [held, keep("nextRunAt")]}
        unlocked_next: Expression = {
            "$switch": {
                "branches": [{"case": changed, "then": moment}, {"case": woken, "then": on_wake}],
                "default": keep("nextRunAt"),
            }
        }
        held_next: Expression = REMOVE
    else:
        unlocked_next = REMOVE
        # While it is locked, nextRunAt is the moment of the run under way, which is not owed again.
        due_later = {"$ifNull": [_either(locked, REMOVE, "$nextRunAt"), held]}
        held_next = REMOVE if recurs else _either(changed, moment, due_later)
    scheduled = TRANSITIONS[Transition.ARM].target
    return [
        {
            "$set": {
                "nextRunAt": _either(locked, keep("nextRunAt"), unlocked_next),
                "rearmAt": _either({"$and": [locked, changed]}, moment, keep("rearmAt")),
                "heldRunAt": held_next,
                "occurrenceAt": _either(
                    {"$and": [{"$not": [locked]}, {"$or": [changed, woken]}]},
                    REMOVE if occurrence is None else occurrence,
                    keep("occurrenceAt"),
                ),
                "status": _either(
                    {"$and": [changed, {"$not": [locked]}]}, scheduled, {"$ifNull": ["$status", scheduled]}
                ),
                "disabled": REMOVE if enabled else True,
                "anchorAt": _either(changed, NOW, {"$ifNull": ["$anchorAt", NOW]}),
                "poison": _either(changed, REMOVE, keep("poison")),
                "attempt": _either({"$and": [changed, {"$not": [locked]}]}, REMOVE, keep("attempt")),
                "crashes": _either({"$and": [changed, {"$not": [locked]}]}, REMOVE, keep("crashes")),
                "scheduledFor": _either({"$and": [changed, {"$not": [locked]}]}, REMOVE, keep("scheduledFor")),
                "scheduleKey": literal(key),
                "createdAt": {"$ifNull": ["$createdAt", NOW]},
                "priority": priority,
                **fields,
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
    if retention is not None and not settlement.job.recurring:
        changes["expireAt"] = from_now(retention)
    return changes


def _changed(changes: Document, removed: list[str], settlement: Settlement) -> Pipeline:
    """The holder of a recurring job goes on to its next moment; a single occurrence has none."""
    if not settlement.job.recurring:
        return [{"$set": changes}, {"$unset": [*removed, "nextRunAt"]}]
    upcoming: Expression = settlement.next_run_at if settlement.next_run_at is not None else REMOVE
    changes["nextRunAt"] = _either({"$eq": ["$disabled", True]}, REMOVE, {"$ifNull": ["$rearmAt", upcoming]})
    if settlement.occurrence_at is None:
        removed = [*removed, "occurrenceAt"]
    else:
        changes["occurrenceAt"] = _either(_is_there("rearmAt"), REMOVE, settlement.occurrence_at)
    return [{"$set": changes}, {"$unset": [*removed, "rearmAt"]}]


def _occurrence() -> Expression:
    """The moment that a claim is for: kept through retries, else before jitter, else the one at which it was due."""
    before_jitter = {"$and": [is_moment("occurrenceAt"), {"$lte": ["$occurrenceAt", "$nextRunAt"]}]}
    fresh = _either(before_jitter, "$occurrenceAt", "$nextRunAt")  # a hand may have moved nextRunAt before it
    return _either(is_moment("scheduledFor"), "$scheduledFor", fresh)


def _is_there(field: str) -> Expression:
    return {"$ne": [{"$ifNull": [f"${field}", None]}, None]}


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


def _either(condition: Expression, then: Expression, otherwise: Expression) -> Expression:
    return {"$cond": [condition, then, otherwise]}


def as_moment(moment: datetime) -> Expression:
    """A moment from a schedule, cut to the milliseconds that a document can hold."""
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)
