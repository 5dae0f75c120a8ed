"""Contenders by turns, A B A B …: what slows the machine for a while slows both."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from benchmarks.figure import Reading, Spread, Target, Unit

T = TypeVar("T")
_BEGAN = time.monotonic()


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Jobs that were worked off; `cpu_seconds` are the workers' own, None where nobody could read them."""

    jobs: int
    seconds: float
    cpu_seconds: float | None = None
    mongod_cpu_seconds: float | None = None

    @property
    def jobs_per_second(self) -> float:
        """From the first claim to the last end."""
        return self.jobs / self.seconds


def by_turns(rounds: int, contenders: Mapping[str, Callable[[], T]]) -> dict[str, list[T]]:
    """What each contender came to, round by round."""
    outcomes: dict[str, list[T]] = {name: [] for name in contenders}
    for number in range(1, rounds + 1):
        for name, contend in contenders.items():
            tell(f"  round {number} of {rounds}: {name}")
            outcomes[name].append(contend())
    return outcomes


def ratio(what: str, ours: Sequence[float], theirs: Sequence[float], target: Target | None = None) -> Reading:
    """Ours against theirs, taken within each round."""
    ratios = [one / other for one, other in zip(ours, theirs, strict=True)]
    return Reading(what=what, unit=Unit.RATIO, spread=Spread.of(ratios), target=target)


def rates(works: Sequence[Work]) -> list[float]:
    """Jobs per second, round by round."""
    return [work.jobs_per_second for work in works]


def work_readings(name: str, works: Sequence[Work]) -> list[Reading]:
    """How fast a contender was, and what it cost."""
    own = [work.cpu_seconds / work.jobs * 1e6 for work in works if work.cpu_seconds is not None]
    mongod = [work.mongod_cpu_seconds / work.jobs * 1e6 for work in works if work.mongod_cpu_seconds is not None]
    readings = [Reading(what=name, unit=Unit.PER_SECOND, spread=Spread.of(rates(works)))]
    for what, costs in ((f"{name}: its CPU", own), (f"{name}: CPU of mongod", mongod)):
        if costs:
            readings.append(Reading(what=what, unit=Unit.MICROSECONDS_PER_JOB, spread=Spread.of(costs)))
    return readings


def tell(what: str) -> None:
    """Say on stderr what is being done."""
    print(f"{time.monotonic() - _BEGAN:6.1f} s  {what}", file=sys.stderr, flush=True)
