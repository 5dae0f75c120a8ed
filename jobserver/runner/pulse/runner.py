"""Puts the MongoDB runner together; the one place that names its concrete parts."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from functools import cached_property, partial
from typing import Any

from jobserver.definition import Execution
from jobserver.execution import InlineExecutor, Outcome, ThreadExecutor
from jobserver.execution.blocking import LoopWatch
from jobserver.execution.outcome import OutcomeKind, let_go, unreadable
from jobserver.execution.process.executor import ProcessExecutor
from jobserver.runner.interfaces import JobRunner
from jobserver.runner.pulse.capacity import Capacity
from jobserver.runner.pulse.chaining import Chaining
from jobserver.runner.pulse.claiming import ClaimLoop
from jobserver.runner.pulse.executor import PulseExecutor
from jobserver.runner.pulse.heartbeat import Heartbeat
from jobserver.runner.pulse.jobs import KnownJobs
from jobserver.runner.pulse.lease import MARGIN
from jobserver.runner.pulse.lending import Databases
from jobserver.runner.pulse.lifecycle import LostLocks, PulseLifecycle, report_blockage, server_facts
from jobserver.runner.pulse.listening import JobHints
from jobserver.runner.pulse.missed import MissedOccurrences
from jobserver.runner.pulse.one_offs import OneOffs
from jobserver.runner.pulse.orphans import LOOKS_FOR_ORPHANS, Orphans
from jobserver.runner.pulse.oversized import Oversized
from jobserver.runner.pulse.reaping import Reaper
from jobserver.runner.pulse.reporting import RunReporter
from jobserver.runner.pulse.restoring import Restoring
from jobserver.runner.pulse.run import Run
from jobserver.runner.pulse.running import Runs
from jobserver.runner.pulse.rush import Rush
from jobserver.runner.pulse.scheduler import PulseScheduler
from jobserver.runner.pulse.settling import SettleLoop
from jobserver.runner.pulse.slots import ServerSlots
from jobserver.runner.pulse.surroundings import Surroundings
from jobserver.runner.pulse.turns import Turns
from jobserver.runner.pulse.upkeep import Upkeep
from jobserver.runner.pulse.verdict import judge
from jobserver.runner.pulse.wakeups import Wakeups
from jobserver.runner.pulse.wear import Wear, WearLimits
from jobserver.settings import PulseSettings
from jobserver.store.admission import Line
from jobserver.store.chains import ChainStore
from jobserver.store.changes import JOB_HINTS, Changes
from jobserver.store.claims import ClaimStore
from jobserver.store.connection import AsyncJobs, closed, deciding, deciding_sync, sync_client
from jobserver.store.due import count_oversized
from jobserver.store.indexes import ensure_indexes
from jobserver.store.jobs import JobStore
from jobserver.store.listener import Listener
from jobserver.store.locks import OVERDUE_AFTER, LockStore
from jobserver.store.one_offs import OneOffStore
from jobserver.store.runs import RunStore
from jobserver.store.servers import ServerStore
from jobserver.store.strays import StrayStore
from jobserver.store.wire import BsonCodec


def pulse_runner(*, settings: PulseSettings, around: Surroundings) -> JobRunner:
    """A runner on MongoDB; must be made on the event loop that will run the jobs."""
    parts = _Parts(settings, around)
    return JobRunner(executor=parts.executor, scheduler=parts.scheduler, lifecycle=parts.lifecycle)


class _Parts:
    """Every part of one runner, made when it is first asked for and handed the parts that it needs.

    In the order of the road: what is known, claimed, executed, settled; then what holds the locks, and the three ends.
    """

    def __init__(self, settings: PulseSettings, around: Surroundings) -> None:
        self._settings, self._around = settings, around
        self._loop = asyncio.get_running_loop()
        self._names, self._clock, self._monotonic = around.names, around.clock, around.monotonic
        self._lease = around.lease
        self._database = deciding(around.database)
        # Heartbeat and reaping must not wait for the event loop, nor for a connection that a job holds.
        self._client = sync_client(around.uri, app_name="jobserver lease", pool_size=4)
        self._chores = deciding_sync(self._client[self._database.name])
        self._jobs, self._wakeups = KnownJobs(), Wakeups(monotonic=self._monotonic)
        self._databases = Databases(uri=around.uri, database=around.database)
        self._history = RunStore(self._database[self._names.runs])
        self._reporter = RunReporter(monotonic=self._monotonic)

    @cached_property
    def executor(self) -> PulseExecutor:
        return PulseExecutor(
            jobs=self._jobs,
            runs=self._runs,
            wakeups=self._wakeups,
            one_offs=self._one_offs,
            changed=self._heartbeat.soon,
        )

    @cached_property
    def scheduler(self) -> PulseScheduler:
        return PulseScheduler(
            store=self._store,
            jobs=self._jobs,
            wakeups=self._wakeups,
            clock=self._clock,
            random=random.random,
            turns=self._turns,
        )

    @cached_property
    def lifecycle(self) -> PulseLifecycle:
        return PulseLifecycle(
            prepare=self._prepare,
            store=self._store,
            heartbeat=self._heartbeat,
            reaper=self._reaper,
            claims=self._claims,
            runs=self._runs,
            settling=self._settling,
            listener=self._listener,
            loop_watch=LoopWatch(partial(report_blockage, self._runs), monotonic=self._monotonic),
            reporter=self._reporter,
            chores={
                "watching wear": self._wear.watch,
                "keeping turns": self._turns.run,
                "finding one-offs": self._one_offs.run,
                "finding orphans": self._orphans.run,
                "restoring": self._restoring.run,
                **_watching_sizes(self._settings, self._jobs, self._database[self._names.jobs]),
            },
            owner=lambda: self._lease.owner,
            dispose=self._dispose,
            grace=self._settings.shutdown_grace,
        )

    @cached_property
    def _store(self) -> JobStore:
        return JobStore(
            self._database[self._names.jobs],
            retention=self._settings.retention,
            failed_retention=self._settings.failed_retention,
        )

    @cached_property
    def _turns(self) -> Turns:
        return Turns(
            jobs=self._jobs,
            wakeups=self._wakeups,
            may_come=lambda id_: self._store.may_come(id_, owner=self._lease.owner),
        )

    @cached_property
    def _capacity(self) -> Capacity:
        line = Line(patience=self._settings.slots_patience, monotonic=self._monotonic)
        return Capacity(
            jobs=self._jobs,
            slots=ServerSlots(available=self._settings.available_slots, line=line),
            in_turn=self._turns.allowed,
            max_concurrency=self._settings.max_concurrency,
            lock_limit=self._settings.lock_limit,
            default_lock_limit=self._settings.default_lock_limit,
        )

    @cached_property
    def _one_offs(self) -> OneOffs:
        return OneOffs(
            store=OneOffStore(self._database[self._names.jobs]),
            jobs=self._jobs,
            turns=self._turns,
            wakeups=self._wakeups,
            define=self._around.define_stored,
            lock_lifetime=self._settings.default_lock_lifetime,
            every=self._settings.process_every,
        )

    @cached_property
    def _listener(self) -> Listener:
        return Listener(
            changes=Changes(self._database[self._names.jobs], JOB_HINTS),
            what="jobs",
            hear=JobHints(wakeups=self._wakeups, clock=self._clock, one_off=self._one_offs.look).hear,
            opened=self._stream_opened,
        )

    @cached_property
    def _restoring(self) -> Restoring:
        return Restoring(prepare=self._ensure_indexes, store=self._store, jobs=self._jobs, scheduler=self.scheduler)

    @cached_property
    def _claims(self) -> ClaimLoop:
        return ClaimLoop(
            store=ClaimStore(self._database[self._names.jobs], sort=self._settings.sort),
            jobs=self._jobs,
            capacity=self._capacity,
            wakeups=self._wakeups,
            lease=self._lease,
            begin=self._turns.before(self._runs.begin),
            rush=Rush(tell=self._tell_of_rush, monotonic=self._monotonic),
            process_every=self._settings.process_every,
            monotonic=self._monotonic,
        )

    @cached_property
    def _processes(self) -> ProcessExecutor:
        return ProcessExecutor(
            codec=BsonCodec(),
            address=self._databases.address,
            lease=self._lease.shared_with,
            grace=self._settings.cancel_grace,
            on_message=self._around.told.posted,
        )

    @cached_property
    def _runs(self) -> Runs:
        posted = self._around.told.posted
        missed = MissedOccurrences(store=self._store, history=self._history, server=self._around.server_id)
        return Runs(
            store=self._store,
            jobs=self._jobs,
            capacity=self._capacity,
            wakeups=self._wakeups,
            lease=self._lease,
            databases=self._databases,
            executors={
                Execution.INLINE: InlineExecutor(posted),
                Execution.THREAD: ThreadExecutor(posted),
                Execution.PROCESS: self._processes,
            },
            may_run=missed.may_run,
            settle=self._settle,
            cancel_grace=self._settings.cancel_grace,
            now=self._clock.now,
            monotonic=self._monotonic,
            logs=self._around.run_logs,
        )

    @cached_property
    def _upkeep(self) -> Upkeep:
        return Upkeep(jobs=self._jobs, capacity=self._capacity, wakeups=self._wakeups, clock=self._clock)

    @cached_property
    def _wear(self) -> Wear:
        limits = _wear_limits(self._settings, self._around)
        return Wear(limits=limits, stuck=lambda: self._runs.given_up, tell=self._around.worn_out)

    @cached_property
    def _settling(self) -> SettleLoop:
        return SettleLoop(
            store=self._store,
            history=self._history,
            chaining=Chaining(store=self._chains(self._database), wakeups=self._wakeups, monotonic=self._monotonic),
            server=self._around.server_id,
            listeners=[self._upkeep, self._one_offs, self._reporter, self._wear],
        )

    @cached_property
    def _orphans(self) -> Orphans:
        return Orphans(
            store=self._store,
            known=lambda: self._claims.tokens | {run.job.token for run in self._runs} | self._settling.tokens,
            owner=lambda: self._lease.owner,
            wakeups=self._wakeups,
            every=self._settings.lease.total_seconds() * LOOKS_FOR_ORPHANS,
        )

    @cached_property
    def _locks(self) -> LockStore:
        return LockStore(
            jobs=self._chores[self._names.jobs],
            runs=self._chores[self._names.runs],
            servers=self._chores[self._names.servers],
            grace=self._settings.lease * MARGIN,
            overdue_after=max(OVERDUE_AFTER, self._settings.cancel_grace * 2),
            failed_retention=self._settings.failed_retention,
        )

    @cached_property
    def _heartbeat(self) -> Heartbeat:
        lost = LostLocks(
            runs=self._runs,
            held_runs=self._locks.held_runs,
            loop=self._loop,
            grace=self._settings.lease * MARGIN,
        )
        return Heartbeat(
            store=ServerStore(self._chores[self._names.servers], lease=self._settings.lease),
            lease=self._lease,
            clock=self._clock,
            version=self._around.version,
            supervisor=self._around.supervisor,
            facts=partial(server_facts, self._runs, self._jobs, self._capacity.slots, self._claims),
            lost=lost.lease_lost,
            renewed=lost.verify,
            monotonic=self._monotonic,
            length=self._settings.lease,
        )

    @cached_property
    def _reaper(self) -> Reaper:
        return Reaper(
            locks=self._locks,
            strays=StrayStore(jobs=self._chores[self._names.jobs]),
            chains=self._chains(self._chores),
            jobs=self._jobs,
            freed=lambda freed: _from_thread(self._loop, self._wakeups.hint, freed),
            monotonic=self._monotonic,
            every=self._settings.lease * MARGIN,
        )

    def _chains(self, database: Any) -> ChainStore:
        """The same on either kind of client."""
        return ChainStore(
            jobs=database[self._names.jobs],
            runs=database[self._names.runs],
            server=self._around.server_id,
            retention=self._settings.retention,
        )

    def _settle(self, run: Run, outcome: Outcome) -> None:
        try:
            settlement = judge(run, outcome, now=self._clock.now, random=random.random)
        except BaseException as error:  # its result or its error raises SystemExit, or worse, when it is read
            outcome = unreadable(error)
            settlement = judge(run, outcome, now=self._clock.now, random=random.random)
        self._upkeep.warn_of_overlap(settlement)
        if settlement.error is not None:
            self._around.told.failed(run, outcome.error, settlement.error.message)
        if outcome.kind is OutcomeKind.INTERRUPTED:  # any other error is the job's own, and its handlers may look at it
            let_go(outcome.error)
        self._settling.add(settlement)

    def _tell_of_rush(self, on: bool) -> None:
        self._listener.rest() if on else self._listener.resume()
        self._around.rush_began() if on else self._around.rush_ended()

    def _stream_opened(self) -> None:
        self._wakeups.hint_everything()
        self._restoring.stream_opened()

    def _prepare(self) -> None:
        self._ensure_indexes()
        self._around.run_logs.start()

    def _ensure_indexes(self) -> None:
        retention = self._settings.history_retention
        ensure_indexes(self._chores, self._names, sort=self._settings.sort, history_retention=retention)

    async def _dispose(self, within: float) -> None:
        """What the bucket of run logs does not take in so many seconds, the next start on this machine ships."""
        await self._processes.close()
        self._lease.close()
        await asyncio.to_thread(self._around.run_logs.close, within)
        await asyncio.gather(self._databases.close(), asyncio.to_thread(closed, self._client))


def _watching_sizes(
    settings: PulseSettings, jobs: KnownJobs, collection: AsyncJobs
) -> dict[str, Callable[[], Awaitable[None]]]:
    """What only a server with limited slots has to look for."""
    if settings.available_slots is None:
        return {}
    count = partial(count_oversized, collection)
    return {"watching sizes": Oversized(jobs=jobs, available=settings.available_slots, count=count).watch}


def _wear_limits(settings: PulseSettings, around: Surroundings) -> WearLimits:
    """Stuck runs end no server that nobody would start again: it still does its other work."""
    stuck = settings.recycle_stuck if around.supervisor else 0
    return WearLimits(runs=settings.recycle_after_runs, memory=settings.recycle_memory, stuck=stuck)


def _from_thread(loop: asyncio.AbstractEventLoop, call: Callable[..., None], argument: Any) -> None:
    loop.call_soon_threadsafe(call, argument)
