"""claimed → ended: one job's run, from its document to its outcome."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

import structlog

from jobserver.definition import Execution, JobDefinition
from jobserver.errors import DatabaseError, LockLost, ScheduleError
from jobserver.execution import Executor, Outcome
from jobserver.execution.outcome import SKIPPED, failed, interrupted
from jobserver.execution.run_log import UNKEPT, RunLogs, RunSink
from jobserver.job import CancelFlag, JobContext
from jobserver.runner.pulse.capacity import Capacity
from jobserver.runner.pulse.jobs import KnownJob, KnownJobs
from jobserver.runner.pulse.wakeups import Wakeups
from jobserver.store.documents import ClaimedJob, ProgressReport
from jobserver.store.views import moment

if TYPE_CHECKING:
    from jobserver.runner.pulse.lease import Lease

_log = structlog.get_logger("jobserver")


class Locks(Protocol):
    """Where the signs of life of a run are stored."""

    async def touch(self, job: ClaimedJob, *, lock_lifetime: timedelta, report: ProgressReport | None = None) -> bool:
        """Extend the run's lock from now, with a progress report or without; False when the lock is lost."""
        ...


class Lender(Protocol):
    """Who has the database handle that a job's `run` works with."""

    def lend(self, definition: JobDefinition) -> Any:
        """The handle: async for `async def run`, synchronous for `def run`."""
        ...


class Stop(StrEnum):
    """Why a run was stopped from outside."""

    LOCK_LOST = "lock lost"
    STUCK = "stuck"
    SHUTDOWN = "shutdown"


class Run:
    """One claimed document on its way; also the job's lifeline to its lock."""

    __slots__ = (
        *("_alive_at", "_context", "_databases", "_logs", "_monotonic", "_sink", "_store"),
        *(
            "began_at",
            "cancelled",
            "has_begun",
            "job",
            "known",
            "name",
            "run_id",
            "server",
            "stop",
            "stop_reason",
            "task",
        ),
    )

    def __init__(
        self,
        job: ClaimedJob,
        known: KnownJob,
        *,
        store: Locks,
        databases: Lender,
        server: str,
        monotonic: Callable[[], float],
        logs: RunLogs = UNKEPT,
    ) -> None:
        self.job, self.known, self.server = job, known, server
        self.name, self.run_id = job.name, job.run_id
        self._logs = logs
        self._sink: RunSink | None = None
        self._store, self._databases, self._monotonic = store, databases, monotonic
        self.began_at = self._alive_at = monotonic()
        self.cancelled = CancelFlag()
        self.has_begun = False
        self.stop: Stop | None = None
        self.stop_reason = ""
        self.task: asyncio.Task[None] | None = None
        self._context: JobContext | None = None

    @property
    def data(self) -> Any:
        """What was enqueued with the document; nothing, absent or null, is an empty mapping."""
        data = self.job.document.get("data")
        return {} if data is None else data

    @property
    def context(self) -> JobContext:
        """What the job may know of this run."""
        if self._context is None:
            job = self.job
            self._context = JobContext(
                name=job.name,
                job_id=job.id,
                run_id=job.run_id,
                attempt=job.attempt,
                fence=job.fence,
                idempotency_key=idempotency_key(job),
                scheduled_at=job.scheduled_at,
                server=self.server,
                last_completed_at=moment(job.document.get("lastCompletedAt")),
                cancelled=self.cancelled,
            )
        return self._context

    @property
    def sink(self) -> RunSink:
        """Its log, which begins with its first record."""
        if self._sink is None:
            self._sink = self._logs.open(self)
        return self._sink

    def end_log(self) -> None:
        """Whatever code of it still speaks is heard by the server's own log alone."""
        if self._sink is None:
            self._sink = UNKEPT
        else:
            self._sink.end()

    def database(self) -> Any:
        """The handle that this job's `run` works with."""
        return self._databases.lend(self.known.definition)

    async def touch(self) -> None:
        """Extend the lock. Raises LockLost."""
        await self._sign_of_life(None)

    async def report(self, total: float, current: float, message: str | None) -> None:
        """Store progress and extend the lock. Raises LockLost."""
        await self._sign_of_life(ProgressReport(total=total, current=current, message=message))

    def interrupt(self, stop: Stop, reason: str) -> None:
        """Tell the job to stop; the first reason stays."""
        if self.stop is None:
            self.stop, self.stop_reason = stop, reason
        self.cancelled.set()
        # A task that is cancelled before its first step never runs at all: nobody would settle it and free its slot.
        if self.task is not None and self.has_begun:
            self.task.cancel(reason)

    def elapsed(self) -> timedelta:
        """Since it began here."""
        return timedelta(seconds=self._monotonic() - self.began_at)

    def is_stuck(self) -> bool:
        """Whether its last sign of life is a whole lock lifetime ago."""
        return self._monotonic() - self._alive_at > self.known.settings.lock_lifetime.total_seconds()

    async def _sign_of_life(self, report: ProgressReport | None) -> None:
        if self.stop not in (Stop.LOCK_LOST, Stop.STUCK):
            sent_at = self._monotonic()
            lifetime = self.known.settings.lock_lifetime
            try:
                held = await self._store.touch(self.job, lock_lifetime=lifetime, report=report)
            except DatabaseError as error:
                # No reason for the run to fail: it has its lock until the lease or the lock lifetime is over.
                _log.warning("progress not stored", name=self.name, run=self.run_id, error=str(error))
                return
            if held:
                self._alive_at = sent_at
                return
            self.stop, self.stop_reason = Stop.LOCK_LOST, "another claim holds the document, or it was removed"
        self.cancelled.set()
        raise LockLost(self.job.name, self.job.id, self.stop_reason)


