"""`runs`: what runs now and what ran before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime

from jobserver.cli.answer import Answer, Screen
from jobserver.cli.commands.run import require_heard_of
from jobserver.cli.options import Where
from jobserver.cli.session import session
from jobserver.errors import ConfigError, did_you_mean
from jobserver.store.states import ENDED, Status
from jobserver.store.views import RunView
from jobserver.words import NOTHING, one_line, took, value, when

STATUSES = tuple(status.value for status in (Status.RUNNING, *ENDED))


def runs(where: Where, name: str | None, *, status: str | None, limit: int) -> Answer:
    """The newest runs, of one job or of all. Raises UnknownJob, and ConfigError for a status that no run has."""
    require_status(status, STATUSES, what="run")
    with session(where) as opened:
        found, now = opened.reader.runs(name, status=status, limit=limit), opened.reader.now()
        if not found and name is not None:
            require_heard_of(opened, name)
    return Answer(document={"runs": [asdict(run) for run in found]}, show=lambda screen: _show(screen, found, now))


def require_status(status: str | None, known: Sequence[str], *, what: str) -> None:
    """Raise ConfigError for a status that nothing of this kind has."""
    if status is not None and status not in known:
        hint = did_you_mean(status, known)
        raise ConfigError("status", f"no {what} is {status!r}{hint}; known: {', '.join(known)}")


def _show(screen: Screen, found: Sequence[RunView], now: datetime) -> None:
    if not found:
        screen.line("no runs")
        return
    columns = ("JOB", "STATUS", "STARTED", "TOOK", "ATTEMPT", "RUN", "WHAT CAME OF IT")
    screen.table(columns, [_row(run, now) for run in found], whole=("RUN",))


def _row(run: RunView, now: datetime) -> tuple[str, ...]:
    said = run.error or run.reason
    outcome = one_line(said) if said else "" if run.result is None else value(run.result)
    attempt = NOTHING if run.attempt is None else str(run.attempt)
    return (run.name, run.status, when(run.started_at, now), took(run.duration), attempt, run.id, outcome)
