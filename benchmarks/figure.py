"""What is measured, in which unit, and what it has to be."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self, assert_never

from jobserver.errors import JobServerError


class Unit(StrEnum):
    """How a value is to be read."""

    RATIO = "×"  # noqa: RUF001 - the sign is what is meant
    PER_SECOND = "/s"
    MILLISECONDS = "ms"
    MICROSECONDS_PER_JOB = "µs/job"
    MEGABYTES = "MB"
    COUNT = ""


class Bound(StrEnum):
    """Which side of a limit is the good one."""

    AT_LEAST = "≥"
    ABOVE = ">"
    AT_MOST = "≤"
    BELOW = "<"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a value must be."""

    bound: Bound
    limit: float

    def is_met(self, value: float) -> bool:
        """Whether this value is on the good side."""
        match self.bound:
            case Bound.AT_LEAST:
                return value >= self.limit
            case Bound.ABOVE:
                return value > self.limit
            case Bound.AT_MOST:
                return value <= self.limit
            case Bound.BELOW:
                return value < self.limit
            case _:
                assert_never(self.bound)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """The median of some rounds, and how far they lay apart."""

    median: float
    lowest: float
    highest: float
    rounds: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """One value per round."""
        return cls(median=statistics.median(values), lowest=min(values), highest=max(values), rounds=len(values))


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One line of a figure; with a target it is what the figure is about, without one it explains."""

    what: str
    unit: Unit
    spread: Spread
    target: Target | None = None

    @property
    def met(self) -> bool | None:
        """Whether the median meets the target; None where there is none."""
        return None if self.target is None else self.target.is_met(self.spread.median)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One question and its answer; `facts` are the circumstances."""

    title: str
    readings: tuple[Reading, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)


class NotMeasured(JobServerError):
    """A figure cannot be measured here; the message says why."""


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that so many percent do not exceed."""
    ordered = sorted(values)
    return ordered[max(1, math.ceil(len(ordered) * percent / 100)) - 1]
