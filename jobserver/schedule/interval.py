"""Every so long from an anchor: the k-th fire is anchor + k x length, so lateness never adds up."""

from __future__ import annotations

from datetime import datetime, time, timedelta

from jobserver.errors import ConfigError, ScheduleError
from jobserver.lengths import parse_length
from jobserver.schedule.exclusion import Exclusion
from jobserver.schedule.zone import Zone

SHORTEST_INTERVAL = timedelta(seconds=1)
LONGEST_INTERVAL = timedelta(days=3650)


def settled_interval(value: object) -> timedelta:
    """An interval from one second to ten years, in whole milliseconds; ScheduleError for anything else."""
    try:
        return parse_length(value, field="schedule", at_least=SHORTEST_INTERVAL, at_most=LONGEST_INTERVAL)
    except ConfigError as error:
        raise ScheduleError(error.message) from None


def next_interval(length: timedelta, anchor: datetime, moment: datetime) -> datetime:
    """The first fire strictly after `moment`; never before the anchor, which is itself one."""
    # MongoDB keeps milliseconds: a finer fire would be stored as a moment before itself, and found a second time.
    anchor = whole_milliseconds(anchor)
    if moment < anchor:
        return anchor
    return anchor + ((moment - anchor) // length + 1) * length


def next_free_interval(
    length: timedelta, anchor: datetime, moment: datetime, zone: Zone, exclude: Exclusion
) -> datetime:
    """The first fire strictly after `moment` whose date in the zone is not excluded."""
    fire = next_interval(length, anchor, moment)
    while exclude.covers(day := zone.wall(fire).date()):
        midnight = datetime.combine(exclude.first_free(day), time())
        before = zone.first_moment(midnight) - timedelta(microseconds=1)
        # Clocks that go back over midnight show a date a second time: never search from before what was found.
        fire = next_interval(length, anchor, max(before, fire))
    return fire


def whole_milliseconds(moment: datetime) -> datetime:
    """The moment as MongoDB can store it, rounded down."""
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)
