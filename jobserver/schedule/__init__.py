"""Schedules: what somebody wrote → the moments it means. Pure: moments come in as arguments, no clock is ever read.

    source          what was written → kind, value, time zone and options, nothing judged
    value           Schedule: the judged value; asks the module of its kind
    calendar_text   cron text → the wall-clock times it names
      expression      cron text, read by croniter
        dialect         one meaning whatever version of croniter reads it
        field           what each of the six fields can hold
      wall_clock      days and times of day → the next wall-clock time
    daylight        wall-clock times in a zone → the next moment, whatever the clocks do
      zone            wall-clock time ↔ moment, gaps and overlaps
    interval        every so long from an anchor, without drift
    moment          a datetime, ISO text or epoch milliseconds → the moment of `once`
    options         dst, misfire, jitter, start and end, exclude: what stands beside a value
      misfire         what becomes of missed occurrences
      exclusion       dates without runs
    description     a schedule in words
    preview         the next moments for a person, with notes on changes of clocks

croniter only *reads* fields here. Its own iteration gets daylight saving wrong, and some dates too, differently from
version to version; walking over wall-clock time and placing the result in a zone is ours.
"""

from jobserver.schedule.daylight import DstPolicy
from jobserver.schedule.exclusion import Exclusion
from jobserver.schedule.misfire import Misfire, MisfireKind
from jobserver.schedule.preview import Fire
from jobserver.schedule.source import ScheduleKind
from jobserver.schedule.value import Schedule, ScheduleSource

__all__ = ["DstPolicy", "Exclusion", "Fire", "Misfire", "MisfireKind", "Schedule", "ScheduleKind", "ScheduleSource"]
