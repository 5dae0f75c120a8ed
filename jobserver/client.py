"""Light clients that ask for jobs: no scan, no server, no wait. One on an AsyncDatabase, one on a Database.

    client = JobClient(db)
    await client.enqueue("api:report", {"month": "2026-11"}, delay=timedelta(minutes=5))

Documents are dated with MongoDB's clock and carry the job's priority as its `jobConfigs` document states it, so the
machine that asks needs neither the right time nor the job's code.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.client_session import ClientSession
from pymongo.database import Database

from jobserver.completion import Patience
from jobserver.errors import DefinitionError
from jobserver.one_off import OneOff, OneOffState
from jobserver.schedule import ScheduleSource
from jobserver.store import one_offs, tasks
from jobserver.store.collections import CollectionNames
from jobserver.store.enqueue import Request
from jobserver.store.one_offs import OneOffRequest
from jobserver.store.queue import AsyncQueue, SyncQueue
from jobserver.store.steps import Result, Steps
from jobserver.store.tasks import TaskRequest
from jobserver.task import Task

TASK_NOT_CANCELLED = "the task could not be cancelled"
NO_ONE_OFF = "the one-off job could not be added or read"
NO_CODE = (
    "a client hands no code over: name it as 'package.module:function', or by the path of its file; a function itself "
    "is for the server's own add_one_off_job"
)
RUN_NOT_CANCELLED = "the run could not be cancelled"


class JobClient:
    """For asyncio. Raises DataError for what cannot be stored, DatabaseError when MongoDB is away."""

    def __init__(self, database: AsyncDatabase[Any], *, collection: str = CollectionNames().jobs) -> None:
        self._queue = AsyncQueue(database, CollectionNames(jobs=collection))

    async def enqueue(
        self,
        name: str,
        data: Any = None,
        *,
        at: datetime | None = None,
        delay: timedelta | None = None,
        priority: int | None = None,
        unique_key: str | None = None,
        slots: int | None = None,
        session: AsyncClientSession | None = None,
    ) -> Any:
        """Ask for one run; returns the document's id.

        While a document with the same name and `unique_key` waits or runs, its id is returned and nothing is added.
        `slots` is how many of a server's `available_slots` the run takes, where that is not the job's usual number.
        With `session` the document becomes visible when the caller's transaction commits, or never.
        """
        request = Request(
            name=name, data=data, at=at, delay=delay, priority=priority, unique_key=unique_key, slots=slots
        )
        return (await self._queue.add([request], session=session))[0]

    async def enqueue_many(
        self,
        jobs: Iterable[tuple[str, Any]],
        *,
        at: datetime | None = None,
        delay: timedelta | None = None,
        priority: int | None = None,
        slots: int | None = None,
        session: AsyncClientSession | None = None,
    ) -> list[Any]:
        """Ask for many runs in few commands; returns the documents' ids in the same order."""
        return await self._queue.add(
            requests(jobs, at=at, delay=delay, priority=priority, slots=slots), session=session
        )

    async def schedule(
        self,
        name: str,
        data: Any = None,
        *,
        start_at: datetime | None = None,
        recurrence: ScheduleSource | bool | None = None,
        start_after: Task | Any = None,
        priority: int | None = None,
        unique_key: str | None = None,
        slots: int | None = None,
        session: AsyncClientSession | None = None,
    ) -> Task:
        """Ask for a task: runs of `name` with these arguments, at a moment, again and again, or after another task.

        `start_at` alone is one run, not before that moment. `recurrence` is any schedule that recurs (cron, words, a
        length), with its time zone, misfire policy and so on where it is a Schedule or a mapping; an interval counts
        from `start_at`, or from now. `start_after` is a task, or the id of any job document: one run once it has
        completed, with recurrence=True one after each of its completions; when it fails or is cancelled, so is this.
        While a task with the same name and `unique_key` is active, that one is returned as it is. Raises DataError,
        ScheduleError, and UnknownTask where there is nothing to start after.
        """
        request = TaskRequest(
            name=name,
            data=data,
            start_at=start_at,
            recurrence=recurrence,
            start_after=start_after,
            priority=priority,
            unique_key=unique_key,
            slots=slots,
        )
        return await self._queue.carry_out(tasks.schedule(self._queue.desk, request, session), session=session)

    async def tasks(self, name: str | None = None, *, status: str | None = None, limit: int = 100) -> list[Task]:
        """What `schedule` has made, the newest first: all of it, of one job, or in one status. Raises DataError."""
        return await self._queue.carry_out(
            tasks.listed(self._queue.desk, name=name, status=status, limit=limit), failed="tasks could not be read"
        )

    async def cancel(self, task: Task | Any, *, session: AsyncClientSession | None = None) -> Task:
        """End a task, or any job document by its id, for good, and with it what waits to start after it.

        A run that is under way is the last. It is told to stop, and is stopped after a grace period if it does not
        listen. What has ended already is returned as it is. Of the document that holds a job's own schedule only the
        run under way is cancelled; where there is none, DataError is raised. Raises UnknownTask, too.
        """
        return await self._queue.carry_out(
            tasks.cancel(self._queue.desk, task, session), session=session, failed=TASK_NOT_CANCELLED
        )

    async def cancel_run(self, run_id: str, *, session: AsyncClientSession | None = None) -> bool:
        """Stop one run by its id (`context.run_id`, `_id` in `jobRuns`), as `cancel` does; whether it was under way.

        Its document goes on: a recurring job or task comes again at its next moment. Raises DataError where that is no
        id of a run.
        """
        return await self._queue.carry_out(
            tasks.cancel_run(self._queue.desk, run_id, session), session=session, failed=RUN_NOT_CANCELLED
        )

    async def add_one_off_job(
        self, *, name: str, job: str | Path | None = None, data: Any = None, at: Any = None
    ) -> OneOff:
        """Ask for a job that runs at most once ever by its name, whoever asks, wherever.

        `job` is a path to a .py file or "package.module:function", as the servers find it, or the name of a job that
        they know; None is the job of that very name. Raises AlreadyAdded unless the one there is has failed or was
        cancelled: then it is queued again.
        """
        request = one_off_request(name, job, data, at)
        return await self._one_off(one_offs.ask(self._queue.desk, request))

    async def one_off(self, name: str) -> OneOff:
        """How far a one-off has come. Raises UnknownJob."""
        return await self._one_off(one_offs.read(self._queue.desk, name))

    async def await_completion(self, name: str, timeout: float | None = None) -> OneOff:
        """Wait until a one-off has finished, failed or been cancelled; `timeout` in seconds, None for ever.

        Raises UnknownJob, CompletionTimeout.
        """
        patience = Patience(timeout)
        while True:
            one_off = await self.one_off(name)
            if one_off.has_ended:
                return one_off
            await asyncio.sleep(patience.pause(one_off))

    async def has_executed_successfully(self, name: str) -> bool:
        """Whether a one-off of that name was added, and has neither failed nor been cancelled."""
        found = await self._one_off(one_offs.find(self._queue.desk, name))
        return found is not None and found.has_succeeded_so_far

    async def has_finished(self, name: str) -> bool:
        """Whether a one-off of that name has run, and all went well."""
        found = await self._one_off(one_offs.find(self._queue.desk, name))
        return found is not None and found.state is OneOffState.FINISHED

    async def _one_off(self, steps: Steps[Result]) -> Result:
        return await self._queue.carry_out(steps, failed=NO_ONE_OFF)


