"""What the clauses of one phrase say, before anybody asks what it means together."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import NamedTuple

from jobserver.schedule.wall_clock import SECONDS_OF_A_DAY

LAST_DAY = -1


class Frequency(NamedTuple):
    """Every `number` units; `length` in seconds, None for months and years; `text` as it is written."""

    number: Fraction
    unit: str
    length: Fraction | None
    text: str


class Window(NamedTuple):
    """Times of day in seconds, both ends included; over midnight where it ends before it begins."""

    first: int = 0
    last: int = SECONDS_OF_A_DAY - 1


@dataclass(slots=True, kw_only=True)
class Phrase:
    """Empty is what was not named. Days of the month are 1-31 and LAST_DAY; `nth` as in Days."""

    frequency: Frequency | None = None
    offset: int | None = None  # in seconds: "starting on the 4th minute"
    cadence: str = ""
    times: set[int] = field(default_factory=set)
    hours: set[int] = field(default_factory=set)
    minutes: set[int] = field(default_factory=set)
    seconds: set[int] = field(default_factory=set)
    windows: list[Window] = field(default_factory=list)
    weekdays: set[int] = field(default_factory=set)
    nth: set[tuple[int, int]] = field(default_factory=set)
    instances: set[int] = field(default_factory=set)
    days: set[int] = field(default_factory=set)
    days_of_year: set[int] = field(default_factory=set)
    weeks_of_year: set[int] = field(default_factory=set)
    weeks_of_month: set[int] = field(default_factory=set)
    months: set[int] = field(default_factory=set)
    years: set[int] = field(default_factory=set)
    exceptions: list[Phrase] = field(default_factory=list)

    def names_days(self) -> bool:
        """Whether it names days, weeks or the daily cadence; months and years are not days."""
        return bool(
            self.weekdays or self.nth or self.instances or self.days or self.days_of_year
            or self.weeks_of_year or self.weeks_of_month
        )  # fmt: skip

    def names_days_of_a_month(self) -> bool:
        """Whether its days come once or so in a month, not in every week."""
        return bool(self.nth or self.instances or self.days or self.weeks_of_month)

    def names_times(self) -> bool:
        """Whether it names times of day, in whatever way."""
        return bool(self.times or self.hours or self.minutes or self.seconds or self.windows)

    def is_bound_to_days(self) -> bool:
        """Whether it is not the same on every day of every year."""
        return bool(self.names_days() or self.months or self.years or any(e.names_days() for e in self.exceptions))

    def is_only_a_frequency(self) -> bool:
        """Whether it is "every so long" and nothing else, so an exact interval."""
        return self.frequency is not None and not (
            self.names_days() or self.names_times() or self.months or self.years or self.exceptions
            or self.cadence or self.offset is not None
        )  # fmt: skip
