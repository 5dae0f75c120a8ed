"""Which schedule a recurring document follows: its own, Pulse's, or that of its job."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, NamedTuple

from jobserver.runner.pulse.foreign import own_recurrence
from jobserver.schedule import Schedule
from jobserver.store.documents import ClaimedJob
from jobserver.store.expressions import BEGINNING
from jobserver.store.recurrence import stored_recurrence

_MILLISECOND = timedelta(milliseconds=1)


class Recurrence(NamedTuple):
    """A schedule and the moment from which its intervals count; `foreign` where another program owns it."""

    schedule: Schedule
    anchor: datetime
    foreign: bool = False

    def after(self, moment: datetime) -> datetime | None:
        """The first occurrence after a moment."""
        return self.schedule.next_after(moment, anchor=self.anchor)

    def has(self, moment: datetime) -> bool:
        """Whether this is one of its moments; a hand may have made the document due at any other."""
        return moment > BEGINNING and self.after(moment - _MILLISECOND) == moment


def recurrence(job: ClaimedJob, schedule: Schedule) -> Recurrence | None:
    """What this document follows, None for one that does not recur; `schedule` is that of its job.

    Raises ScheduleError for a task whose own recurrence cannot be read.
    """
    if not job.recurring:
        return None
    anchor: Any = job.document.get("anchorAt")
    anchor = anchor if isinstance(anchor, datetime) else job.scheduled_at
    if is_task(job):
        return Recurrence(stored_recurrence(job.document["recurrence"]), anchor)
    foreign = own_recurrence(job.document)
    if foreign is not None:
        return Recurrence(foreign, job.scheduled_at, foreign=True)
    return Recurrence(schedule, anchor)


def is_task(job: ClaimedJob) -> bool:
    """Whether the document recurs by itself, whatever the schedule of its job."""
    return job.document.get("type") != "single" and bool(job.document.get("recurrence"))
