"""Cron against an oracle that walks real time minute by minute and shares no code with the schedule.

Expressions are made together with the sets of values they name, so the oracle reads no cron text either.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from zoneinfo import ZoneInfo

import pytest

from jobserver.schedule import Schedule

ZONES = (
    *("UTC", "Asia/Kathmandu", "America/New_York", "Europe/Berlin", "Europe/Dublin", "Australia/Lord_Howe"),
    *("Pacific/Chatham", "Antarctica/Troll", "Africa/Casablanca", "Pacific/Apia"),
    *("America/Sao_Paulo", "America/Havana", "America/Santiago", "Africa/Cairo", "Asia/Beirut"),  # around midnight
)
CASES_PER_WINDOW = 30
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)

Values = frozenset[int]
Shown = Sequence[tuple[datetime, datetime]]
"""Consecutive minutes of real time, each with what the clocks show."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Meaning:
    """A cron expression, and the values it names without anybody reading it."""

    expression: str
    minutes: Values
    hours: Values
    days: Values
    weekdays: Values  # 0 is Sunday
    follows_real_time: bool
    either_day: bool  # both a day of the month and a day of the week are named: either will do

    def names(self, wall: datetime) -> bool:
        if wall.minute not in self.minutes or wall.hour not in self.hours:
            return False
        by_day, by_weekday = wall.day in self.days, wall.isoweekday() % 7 in self.weekdays
        return by_day or by_weekday if self.either_day else by_day and by_weekday


def first_fire(meaning: Meaning, moment: datetime, shown: Shown) -> datetime | None:
    """By real time; or, for a fixed time, when the clocks show it or a later time for the first time."""
    latest = shown[0][1]
    for instant, wall in shown:
        if meaning.follows_real_time:
            due = meaning.names(wall)
        else:  # more than one minute where the clocks leapt, none where they repeat themselves
            due = any(meaning.names(latest + minute * MINUTE) for minute in range(1, 1 + (wall - latest) // MINUTE))
            latest = max(latest, wall)
        if due and instant > moment:
            return instant
    return None


def windows(zone: str, random: Random) -> list[Shown]:
    """The days around every change of clocks in three years (around the new year, where clocks never change)."""
    return [
        minutes_around(zone, change) for year in random.sample(range(2006, 2036), 3) for change in changes(zone, year)
    ]


def changes(zone: str, year: int) -> list[datetime]:
    info, new_year = ZoneInfo(zone), datetime(year, 1, 1, tzinfo=UTC)
    hours = [new_year + hour * HOUR for hour in range(24 * 365)]
    offsets = [hour.astimezone(info).utcoffset() for hour in hours]
    return [hours[index] for index in range(1, len(hours)) if offsets[index] != offsets[index - 1]] or [new_year]


def minutes_around(zone: str, change: datetime) -> Shown:
    info = ZoneInfo(zone)
    instants = [change - 3 * DAY + minute * MINUTE for minute in range(6 * DAY // MINUTE)]
    return [(instant, instant.astimezone(info).replace(tzinfo=None, fold=0)) for instant in instants]


def field(random: Random, low: int, high: int, *, mostly_star: bool) -> tuple[str, Values]:
    """The text of a field and the values it names."""
    every = range(low, high + 1)
    first, last = sorted(random.choices(every, k=2))
    step, chosen = random.choice((1, 2, 3, 5, 7)), random.sample(every, random.choice((1, 1, 2, 3)))
    return random.choice(
        [
            ("*", frozenset(every)),
            *([("*", frozenset(every))] * 12 if mostly_star else []),
            (f"*/{step}", frozenset(every[::step])),
            (f"{first}-{last}", frozenset(range(first, last + 1))),
            (f"{first}-{last}/{step}", frozenset(range(first, last + 1, step))),
            (f"{first}/{step}", frozenset(range(first, high + 1, step))),
            (",".join(map(str, chosen)), frozenset(chosen)),
        ]
    )


def meaning(random: Random) -> Meaning:
    minute_text, minutes = field(random, 0, 59, mostly_star=False)
    hour_text, hours = field(random, 0, 23, mostly_star=False)
    if random.random() < 0.4:  # one of the hours in which clocks change
        hour = random.randrange(4)
        hour_text, hours = str(hour), frozenset({hour})
    day_text, days = field(random, 1, 31, mostly_star=True)
    weekday_text, weekdays = field(random, 0, 6, mostly_star=True)
    return Meaning(
        expression=f"{minute_text} {hour_text} {day_text} * {weekday_text}",
        minutes=minutes,
        hours=hours,
        days=days,
        weekdays=weekdays,
        follows_real_time=minute_text[0] == "*" or hour_text[0] == "*",
        either_day=not {day_text, weekday_text} & {"*", "*/1"},
    )


@pytest.mark.parametrize("zone", ZONES)
def test_the_next_fire_is_the_one_that_a_walk_through_real_time_finds(zone: str) -> None:
    random = Random(zone)
    for shown in windows(zone, random):
        instants = [instant for instant, _ in shown]
        for _ in range(CASES_PER_WINDOW):
            case = meaning(random)
            # Somewhere from a day before the change to a few hours after it; often between two minutes.
            moment = instants[2 * DAY // MINUTE] + random.randrange(30 * 3600) * timedelta(seconds=1)
            start = bisect_right(instants, moment - 28 * HOUR)
            found = Schedule.parse(case.expression, zone).next_after(moment)
            expected = first_fire(case, moment, shown[start:])
            if expected is None:
                assert found is None or found > instants[-1], (case.expression, moment)
            else:
                assert found == expected, (case.expression, moment)
