"""A virtual clock for the tests of people who write jobs: three months in a second, and every run that happened.

    async with VirtualJobs([DailyReport], start=datetime(2026, 1, 1, tzinfo=UTC)) as jobs:
        await jobs.advance(timedelta(days=90))
        assert all(run.status == "completed" for run in jobs.runs("daily"))

    virtual_jobs  what a test enters: `async with`, or plain `with` where there is no event loop
    timeline      what it then holds: moves time on, asks for runs, looks at what happened
    server        the engine: due → claimed → executed → settled, one step of virtual time after the other
    queue         the job documents, in memory
    history       what happened to each: the runs
    roster        which jobs there are, under which settings and names
    databases     the database that jobs are lent, or why there is none

Schedules, time zones, misfire, overlaps, retries and endings are judged by the functions that a server judges with,
and the job's code is called by the same `execution` package. What is ours is time: a run takes none, unless the test
says how long, and runs are called one after another, in the order of virtual time and then of priority.

Not shown: what takes several servers or real time. Locks and leases, lost locks, stuck runs, crashes, cancelling from
outside, process-wide limits. No database driver is imported where no database is asked for.
"""

from __future__ import annotations

from jobserver.store.documents import ProgressReport
from jobserver.store.states import Status
from jobserver.testing.history import VirtualRun
from jobserver.testing.timeline import AsyncTimeline, SyncTimeline
from jobserver.testing.virtual_jobs import VirtualJobs

__all__ = ["AsyncTimeline", "ProgressReport", "Status", "SyncTimeline", "VirtualJobs", "VirtualRun"]
