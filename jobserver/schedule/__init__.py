"""Schedules: what somebody wrote → the moments it means. Pure: moments come in as arguments, no clock is ever read.

    source      what was written → kind, value and time zone, nothing judged
    value       Schedule: the judged value; asks the module of its kind
    cron        cron text in a zone → the next moment, daylight saving included
      expression  cron text → the days and times of day it names; croniter reads it
      dialect       one meaning whatever version of croniter reads it
      field         what each of the six fields can hold
      wall_clock  days and times of day → the next wall-clock time
      zone        wall-clock time ↔ moment, gaps and overlaps
    interval    every so long from an anchor, without drift
    moment      a datetime, ISO text or epoch milliseconds → the moment of `once`

croniter only *reads* fields here. Its own iteration gets daylight saving wrong, and some dates too, differently from
version to version; walking over wall-clock time and placing the result in a zone is ours.
"""

from jobserver.schedule.source import ScheduleKind
from jobserver.schedule.value import Schedule, ScheduleSource

__all__ = ["Schedule", "ScheduleKind", "ScheduleSource"]
