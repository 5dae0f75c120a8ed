"""`jobs`: every job, when it runs next and how it ran last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from jobserver.cli.answer import Answer, Screen
from jobserver.cli.options import Where
from jobserver.cli.session import session
from jobserver.errors import ScheduleError
from jobserver.schedule import Schedule
from jobserver.store.views import JobView, UnknownName
from jobserver.words import NOTHING, due, relative, when


def jobs(where: Where) -> Answer:
    """Every job that a server has found so far, and what waits for a job that none has found."""
    with session(where) as opened:
        found, unknown, now = opened.reader.jobs(), opened.reader.unknown_names(), opened.reader.now()
    document = {"jobs": [_document(job) for job in found], "unknown_names": [asdict(each) for each in unknown]}

    def show(screen: Screen) -> None:
        _show(screen, found, now)
        show_unknown_names(screen, unknown, now)

    return Answer(document=document, show=show)


def schedule_in_force(job: JobView) -> tuple[Any, bool]:
    """The schedule that the servers follow, and whether the document holds another one that they refuse."""
    if job.schedule is None or is_schedule(job.schedule):
        return job.schedule, False
    return job.applied_schedule, True


def shown_schedule(job: JobView) -> str:
    """The schedule in force, in words, marked where an edit of it is refused."""
    schedule, refused = schedule_in_force(job)
    return schedule_text(schedule) + (" (!) edit refused" if refused else "")


def troubles(job: JobView, now: datetime) -> list[str]:
    """What is wrong with a job, a sentence each."""
    troubles = []
    if job.config_error:
        troubles.append(f"an edit of its configuration is refused, what was in force stays: {job.config_error}")
    if job.missing_since:
        troubles.append(f"its file is gone since {when(job.missing_since, now)}")
    if job.poison:
        troubles.append(f"given up after crashes; `jobserver retry --all {job.name}` tries again")
    return troubles


def show_unknown_names(screen: Screen, unknown: Sequence[UnknownName], now: datetime) -> None:
    """What nobody here will run."""
    if unknown:
        total = sum(each.waiting for each in unknown)
        waits = "1 document waits" if total == 1 else f"{total} documents wait"
        screen.line(f"\n{waits} for jobs that no server knows:", style="yellow")
        rows = [(each.name, str(each.waiting), due(each.due_at, now)) for each in unknown]
        screen.table(("NAME", "WAITING", "NEXT RUN"), rows)


def is_schedule(schedule: Any) -> bool:
    """Whether a server can follow it."""
    try:
        Schedule.parse(schedule)
    except ScheduleError:
        return False
    return True


def schedule_text(schedule: Any) -> str:
    """A stored schedule in words, whatever stands there."""
    if schedule is None:
        return "its default"
    try:
        return Schedule.parse(schedule).describe()
    except ScheduleError as error:
        return f"invalid: {error.message}"


def _document(job: JobView) -> dict[str, Any]:
    run = job.last_run
    schedule, refused = schedule_in_force(job)
    return {
        "name": job.name,
        "enabled": job.enabled,
        "schedule": schedule,
        "schedule_text": schedule_text(schedule),
        "refused_schedule": job.schedule if refused else None,
        "next_run_at": job.next_run_at,
        "running": job.running,
        "progress": job.progress,
        "last_run": {
            "id": run.id,
            "status": run.status,
            "started_at": run.started_at,
            "finished_at": run.finished_at,
            "duration": run.duration,
            "error": run.error,
        }
        if run
        else None,
        "config_error": job.config_error,
        "missing_since": job.missing_since,
        "poison": job.poison,
    }


def _show(screen: Screen, found: Sequence[JobView], now: datetime) -> None:
    if not found:
        screen.line("no jobs yet: `jobserver start` looks for them in jobs/ and plugins/")
        return
    columns = ("JOB", "ENABLED", "SCHEDULE", "NEXT RUN", "LAST RUN", "", "RUNNING")
    screen.table(columns, [_row(job, now) for job in found])
    for job in found:
        for trouble in troubles(job, now):
            screen.line(f"{job.name}: {trouble}", style="yellow")


def _row(job: JobView, now: datetime) -> tuple[str, ...]:
    run = job.last_run
    ended = run.finished_at or run.started_at if run else None
    running = str(job.running or NOTHING) + (f" ({job.progress:.0f} %)" if job.progress is not None else "")
    return (
        job.name,
        "yes" if job.enabled else "no",
        shown_schedule(job),
        due(job.next_run_at, now),
        run.status if run else NOTHING,
        relative(ended, now) if ended else "",
        running,
    )
