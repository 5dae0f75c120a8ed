"""The schedule against the walk: the same fires in the same order, from any moment on."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice, pairwise
from random import Random
from typing import NamedTuple
from zoneinfo import available_timezones

from jobserver.errors import ScheduleError
from jobserver.schedule import Schedule
from tests.oracle.meaning import Meaning, any_meaning, cron, cron_with_seconds
from tests.oracle.walk import DAY, HOUR, MINUTE, POLICIES, SECOND, Window, changes, fires

YEARS = range(2000, 2041)
MOST_FIRES = 30

ZONES = sorted(
    name for name in available_timezones() if not name.startswith(("posix", "right", "localtime", "Factory"))
)


class Difference(NamedTuple):
    """What the schedule says, and what the walk found."""

    text: str
    zone: str
    policy: str | None
    after: datetime
    found: list[datetime]
    expected: list[datetime]

    def __str__(self) -> str:
        lists = [" ".join(f"{fire:%Y-%m-%dT%H:%M:%SZ}" for fire in fires[:5]) for fires in (self.found, self.expected)]
        what = f"{self.text!r} in {self.zone}, {self.policy}, after {self.after}"
        return f"{what}\n  found    {lists[0]}\n  expected {lists[1]}\n"


def windows(random: Random, zones: list[str]) -> Iterator[Window]:
    """Without end, zone by zone: around the changes of a random year, or the new year where it has none.

    One in eight goes second by second.
    """
    while True:
        for zone in random.sample(zones, len(zones)):
            year = random.choice(YEARS)
            for change in changes(zone, year) or [datetime(year, 1, 1, tzinfo=UTC)]:
                if random.random() < 0.125:
                    yield Window.around(zone, change, step=SECOND, reach=2 * HOUR)
                else:
                    yield Window.around(zone, change, step=MINUTE, reach=36 * HOUR)


def cases(random: Random, window: Window, count: int) -> Iterator[Difference | None]:
    """So many cases in one window: None where both agree."""
    for _ in range(count):
        meaning = cron_with_seconds(random) if window.step == SECOND else any_meaning(random)
        yield compare(meaning, random.choice(POLICIES), window, random)


def compare(meaning: Meaning, policy: str | None, window: Window, random: Random) -> Difference | None:
    """One case, from a random moment of the window on."""
    first, last = window.shown[0].instant, window.shown[-1].instant
    after = first + random.random() * (last - first)
    walked = fires(meaning, policy, window)
    expected = [fire for fire in walked[bisect_right(walked, after) :] if fire <= last][:MOST_FIRES]
    try:
        schedule = Schedule.parse(meaning.text, window.zone, dst=policy)
    except ScheduleError:
        found = []  # it never fires; then the walk finds nothing either
    else:
        found = list(islice(schedule.occurrences(after=after, until=last), MOST_FIRES))
    increasing = all(one < other for one, other in pairwise(found))
    if found == expected and increasing:
        return None
    return Difference(meaning.text, window.zone, policy, after, found, expected)


def rare_days(random: Random) -> Difference | None:
    """The next day that cron names, however far away: a walk day by day, at noon in UTC."""
    meaning = cron(random)
    day_fields = meaning.text.split(maxsplit=2)[2]
    start = datetime(random.choice(YEARS), random.randrange(1, 13), random.randrange(1, 29), 13, tzinfo=UTC)
    noons = (start.replace(hour=12) + n * DAY for n in range(1, 5000))
    expected = next(noon for noon in noons if meaning.names_day(noon))
    found = Schedule.parse(f"0 12 {day_fields}").next_after(start)
    return None if found == expected else Difference(day_fields, "UTC", None, start, [found or start], [expected])
