"""`tasks` and `cancel`: job documents with a time of their own, and the end of one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from jobserver.cli.answer import Answer, Screen
from jobserver.cli.commands.run import require_heard_of
from jobserver.cli.commands.runs import require_status
from jobserver.cli.options import Where
from jobserver.cli.session import Session, session
from jobserver.client import SyncJobClient
from jobserver.errors import UnknownRun, UnknownTask
from jobserver.store.reader import id_of
from jobserver.store.states import Status
from jobserver.task import Task
from jobserver.words import NOTHING, due, one_line, value, when

RUN_ID = re.compile(r".+:\d+")
STOPPING = "runs; it was told to stop"
STATUSES = tuple(status.value for status in Status)


def tasks(where: Where, name: str | None, *, status: str | None, limit: int) -> Answer:
    """What `JobClient.schedule` has made, newest first. Raises UnknownJob, and ConfigError for a status of no task."""
    require_status(status, STATUSES, what="task")
    with session(where) as opened:
        found, now = _client(opened).tasks(name, status=status, limit=limit), opened.reader.now()
        if not found and name is not None:
            require_heard_of(opened, name)
    return Answer(document={"tasks": [_told(task) for task in found]}, show=lambda screen: _show(screen, found, now))


def cancel(where: Where, ids: Sequence[str]) -> Answer:
    """End tasks, or any job documents, for good; of `<id>:<number>` that run alone.

    Raises UnknownTask, UnknownRun, and DataError for a job's own schedule.
    """
    with session(where) as opened:
        client = _client(opened)
        runs = [each for each in ids if RUN_ID.fullmatch(each) and client.cancel_run(each)]
        ended = [_cancel(client, each) for each in ids if each not in runs]

    def show(screen: Screen) -> None:
        for run in runs:
            screen.line(f"{run}  {STOPPING}")
        for task in ended:
            screen.line(f"{task.id}  {task.name}  {_what_became_of(task)}")

    return Answer(document={"cancelled": [_told(task) for task in ended], "stopping": runs}, show=show)


def _cancel(client: SyncJobClient, id_: str) -> Task:
    try:
        return client.cancel(id_of(id_))
    except UnknownTask as error:
        raise UnknownRun(id_, "it does not run now") if RUN_ID.fullmatch(id_) else error from error


def _client(opened: Session) -> SyncJobClient:
    return SyncJobClient(opened.database, collection=opened.names.jobs)


def _what_became_of(task: Task) -> str:
    if task.status == Status.RUNNING:
        return STOPPING
    return task.status if task.status == Status.CANCELLED else f"had ended already: {task.status}"


def _told(task: Task) -> dict[str, Any]:
    fields: dict[str, Any] = {field: getattr(task, field) for field in Task.__slots__}
    recurrence = task.recurrence and task.recurrence.to_document()
    return {**fields, "id": str(task.id), "recurrence": recurrence, "recurrence_text": _recurrence(task)}


def _show(screen: Screen, found: Sequence[Task], now: datetime) -> None:
    if not found:
        screen.line("no tasks: JobClient.schedule makes them")
        return
    screen.table(("ID", "JOB", "STATUS", "RECURS", "NEXT RUN", "LAST RUN", "DATA"), [_row(each, now) for each in found])


def _row(task: Task, now: datetime) -> tuple[str, ...]:
    status = task.status
    if reason := task.cancel_reason or task.last_error:
        status = f"{status}: {one_line(reason, 60)}"
    upcoming = due(task.next_run_at, now)
    if task.next_run_at is None and task.start_after is not None and task.status not in (Status.CANCELLED,):
        upcoming = f"after {task.start_after}"
    return (
        str(task.id),
        task.name,
        status,
        _recurrence(task) or NOTHING,
        upcoming,
        when(task.last_run_at, now),
        value(task.data, 40),
    )


def _recurrence(task: Task) -> str | None:
    if not task.recurs:
        return None
    return task.recurrence.describe() if task.recurrence else "with the task before it"
