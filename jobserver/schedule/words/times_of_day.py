"""Sets of times of day as bits: bit n stands for second n of the day."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from jobserver.schedule.wall_clock import SECONDS_OF_A_DAY

ALL = (1 << SECONDS_OF_A_DAY) - 1
_HOUR, _MINUTE = 3600, 60


@lru_cache(maxsize=256)
def every(step: int) -> int:
    """From midnight on in steps that divide the day."""
    return ALL // ((1 << step) - 1)


def at(seconds: Iterable[int]) -> int:
    """These ones."""
    return shifted(1, seconds)


def between(first: int, last: int) -> int:
    """From one to another, both included; over midnight where the last is below the first."""
    if last < first:
        return between(first, SECONDS_OF_A_DAY - 1) | between(0, last)
    return ((1 << last - first + 1) - 1) << first


def of_hours(hours: Iterable[int]) -> int:
    """All seconds of these hours."""
    return shifted(between(0, _HOUR - 1), (hour * _HOUR for hour in hours))


def of_minutes(minutes: Iterable[int]) -> int:
    """All seconds of these minutes, of every hour."""
    return every(_HOUR) * shifted(between(0, _MINUTE - 1), (minute * _MINUTE for minute in minutes))


def of_seconds(seconds: Iterable[int]) -> int:
    """These seconds of every minute."""
    return every(_MINUTE) * at(seconds)


def shifted(bits: int, by: Iterable[int]) -> int:
    """The bits moved later by each of the numbers, all together; nothing goes past the end of the day."""
    moved = 0
    for number in by:
        moved |= bits << number
    return moved & ALL
