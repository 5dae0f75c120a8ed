"""What `start` shows on a terminal once everything runs: where things are, which jobs there are, when each is due."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from io import StringIO

from rich.console import Console
from rich.text import Text

import jobserver
from jobserver.cli.answer import Screen
from jobserver.cli.commands.jobs import shown_schedule
from jobserver.errors import DatabaseError
from jobserver.settings import Settings, without_credentials
from jobserver.store.collections import CollectionNames
from jobserver.store.connection import sync_client
from jobserver.store.reader import Reader
from jobserver.words import due


def title(settings: Settings, *, workers: int) -> list[str]:
    """What is known before anything has begun."""
    rows = [("jobserver", jobserver.__version__), ("project", str(settings.project.root))]
    if workers > 1:
        rows.append(("workers", str(workers)))
    if settings.mongodb.uri is None:
        rows.append(("MongoDB", f"its own, data in {settings.project.data_dir.name}/"))
    return _lines(lambda console: _list_facts(console, rows))


def overview(settings: Settings, uri: str) -> list[str]:
    """What is known once everything runs."""
    rows = [("MongoDB", without_credentials(uri)), ("database", settings.mongodb.database)]

    def show(console: Console) -> None:
        _list_facts(console, rows)
        console.print()
        _list_jobs(Screen(console), settings, uri)

    return _lines(show)


def _lines(show: Callable[[Console], None]) -> list[str]:
    text = StringIO()
    plain = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
    show(Console(file=text, force_terminal=True, color_system=None if plain else "auto"))
    return text.getvalue().splitlines()


def _list_facts(console: Console, rows: Sequence[tuple[str, str]]) -> None:
    for name, value in rows:
        console.print(Text.assemble((f"{name:<10}", "bold"), value), soft_wrap=True, highlight=False)


def _list_jobs(screen: Screen, settings: Settings, uri: str) -> None:
    names = CollectionNames(jobs=settings.runner.config.db.collection)
    try:
        with sync_client(uri) as client:
            reader = Reader(client[settings.mongodb.database], names)
            jobs, now = [job for job in reader.jobs() if not job.missing_since], reader.now()
    except DatabaseError as error:
        screen.line(str(error), style="yellow")
        return
    if jobs:
        rows = [
            (job.name, shown_schedule(job), due(job.next_run_at, now) if job.enabled else "disabled") for job in jobs
        ]
        screen.table(("JOB", "SCHEDULE", "NEXT RUN"), rows)
    else:
        screen.line(f"no jobs yet: put a file into {settings.project.root / settings.project.jobs_dir}")
    screen.line()
