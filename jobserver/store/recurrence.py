"""A schedule in the words of a job document: first moments, what Pulse reads of it, and a task's own recurrence."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, assert_never

import bson

from jobserver.errors import ConfigError, ScheduleError
from jobserver.excerpt import excerpt
from jobserver.schedule import Schedule, ScheduleKind
from jobserver.schedule.words import are_words
from jobserver.store.codec import CODEC
from jobserver.store.expressions import NOW, REMOVE, Document, Expression, from_now, literal, milliseconds

AFTER_ANOTHER = Schedule.parse("manual")  # what a task follows that starts after another


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
            return stored_moment(schedule.next_after(now, anchor=now))
        case ScheduleKind.ONCE:
            return stored_moment(schedule.value)
        case ScheduleKind.NOW:
            return stored_moment(now)
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


def read_recurrence(source: Any, start: datetime | None = None) -> Schedule:
    """A schedule that recurs, not before `start`. Raises ScheduleError that names `recurrence`."""
    try:
        schedule = Schedule.parse(source)
        if schedule.kind not in (ScheduleKind.CRON, ScheduleKind.INTERVAL):
            raise ScheduleError(f"{excerpt(source)} does not recur; for one moment give start_at= alone")
        if start is None:
            return schedule
        if schedule.start is not None:
            raise ScheduleError("it has a start date of its own: give that or start_at=, not both")
        return Schedule.parse({**schedule.to_document(), "startDate": start})
    except ConfigError as error:
        rest = error.field.removeprefix("schedule")
        raise ScheduleError(error.message, field=f"recurrence{rest}") from None


def stored_recurrence(stated: Any) -> Schedule:
    """What a document says of itself; a task that follows another has no schedule of its own. Raises ScheduleError."""
    return AFTER_ANOTHER if stated is True else _decoded(bson.encode({"": stated}, codec_options=CODEC))


@lru_cache(maxsize=1_000)  # many tasks share a recurrence, and each run asks twice
def _decoded(stated: bytes) -> Schedule:
    return read_recurrence(bson.decode(stated, codec_options=CODEC)[""])


def stored_moment(moment: object) -> datetime | None:
    """Cut to the milliseconds that a document can hold."""
    if not isinstance(moment, datetime):
        return None
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)
