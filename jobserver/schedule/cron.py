"""The next moment of a cron expression in a time zone.

Debian cron's rule decides at a change of clocks. An expression whose minute or hour field starts with `*` follows real
time: what the gap leaves out does not run, what the overlap repeats runs again. Any other is a fixed wall-clock time,
which happens once whatever the clocks do: right after the gap, and in the first pass of the overlap.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache

from jobserver.errors import ScheduleError
from jobserver.excerpt import excerpt
from jobserver.schedule.expression import canonical, follows_real_time, read
from jobserver.schedule.wall_clock import SECOND, WallClock
from jobserver.schedule.zone import Zone

SEARCHED_YEARS = 41
"""The rarest date of the calendar, a fifth weekday of February, comes back after 40 years at the latest."""

_ANY_MOMENT = datetime(2000, 1, 1, tzinfo=UTC)


@lru_cache(maxsize=4096)
def settled_cron(text: str, zone: Zone) -> str:
    """The canonical form of a cron expression that fires some day in its zone; ScheduleError for any other."""
    expression = canonical(text)
    read(expression)
    if next_cron(expression, zone, _ANY_MOMENT) is None:
        raise ScheduleError(f"{excerpt(expression)} never fires: there is no such date and time in {zone.name}")
    return expression


def next_cron(expression: str, zone: Zone, moment: datetime) -> datetime | None:
    """The first fire of a canonical expression strictly after `moment`; None when none comes in 41 years."""
    clock = read(expression)
    if follows_real_time(expression):
        return _next_in_real_time(clock, zone, moment)
    return _next_fixed_time(clock, zone, moment)


def _next_fixed_time(clock: WallClock, zone: Zone, moment: datetime) -> datetime | None:
    wall = zone.wall(moment)
    last_year = wall.year + SEARCHED_YEARS
    if wall.fold:  # the second pass: every fixed time of the overlap had its turn in the first
        wall = zone.seam(wall).closes - SECOND
    next_wall = clock.after(wall, last_year)
    return None if next_wall is None else zone.first_moment(next_wall)


def _next_in_real_time(clock: WallClock, zone: Zone, moment: datetime) -> datetime | None:
    wall = zone.wall(moment)
    last_year = wall.year + SEARCHED_YEARS
    passes = zone.moments(wall)
    if len(passes) == 2 and not wall.fold:  # the first pass: its rest comes before the second begins
        seam = zone.seam(wall)
        next_wall = clock.after(wall, last_year)
        if next_wall is not None and next_wall < seam.closes:
            return zone.moments(next_wall)[0]
        wall = seam.opens - SECOND
        moment = seam.moment - timedelta(microseconds=1)
    while (next_wall := clock.after(wall, last_year)) is not None:
        fires = zone.moments(next_wall)
        for fire in fires:
            if fire > moment:
                return fire
        wall = next_wall if fires else zone.seam(next_wall).closes - SECOND  # not second by second through a gap
    return None
