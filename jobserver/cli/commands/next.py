"""`next`: when a job, or any schedule that somebody writes, runs next.

What can be read as a schedule is one, and then nothing is loaded or asked that has to do with a database. What cannot
is taken for a job's name where it has the form of one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from jobserver.cli.answer import Answer
from jobserver.cli.commands.outlook import Outlook
from jobserver.cli.options import Where
from jobserver.errors import ConfigError, DatabaseError, ScheduleError, UnknownJob
from jobserver.schedule import Schedule, ScheduleKind
from jobserver.schedule.source import take_apart
from jobserver.words import due

if TYPE_CHECKING:
    from jobserver.store.views import JobView

_WORD = re.compile(r"[^\W\d][\w.-]*")
# The first word holds a colon that does not stand between digits, as the one of a time of day does.
_QUALIFIED = re.compile(r"\S*?(?:[^\s\d:]:[^\s:]|[^\s:]:[^\s\d:])")


def next_moments(where: Where, text: str, *, count: int, zone: str | None, dst: str | None) -> Answer:
    """Raises ScheduleError for a bad expression or zone, UnknownJob for a name that no job has, ConfigError."""
    try:
        schedule = Schedule.parse(text, zone, dst=dst)
    except ScheduleError as refused:
        if _QUALIFIED.match(text):
            return _of_job(where, text, count=count, zone=zone, dst=dst)
        if not _WORD.fullmatch(text) or _sets_out_to_be_a_schedule(text):
            raise
        try:
            return _of_job(where, text, count=count, zone=zone, dst=dst)
        except (UnknownJob, DatabaseError) as error:
            raise ScheduleError(f"{refused.message}; and as the name of a job: {error}") from None
    return _of_expression(schedule, count=count, zone=zone)


def _sets_out_to_be_a_schedule(text: str) -> bool:
    try:
        take_apart(text, None)
    except ScheduleError:
        return False
    return True


def _of_expression(schedule: Schedule, *, count: int, zone: str | None) -> Answer:
    counts_from_now = schedule.kind is ScheduleKind.INTERVAL
    remarks = ("counted from now; a job's interval counts from when it was set",) if counts_from_now else ()
    outlook = Outlook.of(schedule, now=datetime.now(UTC), count=count, zone=zone, remarks=remarks)
    return Answer(document={"name": None, **outlook.document()}, show=outlook.show)


def _of_job(where: Where, name: str, *, count: int, zone: str | None, dst: str | None) -> Answer:
    from jobserver.cli.session import session

    if dst is not None:
        raise ConfigError("--dst", "is for expressions; `jobserver schedule NAME EXPR --dst POLICY` changes a job's")
    with session(where) as opened:
        found, now = {job.name: job for job in opened.reader.jobs()}, opened.reader.now()
    if name not in found:
        raise UnknownJob(name, found)
    return _outlook_of(found[name], now=now, count=count, zone=zone)


def _outlook_of(job: JobView, *, now: datetime, count: int, zone: str | None) -> Answer:
    schedule = _in_force(job)
    anchor = job.anchor_at if job.schedule_key == schedule.key else None
    outlook = Outlook.of(schedule, now=now, count=count, anchor=anchor, zone=zone)
    outlook = replace(outlook, remarks=tuple(_remarks(job, outlook, anchor)))
    return Answer(
        document={
            "name": job.name,
            **outlook.document(),
            "enabled": job.enabled,
            "anchor_at": anchor,
            "next_run_at": job.next_run_at,
        },
        show=partial(outlook.show, title=job.name),
    )


def _in_force(job: JobView) -> Schedule:
    from jobserver.cli.commands.jobs import schedule_in_force

    stored, _ = schedule_in_force(job)
    try:
        return Schedule.parse(stored)
    except ScheduleError as error:
        raise ScheduleError(f"nothing that a server can follow is stored for {job.name}: {error.message}") from None


def _remarks(job: JobView, outlook: Outlook, anchor: datetime | None) -> Iterator[str]:
    from jobserver.cli.commands.jobs import troubles

    schedule = outlook.schedule
    if not job.enabled:
        yield f"it is disabled, so nothing of this runs; `jobserver enable {job.name}` switches it on"
    elif schedule.kind is ScheduleKind.INTERVAL and schedule.start is None and anchor is None:
        yield "counted from now, for no server has taken this schedule on yet"
    if job.next_run_at is not None and not _is_expected(job.next_run_at, outlook):
        yield f"due besides: {due(job.next_run_at, outlook.now)}; late by jitter, a retry, missed, or set by hand"
    yield from troubles(job, outlook.now)


def _is_expected(next_run_at: datetime, outlook: Outlook) -> bool:
    """Whether the job is due at the first of these moments, give or take its jitter."""
    if not outlook.fires:
        return False
    first = outlook.fires[0].moment
    return first <= next_run_at <= first + outlook.schedule.jitter