class Runs:
    """All runs of this server: begins them, hands each end to `settle`. `may_run` is asked before a recurring one."""

    def __init__(
        self,
        *,
        store: Locks,
        jobs: KnownJobs,
        capacity: Capacity,
        wakeups: Wakeups,
        lease: Lease,
        databases: Lender,
        executors: Mapping[Execution, Executor],
        may_run: Callable[[Run], Awaitable[bool]],
        settle: Callable[[Run, Outcome], None],
        monotonic: Callable[[], float],
        logs: RunLogs = UNKEPT,
    ) -> None:
        self._store, self._jobs, self._capacity = store, jobs, capacity
        self._wakeups, self._lease, self._databases = wakeups, lease, databases
        self._executors, self._may_run, self._settle = executors, may_run, settle
        self._monotonic, self._logs = monotonic, logs
        self._runs: dict[str, Run] = {}

    def __iter__(self) -> Iterator[Run]:
        return iter(list(self._runs.values()))

    def __len__(self) -> int:
        return len(self._runs)

    def begin(self, job: ClaimedJob) -> None:
        """Start the run of a document that was just claimed, or give the document back."""
        known = self._jobs.get(job.name)
        owner = job.document.get("lockedBy")
        if known is None or owner != self._lease.owner or not self._lease.holds():
            self._give_back(job, known)
            return
        run = self._run(job, known, owner)
        self._runs[job.run_id] = run
        run.task = asyncio.create_task(self._execute(run), name=f"{job.name} {job.run_id}")

    async def _execute(self, run: Run) -> None:
        run.has_begun = True
        outcome = await self._call(run) if run.stop is None else interrupted()
        del self._runs[run.job.run_id]
        self._capacity.ended(run.job.name)
        self._wakeups.nudge()
        self._settle(run, outcome)
        run.end_log()

    async def _call(self, run: Run) -> Outcome:
        definition = run.known.definition
        try:
            if run.job.recurring and not await self._may_run(run):
                return SKIPPED if run.stop is None else interrupted()
            return await self._executors[run.known.execution].call(definition, run)
        except ScheduleError as error:  # the recurrence of a task
            return failed(error)
        except asyncio.CancelledError as error:  # a second time
            return interrupted(error)

    def _give_back(self, job: ClaimedJob, known: KnownJob | None) -> None:
        if known is None:
            _log.warning("job given back", name=job.name, reason="its file was removed while it was claimed")
        run = self._run(job, known or _NOBODY, self._lease.owner)
        run.stop, run.stop_reason = Stop.SHUTDOWN, "not begun"
        self._capacity.ended(job.name)
        self._settle(run, interrupted())

    def _run(self, job: ClaimedJob, known: KnownJob, server: str) -> Run:
        return Run(
            job,
            known,
            store=self._store,
            databases=self._databases,
            server=server,
            monotonic=self._monotonic,
            logs=self._logs,
        )


def idempotency_key(job: ClaimedJob) -> str:
    """The same for every attempt at one occurrence: the document, and for a recurring one the occurrence's moment."""
    return f"{job.id}:{int(job.scheduled_at.timestamp() * 1000)}" if job.recurring else str(job.id)


_NOBODY: Any = None
