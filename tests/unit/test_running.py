"""The runs of one server, told to stop at the worst moment."""

from __future__ import annotations

import asyncio
import gc
import inspect
import threading
import time
import weakref
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
import structlog

from jobserver import Job, Schedule
from jobserver.definition import Execution, JobDefaults, JobDefinition, JobSettings
from jobserver.errors import DatabaseError, FatalError
from jobserver.execution import InlineExecutor, Outcome, OutcomeKind, ThreadExecutor
from jobserver.execution.blocking import Blockage
from jobserver.retry import Retry
from jobserver.runner.pulse.capacity import Capacity
from jobserver.runner.pulse.jobs import KnownJobs
from jobserver.runner.pulse.lease import Lease
from jobserver.runner.pulse.lifecycle import report_blockage
from jobserver.runner.pulse.run import Run, Stop
from jobserver.runner.pulse.running import Runs
from jobserver.runner.pulse.slots import ServerSlots
from jobserver.runner.pulse.wakeups import Wakeups
from jobserver.store.admission import Line
from jobserver.store.documents import ClaimedJob

MANUAL = Schedule.parse("manual")
SETTINGS = JobSettings(
    schedule=MANUAL,
    enabled=True,
    retry=Retry.OFF,
    priority=0,
    concurrency=1,
    global_concurrency=None,
    lock_lifetime=timedelta(minutes=1),
)
UNUSED: Any = None


class Waits(Job):
    async def run(self) -> None:
        await asyncio.Event().wait()


DEFINITION = JobDefinition(
    name="api:waits",
    path="waits.py",
    checksum="1",
    job_class=Waits,
    is_async=True,
    wants=(),
    defaults=JobDefaults(schedule=MANUAL),
)


def claimed_by(owner: str) -> ClaimedJob:
    now = datetime.now(UTC)
    return ClaimedJob(
        id=1,
        name=DEFINITION.name,
        token="t",
        fence=1,
        attempt=1,
        started_at=now,
        scheduled_at=now,
        recurring=False,
        document={"lockedBy": owner},
        run_id="1:1",
    )


class Ends(Job):
    async def run(self) -> None:
        await asyncio.sleep(0)


class Refuses(Job):
    async def run(self) -> None:
        raise FatalError("no second attempt")


class EndsInThread(Job):
    def run(self) -> None:
        return None


class RefusesInThread(Job):
    def run(self) -> None:
        raise FatalError("no second attempt")


class Server:
    """What runs need of theirs, with room for one, and the ends that it was handed."""

    def __init__(self, definition: JobDefinition, store: Any = UNUSED) -> None:
        jobs, lease = KnownJobs(), Lease(monotonic=time.monotonic)
        jobs.put(definition, SETTINGS)
        lease.renewed("this server", sent_at=time.monotonic())
        self.capacity = Capacity(
            jobs=jobs,
            slots=ServerSlots(available=None, line=Line(patience=timedelta(), monotonic=time.monotonic)),
            max_concurrency=1,
            lock_limit=0,
            default_lock_limit=0,
        )
        self.ends: list[tuple[Run, Outcome]] = []
        self.runs = Runs(
            store=store,
            jobs=jobs,
            capacity=self.capacity,
            wakeups=Wakeups(monotonic=time.monotonic),
            lease=lease,
            databases=UNUSED,
            executors={Execution.INLINE: InlineExecutor(), Execution.THREAD: ThreadExecutor()},
            may_run=UNUSED,
            settle=lambda run, outcome: self.ends.append((run, outcome)),
            cancel_grace=timedelta(minutes=1),
            now=lambda: datetime.now(UTC),
            monotonic=time.monotonic,
        )

    def begin(self) -> Run:
        """The run of a document that was just claimed."""
        self.capacity.claimed(Counter([DEFINITION.name]))
        self.runs.begin(claimed_by("this server"))
        (run,) = self.runs
        return run


