"""The text of a calendar schedule → the wall-clock times it names: cron, or words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache

from jobserver.errors import ScheduleError
from jobserver.excerpt import excerpt
from jobserver.schedule.daylight import next_of_all
from jobserver.schedule.expression import LONGEST_EXPRESSION, canonical, read
from jobserver.schedule.wall_clock import WallClock
from jobserver.schedule.words import are_words, read_words
from jobserver.schedule.zone import Zone

_ANY_MOMENT = datetime(2000, 1, 1, tzinfo=UTC)


@lru_cache(maxsize=4096)
def settled_calendar(text: str, zone: Zone) -> str:
    """The canonical form of a text that fires some day in its zone; ScheduleError for any other."""
    settled = canonical(text)
    if next_of_all(clocks_of(settled), zone, _ANY_MOMENT) is None:
        raise ScheduleError(f"{excerpt(settled)} never fires: there is no such date and time in {zone.name}")
    return settled


def clocks_of(settled: str) -> tuple[WallClock, ...]:
    """The times that a canonical text names: all of what any of the clocks names."""
    if not are_words(settled):
        return (read(settled),)
    if len(settled) > LONGEST_EXPRESSION:
        raise ScheduleError(f"{excerpt(settled)} is longer than {LONGEST_EXPRESSION} characters")
    clocks = read_words(settled)
    assert not isinstance(clocks, timedelta)  # asked before: an exact interval is a kind of its own
    return clocks


def exact_interval(text: str) -> timedelta | None:
    """The length of "every 5 minutes", which names no time of day; None for every other text."""
    settled = canonical(text)
    if len(settled) > LONGEST_EXPRESSION or not are_words(settled):
        return None
    reading = read_words(settled)
    return reading if isinstance(reading, timedelta) else None
