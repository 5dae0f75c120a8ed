"""claimed → ended: one job's run, from its document to its outcome."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import structlog

from jobserver.definition import Execution
from jobserver.errors import ScheduleError
from jobserver.execution import Executor, Outcome
from jobserver.execution.outcome import SKIPPED, failed, interrupted, unreadable
from jobserver.execution.run_log import UNKEPT, RunLogs
from jobserver.runner.pulse.capacity import Capacity
from jobserver.runner.pulse.jobs import KnownJob, KnownJobs
from jobserver.runner.pulse.ladder import Ladder
from jobserver.runner.pulse.run import Lender, Locks, Run, Stop
from jobserver.runner.pulse.wakeups import Wakeups
from jobserver.store.documents import ClaimedJob

if TYPE_CHECKING:
    from jobserver.runner.pulse.lease import Lease

_log = structlog.get_logger("jobserver")


class Runs:
    """All runs of this server: begins them, hands each end to `settle`. `may_run` is asked before a recurring one.

    `cancel_grace` is the usual time from telling a run to stop to stopping it. `given_up` counts the runs that are over
    for everybody but their own code, which nothing could end.
    """

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
        cancel_grace: timedelta,
        now: Callable[[], datetime],
        monotonic: Callable[[], float],
        logs: RunLogs = UNKEPT,
    ) -> None:
        self._store, self._jobs, self._capacity = store, jobs, capacity
        self._wakeups, self._lease, self._databases = wakeups, lease, databases
        self._executors, self._may_run, self._settle = executors, may_run, settle
        self._ladder = Ladder(grace=cancel_grace, give_up=self._give_up, now=now)
        self._monotonic, self._logs = monotonic, logs
        self._runs: dict[str, Run] = {}
        self._begins = True
        self.given_up = 0

    def __iter__(self) -> Iterator[Run]:
        return iter(list(self._runs.values()))

    def __len__(self) -> int:
        return len(self._runs)

    def begin(self, job: ClaimedJob) -> None:
        """Start the run of a document that was just claimed, or give the document back."""
        known = self._jobs.get(job.name)
        owner = job.document.get("lockedBy")
        if known is None or owner != self._lease.owner or not self._lease.holds() or not self._begins:
            self._give_back(job, known)
            return
        if not self._capacity.slots.take(job, usual=known.settings.slots):
            self._give_back(job, known)
            return
        run = self._run(job, known, owner)
        self._runs[job.run_id] = run
        run.task = asyncio.create_task(self._execute(run), name=f"{job.name} {job.run_id}")

    def begin_no_more(self) -> None:
        """What is claimed from now on is given back: the server shuts down."""
        self._begins = False

    def stop(self, run: Run, stop: Stop, reason: str, *, grace: timedelta | None = None) -> None:
        """Stop one of these runs, in steps."""
        if run.run_id in self._runs:
            self._ladder.begin(run, stop, reason, grace=grace)

    async def _execute(self, run: Run) -> None:
        run.has_begun = True
        if (longest := run.known.settings.max_execution_time) is not None:
            self._ladder.limit(run, longest)
        outcome = await self._call(run) if run.stop is None else interrupted()
        if run.timers or run.overtime is not None:
            self._ladder.end(run)
        if not run.given_up:
            self._end(run, outcome)
        else:
            self.given_up -= 1
            _log.info("run ended after all", name=run.name, run=run.run_id, note="it was given up before")
        # The task's context names the run: both would stay, with all they hold, until the collector comes by.
        run.task = None

    async def _call(self, run: Run) -> Outcome:
        try:
            if run.job.recurring and not await self._may_run(run):
                return SKIPPED if run.stop is None else interrupted()
            if run.stop is not None:
                return interrupted()
            run.executor = self._executors[run.known.execution]
            return await run.executor.call(run.known.definition, run)
        except ScheduleError as error:  # the recurrence of a task
            return failed(error)
        except asyncio.CancelledError as error:  # a second time
            return interrupted(error)
        except GeneratorExit:  # the loop is gone, and this with it
            raise
        except BaseException as error:  # what the job left raises when it is looked at; its run would never end
            return unreadable(error)

    def _give_up(self, run: Run) -> None:
        run.given_up = True
        self.given_up += 1
        _log.error("run does not stop", name=run.name, run=run.run_id, note="its slot is free, its code goes on")
        self._end(run, interrupted())

    def _end(self, run: Run, outcome: Outcome) -> None:
        del self._runs[run.run_id]
        self._capacity.ended(run.job)
        self._wakeups.nudge()
        self._settle(run, outcome)
        run.end_log()

    def _give_back(self, job: ClaimedJob, known: KnownJob | None) -> None:
        if known is None:
            _log.warning("job given back", name=job.name, reason="its file was removed while it was claimed")
        run = self._run(job, known or _NOBODY, self._lease.owner)
        run.stop, run.stop_reason = Stop.SHUTDOWN, "not begun"
        self._capacity.ended(job)
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


_NOBODY: Any = None
