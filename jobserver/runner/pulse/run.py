"""One claimed document on its way, as the runner and the job's code see it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from enum import StrEnum
from typing import Any, Protocol

import structlog

from jobserver.definition import JobDefinition
from jobserver.ending import heeding
from jobserver.errors import DatabaseError, LockLost
from jobserver.execution import Executor
from jobserver.execution.run_log import UNKEPT, RunLogs, RunSink
from jobserver.job import CancelFlag, JobContext
from jobserver.runner.pulse.jobs import KnownJob
from jobserver.store.documents import ClaimedJob, ProgressReport, StopStep
from jobserver.store.views import moment

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
    """Why a run was stopped from outside.

    The first three are no word on the work: its document is another claim's, or goes back to the queue.
    """

    LOCK_LOST = "lock lost"
    STUCK = "stuck"
    SHUTDOWN = "shutdown"
    CANCELLED = "cancelled"
    OVERTIME = "over its time"


class Run:
    """One claimed document on its way; also the job's lifeline to its lock."""

    __slots__ = (
        *("_alive_at", "_context", "_databases", "_logs", "_monotonic", "_sink", "_store"),
        *("began_at", "cancelled", "executor", "given_up", "has_begun", "job", "known", "name", "run_id", "server"),
        *("overtime", "steps", "stop", "stop_reason", "task", "timers"),
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
        self.steps: tuple[StopStep, ...] = ()
        self.timers: tuple[asyncio.TimerHandle, ...] = ()  # of the steps ahead
        self.overtime: asyncio.TimerHandle | None = None
        self.task: asyncio.Task[None] | None = None
        self.executor: Executor | None = None  # while it has the call
        self.given_up = False
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

    def mark(self, stop: Stop, reason: str) -> None:
        """It is to stop. The first reason stays, but for a lost lock: nothing that the run comes to counts then."""
        if self.stop is None or stop is Stop.LOCK_LOST:
            self.stop, self.stop_reason = stop, reason
        self.cancelled.set()

    def elapsed(self) -> timedelta:
        """Since it began here."""
        return timedelta(seconds=self._monotonic() - self.began_at)

    @property
    def alive_until(self) -> float:
        """When its lock ends unless it gives a sign of life; counted from when the last one was sent."""
        return self._alive_at + self.known.settings.lock_lifetime.total_seconds()

    def is_stuck(self) -> bool:
        """Whether its last sign of life is a whole lock lifetime ago."""
        return self._monotonic() > self.alive_until

    async def _sign_of_life(self, report: ProgressReport | None) -> None:
        if self.stop not in (Stop.LOCK_LOST, Stop.STUCK) and not self.given_up:
            sent_at = self._monotonic()
            lifetime = self.known.settings.lock_lifetime
            try:
                held = await heeding(self._store.touch(self.job, lock_lifetime=lifetime, report=report))
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


def idempotency_key(job: ClaimedJob) -> str:
    """The same for every attempt at one occurrence: the document, and for a recurring one the occurrence's moment."""
    return f"{job.id}:{int(job.scheduled_at.timestamp() * 1000)}" if job.recurring else str(job.id)
