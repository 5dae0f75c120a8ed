"""Walks through real time, minute by minute or second by second: what fires is read off the clocks at every step.

It shares no code with the schedule, and no idea either: there the next named time is computed and placed in a zone;
here every moment is asked whether the clocks show a named time, or have just leapt over one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from tests.oracle.meaning import Meaning

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
SECOND = timedelta(seconds=1)

POLICIES = (None, "skip", "next_valid", "first", "both")


class Shown(NamedTuple):
    """What the clocks show at an instant: whether they have shown it before, and what they have just leapt over."""

    instant: datetime
    wall: datetime
    again: bool
    leapt: Sequence[datetime]


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Consecutive steps of real time."""

    zone: str
    step: timedelta
    shown: Sequence[Shown]

    @classmethod
    def around(cls, zone: str, change: datetime, *, step: timedelta, reach: timedelta) -> Window:
        """From as long before a change of clocks to as long after it."""
        info = ZoneInfo(zone)
        instants = [change - reach + n * step for n in range(2 * reach // step)]
        return cls(zone=zone, step=step, shown=list(_shown(instants, info, step)))


def _shown(instants: Sequence[datetime], info: ZoneInfo, step: timedelta) -> Iterator[Shown]:
    latest = instants[0].astimezone(info).replace(tzinfo=None, fold=0) - step  # the latest that the clocks have shown
    for instant in instants:
        wall = instant.astimezone(info).replace(tzinfo=None, fold=0)
        again = wall <= latest
        leapt = [] if again else [latest + n * step for n in range(1, (wall - latest) // step)]
        yield Shown(instant, wall, again, leapt)
        latest = max(latest, wall)


def changes(zone: str, year: int) -> list[datetime]:
    """The moments of a year at which the offset of the zone changes, to the minute."""
    info = ZoneInfo(zone)
    days = [datetime(year, 1, 1, tzinfo=UTC) + n * DAY for n in range(367)]
    offsets = [day.astimezone(info).utcoffset() for day in days]
    return [_change(info, days[n - 1], days[n]) for n in range(1, len(days)) if offsets[n] != offsets[n - 1]]


def _change(info: ZoneInfo, low: datetime, high: datetime) -> datetime:
    before = low.astimezone(info).utcoffset()
    minutes = [low + n * MINUTE for n in range((high - low) // MINUTE + 1)]
    return next(minute for minute in minutes if minute.astimezone(info).utcoffset() != before)


def fires(meaning: Meaning, policy: str | None, window: Window) -> list[datetime]:
    """Every fire in the window, by the rule of the policy."""
    if policy is None:
        policy = "real time" if meaning.follows_real_time else "next_valid"
    return sorted(set(_fires(meaning, policy, window)))


def _fires(meaning: Meaning, policy: str, window: Window) -> Iterator[datetime]:
    for instant, wall, again, leapt in window.shown:
        if meaning.names(wall) and (not again or policy in ("real time", "both")):
            yield instant
        if not leapt:
            continue
        if policy in ("next_valid", "both") and any(map(meaning.names, leapt)):
            yield instant
        if policy == "first":  # they run as they would have without the leap
            yield from (instant + (left_out - leapt[0]) for left_out in leapt if meaning.names(left_out))