class SyncJobClient:
    """The same for code without an event loop."""

    def __init__(self, database: Database[Any], *, collection: str = CollectionNames().jobs) -> None:
        self._queue = SyncQueue(database, CollectionNames(jobs=collection))

    def enqueue(
        self,
        name: str,
        data: Any = None,
        *,
        at: datetime | None = None,
        delay: timedelta | None = None,
        priority: int | None = None,
        unique_key: str | None = None,
        slots: int | None = None,
        session: ClientSession | None = None,
    ) -> Any:
        """Ask for one run; see JobClient.enqueue."""
        request = Request(
            name=name, data=data, at=at, delay=delay, priority=priority, unique_key=unique_key, slots=slots
        )
        return self._queue.add([request], session=session)[0]

    def enqueue_many(
        self,
        jobs: Iterable[tuple[str, Any]],
        *,
        at: datetime | None = None,
        delay: timedelta | None = None,
        priority: int | None = None,
        slots: int | None = None,
        session: ClientSession | None = None,
    ) -> list[Any]:
        """Ask for many runs; see JobClient.enqueue_many."""
        return self._queue.add(requests(jobs, at=at, delay=delay, priority=priority, slots=slots), session=session)

    def schedule(
        self,
        name: str,
        data: Any = None,
        *,
        start_at: datetime | None = None,
        recurrence: ScheduleSource | bool | None = None,
        start_after: Task | Any = None,
        priority: int | None = None,
        unique_key: str | None = None,
        slots: int | None = None,
        session: ClientSession | None = None,
    ) -> Task:
        """Ask for a task; see JobClient.schedule."""
        request = TaskRequest(
            name=name,
            data=data,
            start_at=start_at,
            recurrence=recurrence,
            start_after=start_after,
            priority=priority,
            unique_key=unique_key,
            slots=slots,
        )
        return self._queue.carry_out(tasks.schedule(self._queue.desk, request, session), session=session)

    def tasks(self, name: str | None = None, *, status: str | None = None, limit: int = 100) -> list[Task]:
        """What `schedule` has made; see JobClient.tasks."""
        return self._queue.carry_out(
            tasks.listed(self._queue.desk, name=name, status=status, limit=limit), failed="tasks could not be read"
        )

    def cancel(self, task: Task | Any, *, session: ClientSession | None = None) -> Task:
        """End a task for good; see JobClient.cancel."""
        return self._queue.carry_out(
            tasks.cancel(self._queue.desk, task, session), session=session, failed=TASK_NOT_CANCELLED
        )

    def cancel_run(self, run_id: str, *, session: ClientSession | None = None) -> bool:
        """Stop one run by its id; see JobClient.cancel_run."""
        return self._queue.carry_out(
            tasks.cancel_run(self._queue.desk, run_id, session), session=session, failed=RUN_NOT_CANCELLED
        )

    def add_one_off_job(self, *, name: str, job: str | Path | None = None, data: Any = None, at: Any = None) -> OneOff:
        """Ask for a one-off job; see JobClient.add_one_off_job."""
        request = one_off_request(name, job, data, at)
        return self._one_off(one_offs.ask(self._queue.desk, request))

    def one_off(self, name: str) -> OneOff:
        """How far a one-off has come. Raises UnknownJob."""
        return self._one_off(one_offs.read(self._queue.desk, name))

    def await_completion(self, name: str, timeout: float | None = None) -> OneOff:
        """Wait for the end of a one-off; see JobClient.await_completion."""
        patience = Patience(timeout)
        while not (one_off := self.one_off(name)).has_ended:
            time.sleep(patience.pause(one_off))
        return one_off

    def has_executed_successfully(self, name: str) -> bool:
        """Whether a one-off of that name was added, and has neither failed nor been cancelled."""
        found = self._one_off(one_offs.find(self._queue.desk, name))
        return found is not None and found.has_succeeded_so_far

    def has_finished(self, name: str) -> bool:
        """Whether a one-off of that name has run, and all went well."""
        found = self._one_off(one_offs.find(self._queue.desk, name))
        return found is not None and found.state is OneOffState.FINISHED

    def _one_off(self, steps: Steps[Result]) -> Result:
        return self._queue.carry_out(steps, failed=NO_ONE_OFF)


def requests(
    jobs: Iterable[tuple[str, Any]],
    *,
    at: datetime | None,
    delay: timedelta | None,
    priority: int | None,
    slots: int | None,
) -> list[Request]:
    """One request for each (name, data)."""
    return [Request(name=name, data=data, at=at, delay=delay, priority=priority, slots=slots) for name, data in jobs]


def one_off_request(name: str, job: str | Path | None, data: Any, at: Any) -> OneOffRequest:
    """What a client may ask for: code that a server finds. Raises DataError, DefinitionError."""
    from jobserver.scanner.handlers.references import is_reference, stored_reference

    one_offs.check_one_off(name, at=at, data=data)
    if job is None:
        return OneOffRequest(name=name, data=data, by_name=True)
    if not is_reference(job):
        raise DefinitionError(path=name, message=NO_CODE)
    try:
        handler = stored_reference(job)
    except DefinitionError:
        if isinstance(job, Path):
            raise
        handler = None  # the name of a job then
    return OneOffRequest(name=name, data=data, job=str(job), handler=handler)
