"""What `start` shows on a terminal once everything runs: where things are, which jobs there are, when each is due."""

from __future__ import annotations

from io import StringIO

from rich.console import Console

import jobserver
from jobserver.cli.answer import Screen
from jobserver.cli.commands.jobs import schedule_text
from jobserver.console.words import when
from jobserver.errors import DatabaseError
from jobserver.settings import Settings, without_credentials
from jobserver.store.collections import CollectionNames
from jobserver.store.connection import sync_client
from jobserver.store.reader import Reader


def header(settings: Settings, uri: str) -> list[str]:
    """Lines of text, in colour."""
    text = StringIO()
    console = Console(file=text, force_terminal=True)
    kind = "" if settings.mongodb.uri else f" (its own, data in {settings.project.data_dir.name}/)"
    rows = [
        ("jobserver", jobserver.__version__),
        ("project", str(settings.project.root)),
        ("MongoDB", f"{without_credentials(uri)}{kind}"),
        ("database", settings.mongodb.database),
    ]
    for name, value in rows:
        console.print(f"[bold]{name:<10}[/] {value}", highlight=False, soft_wrap=True)
    console.print()
    _list_jobs(Screen(console), settings, uri)
    return text.getvalue().splitlines()


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
            (job.name, schedule_text(job.schedule), when(job.next_run_at, now) if job.enabled else "disabled")
            for job in jobs
        ]
        screen.table(("JOB", "SCHEDULE", "NEXT RUN"), rows)
    else:
        screen.line(f"no jobs yet: put a file into {settings.project.root / settings.project.jobs_dir}")
    screen.line()
