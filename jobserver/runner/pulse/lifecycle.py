"""The runner's third part: begin, and end without leaving a lock behind."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Any

import structlog

from jobserver.ending import end
from jobserver.errors import DatabaseError
from jobserver.execution.blocking import Blockage, LoopWatch
from jobserver.runner.pulse.claiming import ClaimLoop
from jobserver.runner.pulse.heartbeat import Heartbeat
from jobserver.runner.pulse.reaping import Reaper
from jobserver.runner.pulse.reporting import RunReporter
from jobserver.runner.pulse.run import Run, Stop
from jobserver.runner.pulse.running import Runs
from jobserver.runner.pulse.settling import SettleLoop
from jobserver.runner.pulse.slots import ServerSlots
from jobserver.store.claims import LONGEST_CLAIM
from jobserver.store.jobs import JobStore
from jobserver.store.listener import Listener

# A server ends within five seconds after the grace period, whatever MongoDB and the jobs do; this is its share of them.
LAST_GRACE = timedelta(seconds=2)  # from telling the runs that the server shuts down to stopping them
BEYOND_GRACE = 2.6  # seconds after the grace period until what is not stored and given back is left to others
LAST_CLAIM = LONGEST_CLAIM + 0.3  # seconds for the claim under way
LAST_TRY = 0.3  # seconds that giving back has at the least
LOOK_FOR_STUCK = 1.0
LOOK_AGAIN = 0.2
AFTER_FAULT = 1.0
BLOCKED_BY_JOB = "use `def run` for blocking code: it gets a thread of its own"
BLOCKED_BY_OTHERS = "no job was running: the machine is overloaded or was paused, or a thread holds the interpreter"

_log = structlog.get_logger("jobserver")


class PulseLifecycle:
    """A `JobLifecycle`; every part is handed in, this only orders them."""

    def __init__(
        self,
        *,
        prepare: Callable[[], None],
        store: JobStore,
        heartbeat: Heartbeat,
        reaper: Reaper,
        claims: ClaimLoop,
        runs: Runs,
        settling: SettleLoop,
        listener: Listener,
        loop_watch: LoopWatch,
        reporter: RunReporter,
        chores: Mapping[str, Callable[[], Awaitable[None]]],
        owner: Callable[[], str],
        dispose: Callable[[float], Awaitable[None]],
        grace: timedelta,
    ) -> None:
        self._prepare, self._store, self._heartbeat, self._reaper = prepare, store, heartbeat, reaper
        self._claims, self._runs, self._settling, self._listener = claims, runs, settling, listener
        self._loop_watch, self._reporter, self._owner, self._dispose = loop_watch, reporter, owner, dispose
        self._chores = chores
        self._grace = grace.total_seconds()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._turn = asyncio.Lock()  # what is half started cannot be ended
        self._hurry = asyncio.Event()
        self._closed = asyncio.Event()
        self._closing = False
        self._deadline = 0.0
        self._all_given_back = True

    async def start(self) -> None:
        async with self._turn:
            if not self._tasks and not self._closing:
                await self._begin()

    async def drain(self) -> None:
        if self._tasks and not self._closing:
            self._claims.stop()
            self._heartbeat.soon()
            await asyncio.wait({self._tasks["claiming"]})
            await _all_ended(self._runs)
            await self._settling.drain()

    async def close(self, *, hurry: bool = False) -> bool:
        if hurry:
            self._hurry.set()
        if self._closing:
            await self._closed.wait()
            return self._all_given_back
        self._closing = True
        try:
            async with self._turn:
                if self._tasks:
                    await self._wind_down()
        finally:
            await self._dispose(self._seconds_left())
            self._closed.set()
        return self._all_given_back

    async def _begin(self) -> None:
        await asyncio.to_thread(self._prepare)
        await asyncio.to_thread(self._heartbeat.register)
        self._heartbeat.start()
        self._reaper.start()
        self._loop_watch.start()
        own = {"claiming": self._claims.run, "listening": self._listener.run, "watching runs": self._watch_runs}
        chores = {**own, **self._chores}
        self._tasks = {name: asyncio.create_task(kept_up(name, chore), name=name) for name, chore in chores.items()}

    async def _wind_down(self) -> None:
        self._claims.stop()
        self._runs.begin_no_more()
        last_claim = asyncio.create_task(_within(LAST_CLAIM, self._tasks["claiming"]), name="last claim")
        await self._grace_period()
        self._deadline = asyncio.get_running_loop().time() + BEYOND_GRACE
        await self._stop_runs()
        await last_claim
        await self._store_last_words()
        await self._give_everything_back()
        await end(self._tasks.values())

    def _seconds_left(self) -> float:
        return max(LAST_TRY, self._deadline - asyncio.get_running_loop().time())

    async def _grace_period(self) -> None:
        if len(self._runs):
            _log.info("waiting for runs", running=len(self._runs), at_most_seconds=self._grace)
        ended = asyncio.ensure_future(self._all_stored())
        hurried = asyncio.ensure_future(self._hurry.wait())
        await asyncio.wait({ended, hurried}, timeout=self._grace, return_when=asyncio.FIRST_COMPLETED)
        for waiting in (ended, hurried):
            waiting.cancel()

    async def _stop_runs(self) -> None:
        """What they hold goes back to the queue, also of those that do not listen."""
        for run in self._runs:
            self._runs.stop(run, Stop.SHUTDOWN, "the server shuts down", grace=LAST_GRACE)
        await _within(self._seconds_left(), asyncio.ensure_future(_all_ended(self._runs)))

    async def _all_stored(self) -> None:
        """What MongoDB cannot take now it may be able to take later in the grace period."""
        await _all_ended(self._runs)
        await self._settling.drain()

    async def _store_last_words(self) -> None:
        if not await _within(self._seconds_left(), asyncio.ensure_future(self._settling.drain())):
            self._all_given_back = False
            _log.error("results not stored", count=self._settling.abandon())
        self._reporter.flush()

    async def _give_everything_back(self) -> None:
        """The heartbeat ends first: once the locks are given back, this server's word counts for nothing."""
        self._loop_watch.stop()
        try:
            async with asyncio.timeout(self._seconds_left()):
                await asyncio.gather(asyncio.to_thread(self._reaper.stop), asyncio.to_thread(self._heartbeat.stop))
                await self._store.release(owner=self._owner())
                await asyncio.to_thread(self._heartbeat.sign_off)
        except (DatabaseError, TimeoutError) as error:
            self._all_given_back = False
            reason = str(error) or "MongoDB did not answer in time"
            _log.error("locks not given back", error=reason, freed_by="the reaper of another server")

    async def _watch_runs(self) -> None:
        """Stop runs whose lock has expired, for another server may have the document by now, and cancelled ones."""
        while True:
            await asyncio.sleep(LOOK_FOR_STUCK)
            self._reporter.flush()
            self._stop_stuck()
            if len(self._runs):
                await self._stop_cancelled()

    def _stop_stuck(self) -> None:
        for run in self._runs:
            if run.stop is None and run.is_stuck():
                lifetime = run.known.settings.lock_lifetime
                _log.warning("run is stuck", name=run.job.name, run=run.job.run_id, lock_lifetime=str(lifetime))
                self._runs.stop(run, Stop.STUCK, f"no progress within the lock lifetime of {lifetime}")

    async def _stop_cancelled(self) -> None:
        """Those that somebody wants to end; while MongoDB is away nobody can say so."""
        with suppress(DatabaseError):
            asked = await self._store.cancel_requests(owner=self._owner())
            for run in self._runs if asked else ():
                if run.run_id in asked:
                    self._runs.stop(run, Stop.CANCELLED, asked[run.run_id])


