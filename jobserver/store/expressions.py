"""Small aggregation expressions that every transition is built from; none fails on a value that a hand has written."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

Expression = Any
Document = dict[str, Any]

BEGINNING = datetime.min.replace(tzinfo=UTC)  # a bound that every date passes, and nothing else does
NOW = "$$NOW"  # the server's clock, the only one that decides
REMOVE = "$$REMOVE"

LARGEST_COUNT = 2**53  # beyond it programs in JavaScript, such as Pulse, cannot count
LOCK_FIELDS = ("lockToken", "lockedAt", "lockedBy", "lockUntil", "globalSlot", "deadlineAt", "cancelRequest")
OCCURRENCE_FIELDS = ("attempt", "crashes", "scheduledFor", "occurrenceAt")


def literal(value: Any) -> Expression:
    """A value that is never read as an expression, also where it starts with `$`."""
    return {"$literal": value}


def counter(field: str) -> Expression:
    """The whole number in `field`, 0 for anything else: `$add` on a string would fail the whole batch.

    Numbers that no count comes to are something else too: one more than the largest would be a fraction.
    """
    whole = {"$in": [{"$type": f"${field}"}, ["int", "long"]]}
    return {"$cond": [{"$and": [whole, {"$lt": [f"${field}", LARGEST_COUNT]}]}, f"${field}", 0]}


def plus(field: str, amount: int) -> Expression:
    """`field` changed by `amount`; whatever a hand has left there, at least the amount and never below 0."""
    return {"$max": [max(amount, 0), {"$add": [counter(field), amount]}]}


def from_now(length: timedelta) -> Expression:
    """The server's now plus a length."""
    return {"$add": [NOW, milliseconds(length)]}


def ago(length: timedelta) -> Expression:
    """The server's now less a length."""
    return {"$subtract": [NOW, milliseconds(length)]}


def goes_after(length: timedelta) -> Expression:
    """When the document is removed, unless it says so already; a one-off never is: its name must not run again."""
    return {"$cond": [{"$eq": ["$oneOff", True]}, REMOVE, {"$ifNull": ["$expireAt", from_now(length)]}]}


def since(field: str) -> Expression:
    """Whole milliseconds from the moment in `field` to the server's now; absent where it is no moment."""
    return {"$cond": [is_moment(field), {"$subtract": [NOW, f"${field}"]}, REMOVE]}


def is_moment(field: str) -> Expression:
    """Whether `field` holds a date."""
    return {"$eq": [{"$type": f"${field}"}, "date"]}


def is_there(field: str) -> Expression:
    """Whether `field` holds anything but null."""
    return {"$ne": [{"$ifNull": [f"${field}", None]}, None]}


def either(condition: Expression, then: Expression, otherwise: Expression) -> Expression:
    """One of two."""
    return {"$cond": [condition, then, otherwise]}


def keep(field: str) -> Expression:
    """The field as it stands; absent stays absent."""
    return {"$ifNull": [f"${field}", REMOVE]}


def milliseconds(length: timedelta) -> int:
    """Whole milliseconds, as the documents count."""
    return length // timedelta(milliseconds=1)
