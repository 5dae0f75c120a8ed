"""A schedule in the words of a job document: its first moment, and what the Pulse library reads of it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import assert_never

from jobserver.schedule import Schedule, ScheduleKind
from jobserver.schedule.words import are_words
from jobserver.store.expressions import NOW, REMOVE, Document, Expression, from_now, literal, milliseconds


def first_moment(schedule: Schedule, *, now: datetime) -> Expression | None:
    """When it fires first, counted from the server's now; None for one that never does by itself."""
    if schedule.kind is ScheduleKind.NOW:
        return NOW
    is_bounded = schedule.start is not None or schedule.exclude or schedule.end is not None
    if isinstance(schedule.value, timedelta) and not is_bounded:
        return from_now(schedule.value)  # counted from the anchor that the same update writes
    return first_occurrence(schedule, now=now)


def first_occurrence(schedule: Schedule, *, now: datetime) -> datetime | None:
    """The same as a plain moment, for a schedule that is set at `now`."""
    match schedule.kind:
        case ScheduleKind.CRON | ScheduleKind.INTERVAL:
            return _stored(schedule.next_after(now, anchor=now))
        case ScheduleKind.ONCE:
            return _stored(schedule.value)
        case ScheduleKind.NOW:
            return _stored(now)
        case ScheduleKind.MANUAL:
            return None
        case other:
            assert_never(other)


def moved(schedule: Schedule, first: Expression | None, random: float) -> Expression | None:
    """A first moment, later by its share of the schedule's jitter; `random` is between 0 and 1."""
    if first is None or not schedule.jitter:
        return first
    return {"$add": [first, milliseconds(random * schedule.jitter)]}


def pulse_fields(schedule: Schedule) -> Document:
    """`repeatInterval` and `repeatTimezone`, where Pulse has words for it."""
    interval: Expression = REMOVE
    is_cron = schedule.kind is ScheduleKind.CRON and not are_words(str(schedule.value))
    if is_cron:
        interval = literal(schedule.value)
    elif isinstance(schedule.value, timedelta):
        interval = milliseconds(schedule.value)
    zone = literal(schedule.timezone) if is_cron else REMOVE
    return {"repeatInterval": interval, "repeatTimezone": zone}


def _stored(moment: object) -> datetime | None:
    """Cut to the milliseconds that a document can hold."""
    if not isinstance(moment, datetime):
        return None
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)