async def kept_up(name: str, chore: Callable[[], Awaitable[None]]) -> None:
    """Begin a chore again when it fails: a server that had lost one would look alive and do nothing."""
    while True:
        try:
            await chore()
            return
        except Exception:
            _log.exception("chore failed", chore=name, next_try_in=AFTER_FAULT)
            await asyncio.sleep(AFTER_FAULT)


class LostLocks:
    """Brings the heartbeat thread's findings to the runs on the event loop."""

    def __init__(
        self,
        *,
        runs: Runs,
        held_runs: Callable[[str], set[str]],
        loop: asyncio.AbstractEventLoop,
        grace: timedelta,
    ) -> None:
        self._runs, self._held_runs, self._loop, self._grace = runs, held_runs, loop, grace

    def lease_lost(self, owner: str, reason: str) -> None:
        """Every run here has lost its lock."""
        _log.error("lock lost", server=owner, runs=len(self._runs), reason=reason)
        self._loop.call_soon_threadsafe(self._interrupt, list(self._runs), reason)

    def verify(self, owner: str) -> None:
        """Compare the runs here with the locks in MongoDB: somebody may have removed or unlocked a document."""
        running = [run for run in self._runs if run.job.document.get("lockedBy") == owner]
        if running:
            held = self._held_runs(owner)
            gone = [run for run in running if run.job.run_id not in held]
            self._loop.call_soon_threadsafe(self._interrupt, gone, "its document is gone or was unlocked")

    def _interrupt(self, runs: list[Run], reason: str) -> None:
        alive = {id(run) for run in self._runs}
        for run in runs:
            if id(run) in alive and run.stop is not Stop.LOCK_LOST:
                _log.warning("lock lost", name=run.job.name, run=run.job.run_id, reason=reason)
                self._runs.stop(run, Stop.LOCK_LOST, reason, grace=self._grace)


def report_blockage(runs: Runs, blockage: Blockage) -> None:
    """Say which job blocks the event loop, and where; without a job it is the machine, or a thread."""
    names = {run.task.get_name() for run in runs if run.task is not None}
    by_job = blockage.task in names or blockage.task.startswith("Task-")  # asyncio's own name, for what a job has made
    _log.warning(
        "event loop blocked",
        job=blockage.task if by_job else "",
        where=blockage.where,
        seconds=blockage.seconds,
        stack=blockage.stack,
        advice=BLOCKED_BY_JOB if by_job else BLOCKED_BY_OTHERS,
    )


def server_facts(runs: Runs, jobs: Any, slots: ServerSlots, claims: ClaimLoop) -> Mapping[str, Any]:
    """What a server says of itself with every heartbeat."""
    facts = {"running": len(runs), "jobs": sorted(jobs)}
    if claims.is_stopping:
        facts["draining"] = True
    if slots.available is not None:
        facts["slots"] = {"available": slots.available, "used": slots.used}
    return facts


async def _all_ended(runs: Runs) -> None:
    while len(runs):
        tasks = [run.task for run in runs if run.task is not None]
        await asyncio.wait(tasks, timeout=LOOK_AGAIN, return_when=asyncio.ALL_COMPLETED)  # one may be given up


async def _within(seconds: float, waiting: asyncio.Future[Any]) -> bool:
    """Wait for it so long at the most; whether it ended. What it raised is its owner's to read."""
    done, _ = await asyncio.wait({waiting}, timeout=seconds)
    if not done:
        waiting.cancel()
    return bool(done)