async def test_a_run_that_is_told_to_stop_before_its_first_step_still_ends_and_frees_its_slot() -> None:
    server = Server(DEFINITION)
    run = server.begin()
    server.runs.stop(run, Stop.SHUTDOWN, "the server shuts down")
    assert run.task is not None
    await asyncio.wait({run.task})
    assert len(server.runs) == 0
    assert server.capacity.free() == 1
    ((ended, outcome),) = server.ends
    assert ended is run
    assert outcome.kind is OutcomeKind.INTERRUPTED


@pytest.mark.parametrize("job_class", [Ends, Refuses, EndsInThread, RefusesInThread])
async def test_a_run_that_has_ended_waits_for_no_collector_to_be_forgotten(job_class: type[Job]) -> None:
    is_async = inspect.iscoroutinefunction(job_class.run)  # type: ignore[attr-defined]
    server = Server(replace(DEFINITION, job_class=job_class, is_async=is_async))
    gc.disable()
    try:
        task = server.begin().task
        assert task is not None
        await asyncio.wait({task})
        forgotten = [weakref.ref(task)]
        del task
        ((_, outcome),) = server.ends
        if outcome.error is not None:
            assert outcome.stack
            forgotten.append(weakref.ref(outcome.error))
        server.ends.clear()
        del outcome, _
        await asyncio.to_thread(end_threads)
        assert [each() for each in forgotten] == [None] * len(forgotten)
    finally:
        gc.enable()


def end_threads() -> None:
    """Those of runs."""
    for thread in threading.enumerate():
        if thread.name.startswith("run "):
            thread.join(10)


class DropsFirstCancellation:
    """Has its answer in the very moment of being cancelled: for Python 3.11 that is an answer and nothing else."""

    def __init__(self, error: Exception | None) -> None:
        self._error = error
        self._dropped = False
        self.asked = asyncio.Event()

    async def touch(self, job: ClaimedJob, *, lock_lifetime: timedelta, report: Any = None) -> bool:
        self.asked.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if self._dropped:
                raise
            self._dropped = True
        if self._error is not None:
            raise self._error
        return True


class Touches(Job):
    async def run(self) -> None:
        while True:
            await self.touch()


@pytest.mark.parametrize("error", [None, DatabaseError("away")], ids=["stored", "not stored"])
async def test_a_run_that_is_cancelled_while_it_gives_a_sign_of_life_is_told_at_once(error: Exception | None) -> None:
    store = DropsFirstCancellation(error)
    server = Server(replace(DEFINITION, job_class=Touches), store)
    run = server.begin()
    await store.asked.wait()
    server.runs.stop(run, Stop.CANCELLED, "no longer wanted")
    assert run.task is not None
    ended, _ = await asyncio.wait({run.task}, timeout=5)
    assert ended, "it goes on"
    ((_, outcome),) = server.ends
    assert outcome.kind is OutcomeKind.INTERRUPTED
    assert [step.step for step in run.steps] == ["told"]


@pytest.mark.parametrize(
    ("task", "blamed", "advice"),
    [
        ("api:job 1:1", "api:job 1:1", "use `def run`"),
        ("Task-7", "Task-7", "use `def run`"),
        ("claiming", "", "no job was"),
    ],
)
async def test_a_job_is_blamed_for_a_loop_that_stands_still_only_where_it_ran(
    task: str, blamed: str, advice: str
) -> None:
    async def forever() -> None:
        await asyncio.Event().wait()

    running: Any = SimpleNamespace(task=asyncio.create_task(forever(), name="api:job 1:1"))
    runs: Any = [running]
    with structlog.testing.capture_logs() as records:
        report_blockage(runs, Blockage(seconds=2.0, task=task, where="x.py:3 in run", stack="deep"))
    running.task.cancel()
    (record,) = records
    assert record["job"] == blamed
    assert record["advice"].startswith(advice)
