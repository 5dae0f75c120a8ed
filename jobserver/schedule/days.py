"""Which days a calendar schedule names, year by year.

The days of a year are the bits of a number: bit 0 is 1 January. What is named is then joined, cut and searched at once.
"""

from __future__ import annotations

import calendar
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache
from typing import Protocol

LAST = -1
"""In place of a number: the last day of the year, or the last such weekday of the month."""

EVERY_MONTH = frozenset(range(1, 13))

_EVERY_SEVENTH = sum(1 << day for day in range(0, 371, 7))


class DateFilter(Protocol):
    """Dates on which nothing runs."""

    def covers(self, day: date) -> bool:
        """Whether nothing runs on that date."""


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
        for year in range(first.year, last_year + 1) if self.years is None else sorted(self.years):
            if year < first.year:
                continue
            bits = days_of_year(self, year)
            if year == first.year:
                skipped = first.timetuple().tm_yday - 1
                bits = bits >> skipped << skipped
            while bits:
                lowest = bits & -bits
                found = date(year, 1, 1) + timedelta(days=lowest.bit_length() - 1)
                if excluded is None or not excluded.covers(found):
                    return found
                bits ^= lowest
        return None


@lru_cache(maxsize=2048)
def days_of_year(days: Days, year: int) -> int:
    """The days of one year as bits."""
    if days.years is not None and year not in days.years:
        return 0
    months = list(_months(year))
    bits = sum(_span(start, length) for month, start, length, _ in months if month in days.months)
    by_week = None if days.of_week is None else _weekdays(days, months)
    by_month = None if days.of_month is None else _month_days(days, months)
    if by_week is not None and by_month is not None:
        bits &= by_week | by_month if days.either else by_week & by_month
    elif by_week is not None or by_month is not None:
        bits &= by_week if by_week is not None else by_month or 0
    return bits & _rarer(days, year, months)


Months = list[tuple[int, int, int, int]]
"""Month, its first day as a bit, its length, and the weekday it begins with (0 is Sunday)."""


def _months(year: int) -> Iterator[tuple[int, int, int, int]]:
    start = 0
    for month in range(1, 13):
        monday_first, length = calendar.monthrange(year, month)
        yield month, start, length, (monday_first + 1) % 7
        start += length


def _weekdays(days: Days, months: Months) -> int:
    first = months[0][3]
    bits = sum(_EVERY_SEVENTH << (weekday - first) % 7 for weekday in days.of_week or ())
    for _, start, length, begins in months:
        for weekday, number in days.nth_of_week:
            day = (weekday - begins) % 7
            day += (length - 1 - day) // 7 * 7 if number == LAST else (number - 1) * 7
            bits |= 1 << start + day if day < length else 0
    return bits


def _month_days(days: Days, months: Months) -> int:
    bits = 0
    for _, start, length, _ in months:
        bits |= sum(1 << start + day - 1 for day in days.of_month or () if day <= length)
        bits |= 1 << start + length - 1 if days.last_of_month else 0
    return bits


def _rarer(days: Days, year: int, months: Months) -> int:
    length = months[-1][1] + months[-1][2]
    bits = _span(0, length)
    if days.of_year is not None:
        bits &= sum(1 << (length if day == LAST else day) - 1 for day in days.of_year)
    if days.weeks_of_year is not None:
        bits &= _weeks_of_year(days.weeks_of_year, year)
    if days.weeks_of_month is not None:
        bits &= _weeks_of_month(days.weeks_of_month, months)
    for other in days.within:
        bits &= days_of_year(other, year)
    for other in days.without:
        bits &= ~days_of_year(other, year)
    return bits


def _weeks_of_year(weeks: frozenset[int], year: int) -> int:
    """ISO weeks; those at the turn of the year may belong to the year before or after."""
    bits, new_year = 0, date(year, 1, 1).toordinal()
    for iso_year in (year - 1, year, year + 1):
        first_monday = date.fromisocalendar(iso_year, 1, 1).toordinal()
        following_monday = date.fromisocalendar(iso_year + 1, 1, 1).toordinal()
        for week in weeks:
            monday = first_monday + 7 * (week - 1)
            if monday < following_monday:
                bits |= _span(monday - new_year, 7)
    return bits


def _weeks_of_month(weeks: frozenset[int], months: Months) -> int:
    bits = 0
    for _, start, length, begins in months:
        of_month = sum(_span(start + 7 * (week - 1) - begins, 7) for week in weeks)
        bits |= of_month & _span(start, length)
    return bits


def _span(first: int, length: int) -> int:
    """So many days from one on; what lies before the year is left out."""
    whole = (1 << length) - 1
    return whole << first if first >= 0 else whole >> -first
