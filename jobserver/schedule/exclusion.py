"""Dates on which a schedule does not run: "2026-12-25", "2026-12-24..2027-01-06", "12-25", "sat", "weekend"."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

from jobserver.errors import ScheduleError, did_you_mean
from jobserver.excerpt import excerpt

MOST_ENTRIES = 400

_WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_FULL_NAMES = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_NAMES: Mapping[str, Sequence[int]] = {
    **{name: (index,) for index, name in enumerate(_WEEKDAYS)},
    **{name: (index,) for index, name in enumerate(_FULL_NAMES)},
    **{f"{name}s": (index,) for index, name in enumerate(_FULL_NAMES)},
    **dict.fromkeys(("weekend", "weekends"), (5, 6)),
    **dict.fromkeys(("weekday", "weekdays"), (0, 1, 2, 3, 4)),
}
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_MONTH_DAY = re.compile(r"\d{2}-\d{2}", re.ASCII)
_DAY = timedelta(days=1)
_LEAP_YEAR = 2000
_EXAMPLES = "write '2026-12-25', '2026-12-24..2027-01-06', '12-25' for every year, 'sat' or 'weekend'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exclusion:
    """Dates and weekdays without runs; falsy when there are none.

    `ranges` are sorted and do not touch each other; `yearly` are (month, day); `weekdays` count from Monday, 0.
    """

    ranges: tuple[tuple[date, date], ...] = ()
    yearly: frozenset[tuple[int, int]] = frozenset()
    weekdays: frozenset[int] = frozenset()

    @classmethod
    def parse(cls, source: object, *, field: str = "schedule.exclude") -> Exclusion:
        """From one text, entries apart by commas, or a list of texts and dates; ScheduleError names `field`."""
        if source is None:
            return cls()
        if isinstance(source, Exclusion):
            return source
        reading = _Reading()
        for entry in _entries(source, field):
            try:
                reading.add(entry)
            except ValueError as error:
                raise ScheduleError(f"{excerpt(entry)}: {error}", field=field) from None
        return reading.result(field)

    def covers(self, day: date) -> bool:
        """Whether nothing runs on that date."""
        if day.weekday() in self.weekdays or (day.month, day.day) in self.yearly:
            return True
        return self._range_around(day) is not None

    def first_free(self, day: date) -> date:
        """The first date that is not before `day` and has runs."""
        while self.covers(day):
            around = self._range_around(day)
            day = (day if around is None else around[1]) + _DAY
        return day

    def to_texts(self) -> list[str]:
        """The form that is stored; `parse` reads it back."""
        ranges = [str(first) if first == last else f"{first}..{last}" for first, last in self.ranges]
        yearly = [f"{month:02}-{day:02}" for month, day in sorted(self.yearly)]
        return ranges + yearly + [_WEEKDAYS[index] for index in sorted(self.weekdays)]

    def describe(self) -> str:
        """A few words: "weekends", "Mondays, 12-25 and 3 more"."""
        days = [f"{_FULL_NAMES[index].capitalize()}s" for index in sorted(self.weekdays)]
        if self.weekdays == {5, 6}:
            days = ["weekends"]
        words = days + [text for text in self.to_texts() if text not in _WEEKDAYS]
        return ", ".join(words[:3]) + (f" and {len(words) - 3} more" if len(words) > 3 else "")

    def __bool__(self) -> bool:
        return bool(self.ranges or self.yearly or self.weekdays)

    def _range_around(self, day: date) -> tuple[date, date] | None:
        index = bisect_right(self.ranges, (day, date.max)) - 1
        return self.ranges[index] if index >= 0 and self.ranges[index][1] >= day else None


class _Reading:
    """Entries read so far."""

    def __init__(self) -> None:
        self._ranges: list[tuple[date, date]] = []
        self._yearly: set[tuple[int, int]] = set()
        self._weekdays: set[int] = set()

    def add(self, entry: object) -> None:
        """Read one entry; ValueError with the reason when it is none."""
        if isinstance(entry, datetime):
            if entry.time() != time(0):
                raise ValueError("a moment is not a date; give it without a time of day")
            entry = entry.date()
        if isinstance(entry, date):
            self._ranges.append((entry, entry))
        elif isinstance(entry, str) and len(entry) <= 60:
            self._add_text(entry.strip().lower())
        else:
            raise ValueError(f"is no date; {_EXAMPLES}")

    def result(self, field: str) -> Exclusion:
        every_date = len(self._yearly) >= 366
        if len(self._weekdays) == 7 or every_date:
            raise ScheduleError("every date is excluded: it would never run", field=field)
        return Exclusion(
            ranges=_merged(self._ranges), yearly=frozenset(self._yearly), weekdays=frozenset(self._weekdays)
        )

    def _add_text(self, text: str) -> None:
        if text in _NAMES:
            self._weekdays.update(_NAMES[text])
            return
        first, dots, last = (part.strip() for part in text.partition(".."))
        last = last if dots else first
        if _DATE.fullmatch(first) and _DATE.fullmatch(last):
            self._add_range(date.fromisoformat(first), date.fromisoformat(last))
        elif _MONTH_DAY.fullmatch(first) and _MONTH_DAY.fullmatch(last):
            self._add_yearly(_month_day(first), _month_day(last))
        else:
            raise ValueError(f"is no date{did_you_mean(text, _NAMES)}; {_EXAMPLES}")

    def _add_range(self, first: date, last: date) -> None:
        if last < first:
            raise ValueError("ends before it begins")
        if last.year > 8999:
            raise ValueError(f"the year {last.year} is after 8999")
        self._ranges.append((first, last))

    def _add_yearly(self, first: date, last: date) -> None:
        day = first
        while day != last:
            self._yearly.add((day.month, day.day))
            day = (day + _DAY).replace(year=_LEAP_YEAR)  # over the new year
        self._yearly.add((last.month, last.day))


def _entries(source: object, field: str) -> Iterable[object]:
    if isinstance(source, str):
        source = [part for part in source.split(",") if part.strip()] or [source]
    elif isinstance(source, date):
        source = [source]
    if not isinstance(source, list | tuple | set | frozenset):
        raise ScheduleError(f"{excerpt(source)} is no list of dates; {_EXAMPLES}", field=field)
    if len(source) > MOST_ENTRIES:
        raise ScheduleError(f"{len(source)} entries are more than {MOST_ENTRIES}; write ranges", field=field)
    return source


def _month_day(text: str) -> date:
    return date.fromisoformat(f"{_LEAP_YEAR}-{text}")


def _merged(ranges: list[tuple[date, date]]) -> tuple[tuple[date, date], ...]:
    merged: list[tuple[date, date]] = []
    for first, last in sorted(ranges):
        if merged and first <= merged[-1][1] + _DAY:
            merged[-1] = (merged[-1][0], max(merged[-1][1], last))
        else:
            merged.append((first, last))
    return tuple(merged)
