"""A schedule: when a job runs, valid by construction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, assert_never

from jobserver.errors import ScheduleError
from jobserver.excerpt import excerpt
from jobserver.lengths import describe_length, to_milliseconds
from jobserver.schedule.cron import next_cron, settled_cron
from jobserver.schedule.interval import next_interval, settled_interval
from jobserver.schedule.moment import settled_moment
from jobserver.schedule.source import ScheduleKind, kind_named, take_apart
from jobserver.schedule.zone import Zone, zone_named

DEFAULT_TIMEZONE = "UTC"

# Zones have no rules before, and a datetime ends soon after.
_FIRST_MOMENT = datetime(1900, 1, 1, tzinfo=UTC)
_LAST_MOMENT = datetime(9900, 1, 1, tzinfo=UTC)

Value = str | datetime | timedelta | None


@dataclass(frozen=True, slots=True, kw_only=True, init=False)
class Schedule:
    """When a job runs. An invalid one cannot exist: making it raises ScheduleError with the reason.

    The value is settled when it is made: cron text in one spelling, a moment in aware UTC, an interval as a timedelta,
    None for `now` and `manual`. Equal schedules fire alike. The time zone counts for cron, and for reading a moment
    that has no offset; once read, a moment is a moment, so every other kind says UTC.
    """

    kind: ScheduleKind
    value: Value
    timezone: str

    def __init__(self, *, kind: ScheduleKind | str, value: object = None, timezone: str = DEFAULT_TIMEZONE) -> None:
        kind = kind_named(kind, field="schedule")
        zone = zone_named(timezone, field="schedule")
        settle = partial(object.__setattr__, self)  # the dataclass is frozen
        settle("kind", kind)
        settle("value", _settled_value(kind, value, zone))
        settle("timezone", zone.name if kind is ScheduleKind.CRON else DEFAULT_TIMEZONE)

    @classmethod
    def parse(cls, source: ScheduleSource, timezone: str | None = None) -> Schedule:
        """The schedule that a class, a document or a command line says; `timezone` is for a source that names none.

        Text is cron, @daily and its like, "now", "manual", an ISO moment or a length ("5 minutes"); a timedelta or a
        number of milliseconds is an interval, a datetime is `once`; the document's form is {type, value, timezone}.
        `now` and `manual` leave a value unread, so an edit of `type` alone will do. Raises ScheduleError, nothing else.
        """
        if isinstance(source, Schedule):
            return source
        part = take_apart(source, DEFAULT_TIMEZONE if timezone is None else timezone)
        zone = zone_named(part.timezone, field=part.zone_field)
        try:
            return cls(kind=part.kind, value=part.value, timezone=zone.name)
        except ScheduleError as error:
            raise ScheduleError(error.message, field=part.value_field) from None

    def next_after(self, moment: datetime, *, anchor: datetime | None = None) -> datetime | None:
        """The first fire strictly after `moment`, aware UTC; None when there is none, and for `now` and `manual`.

        An interval counts from `anchor`, a moment that must stay the same from call to call; the others ignore it.
        Raises ValueError for a naive moment, and for an interval without anchor: mistakes of the caller, not of a
        person who wrote a schedule.
        """
        _require_aware(moment)
        match self.value:
            case None:
                return None
            case datetime():
                return self.value if self.value > moment else None
            case timedelta():
                if anchor is None:
                    raise ValueError("an interval counts from an anchor, and none was given")
                _require_aware(anchor)
                return next_interval(self.value, anchor, moment) if moment < _LAST_MOMENT else None
            case str():
                moment = max(moment, _FIRST_MOMENT)
                return next_cron(self.value, zone_named(self.timezone), moment) if moment < _LAST_MOMENT else None
            case _:
                assert_never(self.value)

    def upcoming(self, count: int, *, after: datetime, anchor: datetime | None = None) -> list[datetime]:
        """The next `count` fires after a moment, fewer where the schedule ends."""
        fires: list[datetime] = []
        while len(fires) < count and (fire := self.next_after(fires[-1] if fires else after, anchor=anchor)):
            fires.append(fire)
        return fires

    def describe(self) -> str:
        """A few words for a person: "every 5 minutes", "cron */5 * * * * (UTC)", "by hand"."""
        match self.value:
            case None:
                return "by hand" if self.kind is ScheduleKind.MANUAL else "once per version"
            case datetime():
                return f"once at {_readable(self.value)} UTC"
            case timedelta():
                return f"every {describe_length(self.value)}"
            case str():
                return f"cron {self.value} ({self.timezone})"
            case _:
                assert_never(self.value)

    @property
    def key(self) -> str:
        """A name for what it means, stable across processes and versions: the same key fires at the same times."""
        match self.value:
            case None:
                return self.kind.value
            case datetime():
                return f"once:{self.value.replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"
            case timedelta():
                return f"interval:{to_milliseconds(self.value)}"
            case str():
                return f"cron:{self.value}@{self.timezone}"
            case _:
                assert_never(self.value)

    def to_document(self) -> dict[str, Any]:
        """The form that `jobConfigs` stores, {type, value, timezone} as far as they apply; `parse` reads it back."""
        document: dict[str, Any] = {"type": self.kind.value}
        if self.value is not None:
            document["value"] = to_milliseconds(self.value) if isinstance(self.value, timedelta) else self.value
        if self.timezone != DEFAULT_TIMEZONE:
            document["timezone"] = self.timezone
        return document


ScheduleSource = Schedule | str | timedelta | datetime | int | float | Mapping[str, Any]
"""What is accepted where a schedule is asked for."""


def _settled_value(kind: ScheduleKind, value: object, zone: Zone) -> Value:
    match kind:
        case ScheduleKind.CRON:
            if not isinstance(value, str):
                raise ScheduleError(f"{excerpt(value)} is not a cron expression; write '*/5 * * * *'")
            return settled_cron(value, zone)
        case ScheduleKind.ONCE:
            return settled_moment(value, zone)
        case ScheduleKind.INTERVAL:
            return settled_interval(value)
        case ScheduleKind.NOW | ScheduleKind.MANUAL:
            return None
        case _:
            assert_never(kind)


def _require_aware(moment: datetime) -> None:
    if moment.utcoffset() is None:
        raise ValueError(f"{moment.isoformat()} has no time zone: moments are aware")


def _readable(moment: datetime) -> str:
    exact = moment.second or moment.microsecond
    return f"{moment:%Y-%m-%d} {moment.time().isoformat('auto' if exact else 'minutes')}"
