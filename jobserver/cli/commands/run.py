"""`run`: ask for one run, and stay with it if wanted."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from jobserver.cli.answer import Answer, Screen, screen
from jobserver.cli.options import Where
from jobserver.cli.session import Session, session
from jobserver.client import SyncJobClient
from jobserver.errors import DataError, UnknownJob
from jobserver.store.states import ENDED, Status
from jobserver.store.views import OccurrenceView
from jobserver.words import one_line, took, value

INTERRUPTED = 130
_FIRST_LOOK, _LATER_LOOKS = 0.05, 0.5  # seconds; a short run is seen to end at once, a long one costs little


def run(
    where: Where, name: str, *, data: str | None, slots: int | None, wait: bool, force: bool, as_json: bool
) -> Answer:
    """Enqueue; with `wait` the exit code says whether the run succeeded. Raises UnknownJob unless forced, DataError."""
    arguments = parsed(data)
    with session(where) as opened:
        if not force:
            require_known(opened, name)
        id_ = SyncJobClient(opened.database, collection=opened.names.jobs).enqueue(name, arguments, slots=slots)
        servers = sum(server.alive for server in opened.reader.servers())
        if not wait:
            return Answer(
                document={"id": id_, "name": name, "servers": servers},
                show=lambda out: _show_queued(out, name, id_, servers),
            )
        out = None if as_json else screen()
        if out is not None:
            _show_queued(out, name, id_, servers)
        return _followed(opened, name, id_, out)


def parsed(data: str | None) -> Any:
    """The value of `--data`. Raises DataError that shows where the JSON breaks."""
    if data is None:
        return None
    try:
        return json.loads(data)
    except ValueError as error:
        raise DataError(f'--data is not JSON: {error}; write --data \'{{"key": "value"}}\'') from None


def require_known(opened: Session, name: str) -> None:
    """Raise UnknownJob unless some server has found a job of this name."""
    known = opened.reader.job_names()
    if name not in known:
        raise UnknownJob(name, known)


def require_heard_of(opened: Session, name: str) -> None:
    """Raise UnknownJob for a name that means nothing here; one without a job may still have left runs, or wait."""
    if not opened.reader.has_left_traces(name):
        require_known(opened, name)


def _followed(opened: Session, name: str, id_: Any, out: Screen | None) -> Answer:
    try:
        ended = _await_end(opened, id_, out)
    except KeyboardInterrupt:
        return Answer(
            document={"id": id_, "name": name, "status": None},
            show=lambda screen: screen.line(f"no longer waiting; the run goes on: jobserver runs {name}"),
            exit_code=INTERRUPTED,
        )
    if ended is None:
        return Answer(
            document={"id": id_, "name": name, "status": None},
            show=lambda screen: screen.line(f"{name} {id_} was removed before it ended", style="red"),
            exit_code=1,
        )
    return Answer(
        document={
            "id": id_,
            "name": name,
            "status": ended.status,
            "duration": ended.duration,
            "result": ended.result,
            "error": ended.error,
            "reason": ended.cancel_reason,
        },
        show=lambda screen: _show_end(screen, name, ended),
        exit_code=0 if ended.status == Status.COMPLETED else 1,
    )


def _await_end(opened: Session, id_: Any, out: Screen | None) -> OccurrenceView | None:
    """Look again and again; a little later each time."""
    pause, told = _FIRST_LOOK, ""
    while True:
        found = opened.reader.occurrence(id_)
        if found is None or (found.status in ENDED and found.next_run_at is None):
            return found
        if out is not None and (now := _where_it_is(found)) != told:
            told = now
            out.line(f"  {told}")
        time.sleep(pause)
        pause = min(pause * 1.5, _LATER_LOOKS)


def _where_it_is(found: OccurrenceView) -> str:
    if found.status == Status.RUNNING:
        percent = f" {found.progress:.0f} %" if found.progress is not None else ""
        return f"running{percent} {found.progress_message or ''}".rstrip()
    if found.error:
        return f"{found.status}, it failed: {one_line(found.error)}"
    return found.status


def _show_queued(out: Screen, name: str, id_: Any, servers: int) -> None:
    out.line(f"queued {name} {id_}")
    if not servers:
        out.line("  no server is running: it waits for `jobserver start`", style="yellow")
    sys.stdout.flush()


def _show_end(screen: Screen, name: str, ended: OccurrenceView) -> None:
    if ended.status == Status.COMPLETED:
        result = "" if ended.result is None else f": {value(ended.result)}"
        screen.line(f"{name} completed in {took(ended.duration)}{result}", style="green")
    else:
        said = ended.cancel_reason if ended.status == Status.CANCELLED else ended.error
        reason = f": {said}" if said else ""
        screen.line(f"{name} {ended.status} after {took(ended.duration)}{reason}", style="red")
