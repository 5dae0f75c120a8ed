"""`check`: settings and job files, without a database."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jobserver.cli.answer import Answer, Screen
from jobserver.cli.options import Where
from jobserver.compose import runners
from jobserver.definition import JobDefinition, ScanProblem, ScanResult
from jobserver.scanner import Scanner
from jobserver.settings import Settings, load_settings
from jobserver.words import when


def check(where: Where) -> Answer:
    """Exit code 1 where anything is wrong. Raises ConfigError for bad settings."""
    settings = load_settings(where.config, flags=where.flags)
    runners.require(settings.runner.type)
    found, now = scan(settings), datetime.now(UTC)
    document = {
        "ok": not found.problems,
        "project": settings.project.root,
        "jobs": [_job(definition, now) for _, definition in sorted(found.definitions.items())],
        "problems": [_problem(problem) for problem in found.problems],
    }
    return Answer(
        document=document, show=lambda screen: _show(screen, settings, document, now), exit_code=bool(found.problems)
    )


def scan(settings: Settings) -> ScanResult:
    """One look at the job files of a project."""
    project = settings.project
    return Scanner(
        project_root=project.root,
        jobs_dir=project.jobs_dir,
        plugins_dir=project.plugins_dir,
        disabled_plugins=project.disabled_plugins,
    ).scan()


def _job(definition: JobDefinition, now: datetime) -> dict[str, Any]:
    schedule = definition.defaults.schedule
    return {
        "name": definition.name,
        "path": definition.path,
        "enabled": definition.defaults.enabled,
        "schedule": schedule.to_document(),
        "schedule_text": schedule.describe(),
        "next_run_at": next(iter(schedule.upcoming(1, after=now, anchor=now)), None),
    }


def _problem(problem: ScanProblem) -> dict[str, Any]:
    return {
        "path": problem.path,
        "line": line_of(problem),
        "job": problem.job_name,
        "message": problem.message.removeprefix(f"{problem.path}: "),
        "traceback": problem.traceback,
    }


def line_of(problem: ScanProblem) -> int | None:
    """The innermost line of the file itself, where the traceback has one."""
    lines = re.findall(rf'File "{re.escape(problem.path)}", line (\d+)', problem.traceback)
    return int(lines[-1]) if lines else None


def _show(screen: Screen, settings: Settings, document: dict[str, Any], now: datetime) -> None:
    jobs, problems, root = document["jobs"], document["problems"], settings.project.root
    if jobs:
        rows = [(job["name"], job["schedule_text"], _next(job, now), _shown(job["path"], root)) for job in jobs]
        screen.table(("JOB", "SCHEDULE", "NEXT RUN", "FILE"), rows)
    for problem in problems:
        line = f":{problem['line']}" if problem["line"] else ""
        screen.line(f"\n{_shown(problem['path'], root)}{line}: {problem['message']}", style="red")
        if problem["traceback"]:
            screen.line(problem["traceback"].rstrip())
    nothing = "" if jobs or problems else f"; put a job into {root / settings.project.jobs_dir}"
    screen.line(f"\n{_count(jobs, 'job')}, {_count(problems, 'problem')}{nothing}")


def _next(job: dict[str, Any], now: datetime) -> str:
    return when(job["next_run_at"], now) if job["enabled"] else "disabled"


def _shown(path: str, root: Path) -> str:
    """Below the project: relative to it, as an editor or a CI log links it."""
    return str(Path(path).relative_to(root)) if Path(path).is_relative_to(root) else path


def _count(things: list[Any], noun: str) -> str:
    return f"{len(things) or 'no'} {noun}{'' if len(things) == 1 else 's'}"
