"""Which wall-clock times a calendar schedule names, and the next one; no zone, no moment."""

from __future__ import annotations

import calendar
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cached_property
from typing import Protocol

LAST = -1
"""In place of a number: the last such weekday of the month, the last day of the year."""

SECOND = timedelta(seconds=1)
SECONDS_OF_A_DAY = 86_400
EVERY_MONTH = frozenset(range(1, 13))

Values = tuple[int, ...]


class DateFilter(Protocol):
    """Dates on which nothing runs."""

    def covers(self, day: date) -> bool:
        """Whether nothing runs on that date."""


class Times(Protocol):
    """Times of one day, as seconds since its midnight on the clock."""

    def from_second(self, second: int) -> int | None:
        """The first that is not below `second`."""

    def __iter__(self) -> Iterator[int]: ...
    def __len__(self) -> int: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Days:
    """The days a schedule names. None in a field means that it names no particular day.

    Where both a day of the month and a day of the week are named, either will do in cron (`either`), and in words
    both must hold. `within` and `without` are further days that a date must, or must not, be one of.
    """

    months: frozenset[int] = EVERY_MONTH
    of_month: frozenset[int] | None = None
    last_of_month: bool = False
    of_week: frozenset[int] | None = None  # 0 is Sunday
    nth_of_week: frozenset[tuple[int, int]] = frozenset()  # (day of the week, which one in the month, or LAST)
    either: bool = False
    years: frozenset[int] | None = None
    of_year: frozenset[int] | None = None  # 1 is 1 January; or LAST
    weeks_of_year: frozenset[int] | None = None  # ISO weeks
    weeks_of_month: frozenset[int] | None = None  # the first begins on the 1st, the others on a Sunday
    within: tuple[Days, ...] = ()
    without: tuple[Days, ...] = ()

    def from_day(self, first: date, last_year: int, excluded: DateFilter | None = None) -> date | None:
        """The first such day that is not before `first`; up to the end of `last_year` where no years are named."""
        for year, month, day in self._months_from(first, last_year):
            monday_first, length = calendar.monthrange(year, month)
            for candidate in range(day, length + 1):
                if self._names(year, month, candidate, (monday_first + candidate) % 7, length):
                    found = date(year, month, candidate)
                    if excluded is None or not excluded.covers(found):
                        return found
        return None

    def _months_from(self, first: date, last_year: int) -> Iterator[tuple[int, int, int]]:
        years = range(first.year, last_year + 1) if self.years is None else sorted(self.years)
        for year in years:
            for month in range(first.month if year == first.year else 1, 13) if year >= first.year else ():
                if month in self.months:
                    yield year, month, first.day if (year, month) == (first.year, first.month) else 1

    def _names(self, year: int, month: int, day: int, weekday: int, length: int) -> bool:
        by_week = self._names_weekday(day, weekday, length)
        by_month = self._names_month_day(day, length)
        if by_week is None or by_month is None:
            named = by_week is not False and by_month is not False
        else:
            named = (by_week or by_month) if self.either else (by_week and by_month)
        return named and (not self._has_rare_conditions or self._meets_rare_conditions(date(year, month, day)))

    def _names_weekday(self, day: int, weekday: int, length: int) -> bool | None:
        if self.of_week is None:
            return None
        if weekday in self.of_week or (weekday, (day + 6) // 7) in self.nth_of_week:
            return True
        return day + 7 > length and (weekday, LAST) in self.nth_of_week

    def _names_month_day(self, day: int, length: int) -> bool | None:
        if self.of_month is None:
            return None
        return day in self.of_month or (self.last_of_month and day == length)

    @property
    def _has_rare_conditions(self) -> bool:
        return (
            bool(self.within or self.without)
            or self.of_year is not None
            or self.weeks_of_year is not None
            or self.weeks_of_month is not None
        )

    def _meets_rare_conditions(self, day: date) -> bool:
        if self.of_year is not None and not self._names_day_of_year(day):
            return False
        if self.weeks_of_year is not None and day.isocalendar().week not in self.weeks_of_year:
            return False
        if self.weeks_of_month is not None and week_of_month(day) not in self.weeks_of_month:
            return False
        return all(other.include(day) for other in self.within) and not any(
            other.include(day) for other in self.without
        )

    def _names_day_of_year(self, day: date) -> bool:
        assert self.of_year is not None
        return day.timetuple().tm_yday in self.of_year or (LAST in self.of_year and (day.month, day.day) == (12, 31))

    def include(self, day: date) -> bool:
        """Whether the date is one of them."""
        if day.month not in self.months or (self.years is not None and day.year not in self.years):
            return False
        length = calendar.monthrange(day.year, day.month)[1]
        return self._names(day.year, day.month, day.day, day.isoweekday() % 7, length)


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Every combination of the hours, minutes and seconds, each sorted."""

    hours: Values
    minutes: Values
    seconds: Values

    def from_second(self, second: int) -> int | None:
        """The first that is not below `second`."""
        minute, second = divmod(second, 60)
        hour, minute = divmod(minute, 60)
        if hour in self._hours:
            if minute in self._minutes and (at := _not_below(self.seconds, second)) is not None:
                return hour * 3600 + minute * 60 + at
            if (at := _not_below(self.minutes, minute + 1)) is not None:
                return hour * 3600 + at * 60 + self.seconds[0]
        if (at := _not_below(self.hours, hour + 1)) is not None:
            return at * 3600 + self.minutes[0] * 60 + self.seconds[0]
        return None

    def __iter__(self) -> Iterator[int]:
        return (h * 3600 + m * 60 + s for h in self.hours for m in self.minutes for s in self.seconds)

    def __len__(self) -> int:
        return len(self.hours) * len(self.minutes) * len(self.seconds)

    @cached_property
    def _hours(self) -> frozenset[int]:
        return frozenset(self.hours)

    @cached_property
    def _minutes(self) -> frozenset[int]:
        return frozenset(self.minutes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """The times of day one by one: a sorted tuple, or a range."""

    times: Sequence[int]

    def from_second(self, second: int) -> int | None:
        """The first that is not below `second`."""
        return _not_below(self.times, second)

    def __iter__(self) -> Iterator[int]:
        return iter(self.times)

    def __len__(self) -> int:
        return len(self.times)


@dataclass(frozen=True, slots=True, kw_only=True)
class WallClock:
    """The days and times of day a schedule names.

    `follows_real_time` is Debian cron's rule: true for what happens every so many minutes or hours, false for fixed
    times of day.
    """

    days: Days
    times: Times
    follows_real_time: bool

    def after(self, wall: datetime, last_year: int, excluded: DateFilter | None = None) -> datetime | None:
        """The first named time strictly after `wall`, on no excluded date."""
        start = wall.replace(microsecond=0) + SECOND
        today = start.date()
        day = self.days.from_day(today, last_year, excluded)
        if day == today:
            second = self.times.from_second(start.hour * 3600 + start.minute * 60 + start.second)
            if second is not None:
                return _at(today, second)
            day = self.days.from_day(today + timedelta(days=1), last_year, excluded)
        first = self.times.from_second(0)
        return None if day is None or first is None else _at(day, first)


def week_of_month(day: date) -> int:
    """Which week of its month a date lies in: the first begins on the 1st, the others on a Sunday."""
    return (day.day + day.replace(day=1).isoweekday() % 7 + 6) // 7


def _at(day: date, second: int) -> datetime:
    minute, second = divmod(second, 60)
    return datetime(day.year, day.month, day.day, minute // 60, minute % 60, second)  # noqa: DTZ001 - wall-clock time


def _not_below(values: Sequence[int], least: int) -> int | None:
    index = bisect_left(values, least)
    return values[index] if index < len(values) else None
