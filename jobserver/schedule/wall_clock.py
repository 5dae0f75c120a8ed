"""Which wall-clock times a calendar schedule names, and the next one; no zone, no moment."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cached_property
from typing import Protocol

from jobserver.schedule.days import DateFilter, Days

SECOND = timedelta(seconds=1)
SECONDS_OF_A_DAY = 86_400

Values = tuple[int, ...]


class Times(Protocol):
    """Times of one day, as seconds since its midnight on the clock."""

    def from_second(self, second: int) -> int | None:
        """The first that is not below `second`."""

    def __iter__(self) -> Iterator[int]: ...
    def __len__(self) -> int: ...


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
class Marked:
    """The times of day one by one: bit n stands for second n, so that they are cut and joined at once."""

    bits: int

    def from_second(self, second: int) -> int | None:
        """The first that is not below `second`."""
        rest = self.bits >> second
        return second + (rest & -rest).bit_length() - 1 if rest else None

    def __iter__(self) -> Iterator[int]:
        return (second for second, bit in enumerate(reversed(f"{self.bits:b}")) if bit == "1")

    def __len__(self) -> int:
        return self.bits.bit_count()


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


def _at(day: date, second: int) -> datetime:
    minute, second = divmod(second, 60)
    return datetime(day.year, day.month, day.day, minute // 60, minute % 60, second)  # noqa: DTZ001 - wall-clock time


def _not_below(values: Sequence[int], least: int) -> int | None:
    index = bisect_left(values, least)
    return values[index] if index < len(values) else None
