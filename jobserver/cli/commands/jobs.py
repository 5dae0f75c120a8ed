"""`jobs`: every job, when it runs next and how it ran last."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from jobserver.cli.answer import Answer, Screen
from jobserver.cli.options import Where
from jobserver.cli.session import session
from jobserver.errors import ScheduleError
from jobserver.schedule import Schedule
from jobserver.store.views import JobView
from jobserver.words import NOTHING, due, relative, when


def jobs(where: Where) -> Answer:
    """Every job that a server has found so far."""
    with session(where) as opened:
        found, now = opened.reader.jobs(), opened.reader.now()
    return Answer(document={"jobs": [_document(job) for job in found]}, show=lambda screen: _show(screen, found, now))


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
    return {
        "name": job.name,
        "enabled": job.enabled,
        "schedule": job.schedule,
        "schedule_text": schedule_text(job.schedule),
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
        for trouble in _troubles(job, now):
            screen.line(f"{job.name}: {trouble}", style="yellow")


def _row(job: JobView, now: datetime) -> tuple[str, ...]:
    run = job.last_run
    ended = run.finished_at or run.started_at if run else None
    running = str(job.running or NOTHING) + (f" ({job.progress:.0f} %)" if job.progress is not None else "")
    return (
        job.name,
        "yes" if job.enabled else "no",
        schedule_text(job.schedule),
        due(job.next_run_at, now),
        run.status if run else NOTHING,
        relative(ended, now) if ended else "",
        running,
    )


def _troubles(job: JobView, now: datetime) -> list[str]:
    troubles = []
    if job.config_error:
        troubles.append(f"its configuration is not applied: {job.config_error}")
    if job.missing_since:
        troubles.append(f"its file is gone since {when(job.missing_since, now)}")
    if job.poison:
        troubles.append(f"given up after crashes; `jobserver retry --all {job.name}` tries again")
    return troubles
