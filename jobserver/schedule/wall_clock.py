"""Which wall-clock times a cron expression names, and the next one; no zone, no moment."""

from __future__ import annotations

import calendar
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

LAST = -1
"""In place of a week's number: the last such weekday of the month."""

SECOND = timedelta(seconds=1)

Values = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Days:
    """The days a cron expression names. None in a field means it names no particular day.

    Where both a day of the month and a day of the week are named, either will do, as in every cron.
    """

    months: frozenset[int]
    of_month: frozenset[int] | None
    last_of_month: bool
    of_week: frozenset[int] | None  # 0 is Sunday
    nth_of_week: frozenset[tuple[int, int]]  # (day of the week, which one in the month, or LAST)

    def from_day(self, first: date, last_year: int) -> date | None:
        """The first such day that is not before `first`, up to the end of `last_year`."""
        year, month, day = first.year, first.month, first.day
        while year <= last_year:
            if month in self.months:
                for candidate in self._of(year, month):
                    if candidate >= day:
                        return date(year, month, candidate)
            day = 1
            year, month = (year, month + 1) if month < 12 else (year + 1, 1)
        return None

    def _of(self, year: int, month: int) -> Iterator[int]:
        monday_first, length = calendar.monthrange(year, month)
        for day in range(1, length + 1):
            if self._names(day, (monday_first + day) % 7, length):
                yield day

    def _names(self, day: int, weekday: int, length: int) -> bool:
        if self.of_week is None:
            return self._names_month_day(day, length)
        by_week = weekday in self.of_week or (weekday, (day + 6) // 7) in self.nth_of_week
        by_week = by_week or (day + 7 > length and (weekday, LAST) in self.nth_of_week)
        return by_week or (self.of_month is not None and self._names_month_day(day, length))

    def _names_month_day(self, day: int, length: int) -> bool:
        return self.of_month is None or day in self.of_month or (self.last_of_month and day == length)


@dataclass(frozen=True, slots=True, kw_only=True)
class WallClock:
    """The days and times of day a cron expression names; `hours`, `minutes` and `seconds` are sorted."""

    days: Days
    hours: Values
    minutes: Values
    seconds: Values

    def after(self, wall: datetime, last_year: int) -> datetime | None:
        """The first named time strictly after `wall`, up to the end of `last_year`."""
        start = wall.replace(microsecond=0) + SECOND
        today = start.date()
        day = self.days.from_day(today, last_year)
        if day == today:
            if at := self._from_time(start.hour, start.minute, start.second):
                return datetime.combine(today, at)
            day = self.days.from_day(today + timedelta(days=1), last_year)
        if day is None:
            return None
        return datetime.combine(day, time(self.hours[0], self.minutes[0], self.seconds[0]))

    def _from_time(self, hour: int, minute: int, second: int) -> time | None:
        if hour in self.hours:
            if minute in self.minutes and (at := _not_below(self.seconds, second)) is not None:
                return time(hour, minute, at)
            if (at := _not_below(self.minutes, minute + 1)) is not None:
                return time(hour, at, self.seconds[0])
        if (at := _not_below(self.hours, hour + 1)) is not None:
            return time(at, self.minutes[0], self.seconds[0])
        return None


def _not_below(values: Values, least: int) -> int | None:
    index = bisect_left(values, least)
    return values[index] if index < len(values) else None
