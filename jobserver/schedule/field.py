"""The six fields of a cron expression, seconds first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from jobserver.errors import ScheduleError
from jobserver.excerpt import excerpt


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One field: the values it goes over, and what to tell somebody who wrote something else."""

    name: str
    low: int
    high: int
    names: Mapping[str, int] = field(default_factory=dict)
    forms: str = ""

    @property
    def size(self) -> int:
        """How many values it has."""
        return self.high - self.low + 1

    @property
    def takes(self) -> str:
        """What may stand in it, in words."""
        return f"takes {self.low}-{self.high}, lists 1,2, ranges 1-5, steps */2 or 1-5/2{self.forms}"

    def refusal(self, text: str, reason: str) -> ScheduleError:
        """The error for a `text` that this field cannot hold."""
        return ScheduleError(f"{self.name} {excerpt(text)}: {reason}")


_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")

SECOND = Field(name="second", low=0, high=59)
MINUTE = Field(name="minute", low=0, high=59)
HOUR = Field(name="hour", low=0, high=23)
DAY_OF_MONTH = Field(name="day of month", low=1, high=31, forms=", L for the last day, ?")
MONTH = Field(
    name="month",
    low=1,
    high=12,
    names={name: number for number, name in enumerate(_MONTHS, 1)},
    forms=", names jan-dec",
)
DAY_OF_WEEK = Field(
    name="day of week",
    low=0,
    high=6,
    names={name: number for number, name in enumerate(_WEEKDAYS)},
    forms=", 7 for Sunday, names sun-sat, mon#2 for the second Monday, L5 for the last Friday, ?",
)

FIELDS = (SECOND, MINUTE, HOUR, DAY_OF_MONTH, MONTH, DAY_OF_WEEK)
