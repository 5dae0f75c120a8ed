"""Tasks: made, listed and cancelled by clients, in one sequence of steps with `await` or without."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import uuid4

from bson import ObjectId
from pymongo import DESCENDING, ReturnDocument
from pymongo.errors import PyMongoError

from jobserver.errors import ConfigError, DataError, ScheduleError, UnknownTask
from jobserver.excerpt import excerpt
from jobserver.schedule import Schedule, ScheduleSource
from jobserver.store import task_transitions
from jobserver.store.chains import NOTHING_YET, completion_of, follow, runs_again, settlement_of
from jobserver.store.connection import Document
from jobserver.store.enqueue import Request, due_at
from jobserver.store.queue import Desk
from jobserver.store.recurrence import read_recurrence, stored_moment
from jobserver.store.states import ENDED, Status
from jobserver.store.steps import Steps
from jobserver.store.stops import ask_to_stop
from jobserver.store.views import moment, text, whole
from jobserver.task import RETENTION, Task

MOST_LISTED = 10_000
BY_A_CLIENT = "a client"
CANCELLED = f"cancelled by {BY_A_CLIENT}"

UNDER_WAY: Document = {"lockToken": {"$gt": ""}}

Recurrence = ScheduleSource | bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRequest:
    """What `schedule` was asked for."""

    name: str
    data: Any = None
    start_at: datetime | None = None
    recurrence: Recurrence = None
    start_after: Any = None
    priority: int | None = None
    unique_key: str | None = None
    slots: int | None = None

    @property
    def parent(self) -> Any:
        """The id of the task before it."""
        return self.start_after.id if isinstance(self.start_after, Task) else self.start_after

    def at(self, timing: Document) -> Request:
        """The document to insert, with what says when it runs."""
        return Request(
            name=self.name,
            data=self.data,
            priority=self.priority,
            unique_key=self.unique_key,
            slots=self.slots,
            timing={"status": Status.SCHEDULED, "task": True, **timing},
        )


def schedule(desk: Desk, request: TaskRequest, session: Any) -> Steps[Task]:
    """Add a task, or find the active one with its unique key. Raises DataError, ScheduleError, UnknownTask."""
    yield from desk.know_the_time()
    if session is not None:
        yield from desk.keep_keys_unique()
    if request.parent is None:
        (id_,) = yield from desk.add([request.at(_own_timing(request, desk.clock.now()))], session)
    else:
        id_ = yield from _schedule_after(desk, request, session)
    return as_task((yield desk.jobs.find_one({"_id": id_}, session=session)))


def listed(desk: Desk, *, name: str | None, status: str | None, limit: int) -> Steps[list[Task]]:
    """Tasks, the newest first. Raises DataError."""
    if status is not None and status not in list(Status):
        raise DataError(f"status={status!r} is none of {', '.join(Status)}")
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= MOST_LISTED:
        raise DataError(f"limit={limit!r} is not a whole number from 1 to {MOST_LISTED}")
    which: Document = {"task": True}
    which |= {} if name is None else {"name": name}
    which |= {} if status is None else {"status": status}
    found = yield desk.jobs.find(which).sort("createdAt", DESCENDING).limit(limit).to_list()
    return [as_task(document) for document in found]


def cancel(desk: Desk, task: Any, session: Any) -> Steps[Task]:
    """It will not run again, nor what starts after it; the run under way is asked to end.

    Of a job's own schedule only the run under way. Raises UnknownTask, and DataError where there is none.
    """
    if session is not None:  # something may be scheduled after it in the same transaction
        yield from desk.keep_keys_unique()
    id_ = task.id if isinstance(task, Task) else task
    change = task_transitions.withdraw(
        settlement=f"cancelled:{uuid4().hex}", reason=CANCELLED, retention=RETENTION, stop=True
    )
    live = [{field: {"$ne": None}} for field in ("nextRunAt", "lockToken", "lockedAt", "follows")]
    waits_or_runs = {"_id": {"$eq": id_}, "type": {"$ne": "single"}, "$or": live}
    found = yield desk.jobs.find_one_and_update(
        waits_or_runs, change, return_document=ReturnDocument.AFTER, session=session
    )
    if found is None:  # it has ended, or never was
        found = yield desk.jobs.find_one({"_id": {"$eq": id_}}, session=session)
    if found is None:
        raise UnknownTask(id_)
    if found.get("type") == "single":
        asked = yield desk.jobs.update_one({"_id": {"$eq": id_}, **UNDER_WAY}, ask_to_stop(CANCELLED), session=session)
        if asked.matched_count:
            return as_task(found)
        raise DataError(
            f"{id_} is the schedule of job {found.get('name')!r}, which does not run now: set enabled to false in its "
            "configuration to end the schedule"
        )
    yield from _follow(desk, id_, session)
    return as_task(found)


def cancel_run(desk: Desk, run_id: str, session: Any) -> Steps[bool]:
    """Ask the server of this run to stop it, and no other run of its document; whether it was under way."""
    id_, _, fence = run_id.rpartition(":")
    if not (id_ and fence.isdecimal()):
        raise DataError(f"{excerpt(run_id)} is not the id of a run: it is <document id>:<number>, as in jobRuns")
    ids = [id_, ObjectId(id_)] if ObjectId.is_valid(id_) else [id_]
    this_run = {"_id": {"$in": ids}, "fence": int(fence), **UNDER_WAY}
    asked = yield desk.jobs.update_one(this_run, ask_to_stop(CANCELLED), session=session)
    return bool(asked.matched_count)


def as_task(document: Mapping[str, Any]) -> Task:
    """Read a job document; what a hand has left unreadable is None."""
    recurrence = document.get("recurrence")
    return Task(
        id=document["_id"],
        name=str(document.get("name")),
        data=document.get("data"),
        status=text(document.get("status")) or Status.QUEUED,
        priority=whole(document.get("priority")) or 0,
        created_at=moment(document.get("createdAt")),
        recurs=bool(recurrence),
        recurrence=_readable(recurrence),
        start_at=moment(document.get("startAt")),
        start_after=document.get("startAfter"),
        next_run_at=moment(document.get("nextRunAt")),
        last_run_at=moment(document.get("lastRunAt")),
        last_completed_at=moment(document.get("lastCompletedAt")),
        last_error=text(document.get("lastError")),
        cancel_reason=text(document.get("cancelReason")),
        run_count=whole(document.get("runCount")) or 0,
    )


def _own_timing(request: TaskRequest, now: datetime) -> Document:
    """When a task is due that waits for no other one."""
    if request.recurrence is True:
        raise DataError("recurrence=True repeats a task after each completion of another: give start_after= as well")
    start = None if request.start_at is None else due_at(Request(name=request.name, at=request.start_at), now=now)
    stated = {} if start is None else {"startAt": start}
    if request.recurrence is None or request.recurrence is False:
        return {**stated, "nextRunAt": stored_moment(start or now)}
    recurrence = read_recurrence(request.recurrence, start)
    first = recurrence.next_after(now, anchor=now)
    if first is None:
        raise ScheduleError("nothing is left of it: its last moment has passed", field="recurrence")
    timing = {**stated, "recurrence": recurrence.to_document(), "anchorAt": stored_moment(now)}
    if recurrence.jitter:
        timing["occurrenceAt"] = stored_moment(first)
    return {**timing, "nextRunAt": stored_moment(recurrence.jittered(first, random.random()))}


def _schedule_after(desk: Desk, request: TaskRequest, session: Any) -> Steps[Any]:
    """The parent is looked at first and last: an end in between is followed by whoever comes first."""
    if request.start_at is not None:
        raise DataError("give either start_at= or start_after=, not both")
    if request.recurrence not in (None, True, False):
        raise DataError("a task that starts after another has its schedule: recurrence=True repeats it with that one")
    parent = yield desk.jobs.find_one({"_id": {"$eq": request.parent}}, session=session)
    if parent is None:
        raise UnknownTask(request.parent)
    is_over = parent.get("status") in ENDED and not runs_again(parent)
    if is_over and parent["status"] != Status.COMPLETED:
        raise DataError(f"task {request.parent} has ended as {parent['status']}: what starts after it would never run")
    timing: Document = {"startAfter": request.parent, "follows": NOTHING_YET}
    if not is_over:
        timing |= {"follows": settlement_of(parent), "followsCompletion": completion_of(parent)}
    if request.recurrence:
        timing["recurrence"] = True
    (id_,) = yield from desk.add([request.at(timing)], session)
    try:
        yield from _follow(desk, request.parent, session)
    except PyMongoError:
        if session is not None:  # the caller's transaction is over
            raise
        # The task is stored, and the servers' own look does the rest: who is told that it failed would ask again.
    return id_


def _follow(desk: Desk, parent: Any, session: Any) -> Steps[set[str]]:
    return follow(desk.jobs, desk.runs, [parent], server=BY_A_CLIENT, retention=RETENTION, session=session)


def _readable(recurrence: Any) -> Schedule | None:
    try:
        return None if recurrence in (None, True, False) else read_recurrence(recurrence)
    except ConfigError:
        return None
