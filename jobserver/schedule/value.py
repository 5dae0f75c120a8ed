"""A schedule: when a job runs, valid by construction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice
from typing import Any, assert_never

from jobserver.errors import ScheduleError
from jobserver.excerpt import excerpt
from jobserver.lengths import describe_length, to_milliseconds
from jobserver.schedule.calendar_text import clocks_of, exact_interval, settled_calendar
from jobserver.schedule.daylight import DstPolicy, next_of_all
from jobserver.schedule.description import describe_clocks, describe_options, readable
from jobserver.schedule.exclusion import Exclusion
from jobserver.schedule.interval import next_free_interval, settled_interval, whole_milliseconds
from jobserver.schedule.misfire import Misfire
from jobserver.schedule.moment import settled_moment
from jobserver.schedule.options import Options, settled_options
from jobserver.schedule.preview import Fire, noted
from jobserver.schedule.source import ScheduleKind, kind_named, take_apart
from jobserver.schedule.words import are_words
from jobserver.schedule.zone import Zone, zone_named

DEFAULT_TIMEZONE = "UTC"

# Zones have no rules before, and a datetime ends soon after.
_FIRST_MOMENT = datetime(1900, 1, 1, tzinfo=UTC)
_LAST_MOMENT = datetime(9900, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

Value = str | datetime | timedelta | None


@dataclass(frozen=True, slots=True, kw_only=True, init=False)
class Schedule:
    """When a job runs. An invalid one cannot exist: making it raises ScheduleError with the reason.

    The value is settled when it is made: cron text or words in one spelling, a moment in aware UTC, an interval as a
    timedelta, None for `now` and `manual`. Equal schedules fire alike. The time zone counts for cron and words, for
    the dates that `exclude` names, and for reading a moment that has no offset; once read, a moment is a moment.

    `dst` None is Debian cron's rule. It fires neither before `start` nor after `end`, and an interval counts from
    `start` where there is one. `misfire` and `jitter` are for who runs it: the moments here are never late.
    """

    kind: ScheduleKind
    value: Value
    timezone: str
    dst: DstPolicy | None
    misfire: Misfire
    jitter: timedelta
    start: datetime | None
    end: datetime | None
    exclude: Exclusion

    def __init__(
        self,
        *,
        kind: ScheduleKind | str,
        value: object = None,
        timezone: str = DEFAULT_TIMEZONE,
        dst: object = None,
        misfire: object = None,
        jitter: object = None,
        start: object = None,
        end: object = None,
        exclude: object = None,
    ) -> None:
        kind, value = _exact_kind(kind_named(kind, field="schedule"), value)
        zone = zone_named(timezone, field="schedule")
        stated = _stated(dst=dst, misfire=misfire, jitter=jitter, start=start, end=end, exclude=exclude)
        options = settled_options(stated, kind, zone)
        settle = partial(object.__setattr__, self)  # the dataclass is frozen
        settle("kind", kind)
        settle("value", _settled_value(kind, value, zone))
        settle("timezone", zone.name if _counts(zone, kind, options) else DEFAULT_TIMEZONE)
        for name, option in options._asdict().items():
            settle(name, option)
        self._require_a_fire()

    @classmethod
    def parse(
        cls,
        source: ScheduleSource,
        timezone: str | None = None,
        *,
        dst: DstPolicy | str | None = None,
        misfire: Misfire | str | Mapping[str, Any] | None = None,
        jitter: timedelta | int | float | str | None = None,
        start: datetime | int | float | str | None = None,
        end: datetime | int | float | str | None = None,
        exclude: ExcludeSource | None = None,
    ) -> Schedule:
        """The schedule that a class, a document or a command line says; keywords are for what the source leaves out.

        Text is cron, @daily and its like, words ("every weekday at 9:00"), "now", "manual", an ISO moment or a length
        ("5 minutes"); a timedelta or a number of milliseconds is an interval, a datetime is `once`; the document's form
        is {type, value, timezone, dst, misfire, jitter, startDate, endDate, exclude}. `now` and `manual` leave a value
        unread, so an edit of `type` alone will do. A Schedule is returned as it is. Raises ScheduleError, nothing else.
        """
        if isinstance(source, Schedule):
            return source
        part = take_apart(source, DEFAULT_TIMEZONE if timezone is None else timezone)
        zone = zone_named(part.timezone, field=part.zone_field)
        options: dict[str, Any] = {
            "dst": dst,
            "misfire": misfire,
            "jitter": jitter,
            "start": start,
            "end": end,
            "exclude": exclude,
        }
        options |= {name: part.options[key] for name in options if (key := _KEYS.get(name, name)) in part.options}
        try:
            return cls(kind=part.kind, value=part.value, timezone=zone.name, **options)
        except ScheduleError as error:
            field = part.value_field if error.field == "schedule" else error.field
            raise ScheduleError(error.message, field=field) from None

    def next_after(self, moment: datetime, *, anchor: datetime | None = None) -> datetime | None:
        """The first fire strictly after `moment`, aware UTC; None when there is none, and for `now` and `manual`.

        An interval without `start` counts from `anchor`, a moment that must stay the same from call to call; the others
        ignore it. Raises ValueError for a naive moment, and for an interval without anchor: mistakes of the caller, not
        of a person who wrote a schedule.
        """
        _require_aware(moment)
        if self.start is not None and moment < self.start:
            moment = self.start - _MICROSECOND
        fire = self._next_unbounded(moment, anchor)
        return None if fire is None or (self.end is not None and fire > self.end) else fire

    def occurrences(
        self, *, after: datetime, until: datetime | None = None, anchor: datetime | None = None
    ) -> Iterator[datetime]:
        """The fires after a moment, up to and including `until`, each found when it is asked for."""
        if until is not None:
            _require_aware(until)
        fire = self.next_after(after, anchor=anchor)
        while fire is not None and (until is None or fire <= until):
            yield fire
            fire = self.next_after(fire, anchor=anchor)

    def upcoming(self, count: int, *, after: datetime, anchor: datetime | None = None) -> list[datetime]:
        """The next `count` fires after a moment, fewer where the schedule ends."""
        return list(islice(self.occurrences(after=after, anchor=anchor), count))

    def preview(
        self, count: int, *, after: datetime, anchor: datetime | None = None, timezone: str | None = None
    ) -> list[Fire]:
        """The next `count` fires for a person: in `timezone`, or else the schedule's own, with notes on clock changes.

        Raises ScheduleError for an unknown time zone.
        """
        zone = zone_named(self.timezone)
        fires = noted(
            self.upcoming(count, after=after, anchor=anchor),
            after=max(after, self.start) if self.start else after,
            clocks=clocks_of(self.value) if isinstance(self.value, str) else (),
            zone=zone,
            policy=self.dst,
            exclude=self.exclude,
            shown_in=zone if timezone is None else zone_named(timezone),
        )
        return list(fires)

    def jittered(self, moment: datetime, random: float) -> datetime:
        """A fire moved by its share of the jitter, in whole milliseconds; `random` is between 0 and 1."""
        return whole_milliseconds(moment + random * self.jitter) if self.jitter else moment

    def describe(self) -> str:
        """A few words for a person: "every 5 minutes", "Weekdays at 09:00 Europe/Berlin", "by hand"."""
        return self._describe_value() + describe_options(self._options, zone_named(self.timezone))

    @property
    def key(self) -> str:
        """A name for what it means, stable across processes and versions: the same key fires at the same times.

        `misfire` and `jitter` are no part of it: they change what becomes of a fire, not the fires.
        """
        options = self._options._replace(misfire=Misfire(), jitter=timedelta(0)).to_document()
        zone = f"@{self.timezone}" if self.kind is ScheduleKind.INTERVAL and self.timezone != DEFAULT_TIMEZONE else ""
        return self._value_key + zone + "".join(f";{name}={_key_text(option)}" for name, option in options.items())

    def to_document(self) -> dict[str, Any]:
        """The form that `jobConfigs` stores, {type, value, timezone, …} as far as they apply; `parse` reads it back."""
        document: dict[str, Any] = {"type": self.kind.value}
        if self.value is not None:
            document["value"] = to_milliseconds(self.value) if isinstance(self.value, timedelta) else self.value
        if self.timezone != DEFAULT_TIMEZONE:
            document["timezone"] = self.timezone
        return document | self._options.to_document()

    def _next_unbounded(self, moment: datetime, anchor: datetime | None) -> datetime | None:
        match self.value:
            case None:
                return None
            case datetime():
                return self.value if self.value > moment else None
            case timedelta():
                anchor = self.start or anchor
                if anchor is None:
                    raise ValueError("an interval counts from an anchor, and none was given")
                _require_aware(anchor)
                if moment >= _LAST_MOMENT:
                    return None
                return next_free_interval(self.value, anchor, moment, zone_named(self.timezone), self.exclude)
            case str():
                moment = max(moment, _FIRST_MOMENT)
                if moment >= _LAST_MOMENT:
                    return None
                exclude = self.exclude or None
                return next_of_all(clocks_of(self.value), zone_named(self.timezone), moment, self.dst, exclude)
            case _:
                assert_never(self.value)

    def _require_a_fire(self) -> None:
        """Options can leave nothing of a schedule that fires: a year without its one date, the weekend of a holiday."""
        restricted = self.dst or self.exclude or self.start or self.end
        if not restricted or (self.kind is ScheduleKind.INTERVAL and self.start is None):
            return
        if self.next_after(_SOME_MOMENT) is None:
            raise ScheduleError("it never fires: startDate, endDate, exclude and dst leave nothing of it")

    def _describe_value(self) -> str:
        match self.value:
            case None:
                return "by hand" if self.kind is ScheduleKind.MANUAL else "once per version"
            case datetime():
                return f"once at {readable(self.value)} UTC"
            case timedelta():
                return f"every {describe_length(self.value)}"
            case str():
                words = describe_clocks(clocks_of(self.value), self.timezone)
                return words or f"{'' if are_words(self.value) else 'cron '}{self.value} ({self.timezone})"
            case _:
                assert_never(self.value)

    @property
    def _value_key(self) -> str:
        match self.value:
            case None:
                return self.kind.value
            case datetime():
                return f"once:{_key_text(self.value)}"
            case timedelta():
                return f"interval:{to_milliseconds(self.value)}"
            case str():
                return f"{'text' if are_words(self.value) else 'cron'}:{self.value}@{self.timezone}"
            case _:
                assert_never(self.value)

    @property
    def _options(self) -> Options:
        return Options(self.dst, self.misfire, self.jitter, self.start, self.end, self.exclude)


ScheduleSource = Schedule | str | timedelta | datetime | int | float | Mapping[str, Any]
"""What is accepted where a schedule is asked for."""

ExcludeSource = Exclusion | str | list[Any] | tuple[Any, ...] | set[Any] | frozenset[Any]
"""What is accepted for `exclude`: "sat, 12-25", or a list of such texts and of dates."""

_SOME_MOMENT = datetime(2000, 1, 1, tzinfo=UTC)
_KEYS = {"start": "startDate", "end": "endDate"}


def _stated(**options: object) -> dict[str, object]:
    """By the names of the document; an empty exclusion is none."""
    if isinstance(options["exclude"], Exclusion):
        options["exclude"] = options["exclude"] or None
    return {_KEYS.get(name, name): option for name, option in options.items()}


def _counts(zone: Zone, kind: ScheduleKind, options: Options) -> bool:
    return kind is ScheduleKind.CRON or (kind is ScheduleKind.INTERVAL and bool(options.exclude))


def _exact_kind(kind: ScheduleKind, value: object) -> tuple[ScheduleKind, object]:
    """ "every 5 minutes" names no time of day: it is an interval."""
    length = exact_interval(value) if kind is ScheduleKind.CRON and isinstance(value, str) else None
    return (kind, value) if length is None else (ScheduleKind.INTERVAL, length)


def _settled_value(kind: ScheduleKind, value: object, zone: Zone) -> Value:
    match kind:
        case ScheduleKind.CRON:
            if not isinstance(value, str):
                raise ScheduleError(
                    f"{excerpt(value)} is not a cron expression; write '*/5 * * * *' or 'every weekday at 9:00'"
                )
            return settled_calendar(str(value), zone)  # BSON's code is a kind of text that no table can look up
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


def _key_text(value: object) -> str:
    if isinstance(value, datetime):
        return f"{value.replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"
    return ",".join(value) if isinstance(value, list) else str(value)
