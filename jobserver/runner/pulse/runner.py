"""Puts the MongoDB runner together; the one place that names its concrete parts."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from jobserver.definition import Execution, JobDefinition
from jobserver.execution import InlineExecutor, Outcome, ThreadExecutor
from jobserver.execution.blocking import LoopWatch
from jobserver.execution.process.executor import ProcessExecutor
from jobserver.execution.run_log import UNKEPT, RunLogs
from jobserver.runner.interfaces import JobRunner
from jobserver.runner.pulse.capacity import Capacity
from jobserver.runner.pulse.chaining import Chaining
from jobserver.runner.pulse.claiming import ClaimLoop
from jobserver.runner.pulse.executor import PulseExecutor
from jobserver.runner.pulse.heartbeat import Heartbeat
from jobserver.runner.pulse.jobs import KnownJobs
from jobserver.runner.pulse.lease import MARGIN, Lease
from jobserver.runner.pulse.lending import Databases
from jobserver.runner.pulse.lifecycle import LostLocks, PulseLifecycle, report_blockage, server_facts
from jobserver.runner.pulse.listening import JobHints
from jobserver.runner.pulse.missed import MissedOccurrences
from jobserver.runner.pulse.one_offs import OneOffs
from jobserver.runner.pulse.oversized import Oversized
from jobserver.runner.pulse.reaping import Reaper
from jobserver.runner.pulse.reporting import RunReporter
from jobserver.runner.pulse.run import Run
from jobserver.runner.pulse.running import Runs
from jobserver.runner.pulse.rush import Rush
from jobserver.runner.pulse.scheduler import PulseScheduler
from jobserver.runner.pulse.settling import SettleLoop
from jobserver.runner.pulse.slots import ServerSlots
from jobserver.runner.pulse.turns import Turns
from jobserver.runner.pulse.upkeep import Upkeep
from jobserver.runner.pulse.verdict import judge
from jobserver.runner.pulse.wakeups import Wakeups
from jobserver.runner.pulse.wear import Wear, WearLimits
from jobserver.runner.told import Told
from jobserver.settings import PulseSettings
from jobserver.store.admission import Line
from jobserver.store.chains import ChainStore
from jobserver.store.changes import JOB_HINTS, Changes
from jobserver.store.claims import ClaimStore
from jobserver.store.clock import ServerClock, boottime
from jobserver.store.collections import CollectionNames
from jobserver.store.connection import AsyncDb, AsyncJobs, deciding, deciding_sync, sync_client
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a runner is given: the database, its settings, who it is, and whom to tell of a rush of claims and wear.

    `define_stored` makes a definition of the handler in a one-off's document; it may block, and raise JobServerError.
    """

    uri: str
    database: AsyncDb
    names: CollectionNames
    clock: ServerClock
    version: str
    define_stored: Callable[[str, Mapping[str, Any]], JobDefinition]
    told: Told = field(default_factory=Told)
    supervisor: str | None = None
    monotonic: Callable[[], float] = boottime
    rush_began: Callable[[], None] = lambda: None
    rush_ended: Callable[[], None] = lambda: None
    worn_out: Callable[[str], None] = lambda reason: None
    run_logs: RunLogs = UNKEPT
    lease: Lease = field(default_factory=lambda: Lease(monotonic=boottime))

    def server_id(self) -> str:
        """Under which id this server is registered now."""
        return self.lease.owner


def pulse_runner(*, settings: PulseSettings, around: Surroundings) -> JobRunner:
    """A runner on MongoDB; must be made on the event loop that will run the jobs."""
    loop, names, clock, monotonic = asyncio.get_running_loop(), around.names, around.clock, around.monotonic
    database = deciding(around.database)
    # Heartbeat and reaping must not wait for the event loop, nor for a connection that a job holds.
    client = sync_client(around.uri, app_name="jobserver lease", pool_size=4)
    chores = deciding_sync(client[database.name])

    store = JobStore(
        database[names.jobs],
        retention=settings.retention,
        failed_retention=settings.failed_retention,
    )
    locks = LockStore(
        jobs=chores[names.jobs],
        runs=chores[names.runs],
        servers=chores[names.servers],
        grace=settings.lease * MARGIN,
        overdue_after=max(OVERDUE_AFTER, settings.cancel_grace * 2),
        failed_retention=settings.failed_retention,
    )
    databases = Databases(uri=around.uri, database=around.database)
    jobs, wakeups, lease = KnownJobs(), Wakeups(monotonic=monotonic), around.lease
    line = Line(patience=settings.slots_patience, monotonic=monotonic)
    turns = Turns(jobs=jobs, wakeups=wakeups, may_come=lambda id_: store.may_come(id_, owner=lease.owner))
    capacity = Capacity(
        jobs=jobs,
        slots=ServerSlots(available=settings.available_slots, line=line),
        in_turn=turns.allowed,
        max_concurrency=settings.max_concurrency,
        lock_limit=settings.lock_limit,
        default_lock_limit=settings.default_lock_limit,
    )
    one_offs = OneOffs(
        store=OneOffStore(database[names.jobs]),
        jobs=jobs,
        turns=turns,
        wakeups=wakeups,
        define=around.define_stored,
        lock_lifetime=settings.default_lock_lifetime,
        every=settings.process_every,
    )
    reporter = RunReporter(monotonic=monotonic)
    upkeep = Upkeep(jobs=jobs, capacity=capacity, wakeups=wakeups, clock=clock)
    history = RunStore(database[names.runs])
    chains: dict[str, Any] = {"server": around.server_id, "retention": settings.retention}
    missed = MissedOccurrences(store=store, history=history, server=around.server_id)
    wear = Wear(limits=_wear_limits(settings, around), stuck=lambda: runs.given_up, tell=around.worn_out)
    settling = SettleLoop(
        store=store,
        history=history,
        chaining=Chaining(
            store=ChainStore(jobs=database[names.jobs], runs=database[names.runs], **chains),
            wakeups=wakeups,
            monotonic=monotonic,
        ),
        server=around.server_id,
        listeners=[upkeep, one_offs, reporter, wear],
    )

    def settle(run: Run, outcome: Outcome) -> None:
        upkeep.warn_of_overlap(settlement := judge(run, outcome, now=clock.now, random=random.random))
        if settlement.error is not None and around.told.error_handler is not None:
            around.told.failed(run, outcome.error, settlement.error.message)
        settling.add(settlement)

    processes = ProcessExecutor(
        codec=BsonCodec(),
        address=databases.address,
        lease=lease.shared_with,
        grace=settings.cancel_grace,
        on_message=around.told.posted,
    )
    runs = Runs(
        store=store,
        jobs=jobs,
        capacity=capacity,
        wakeups=wakeups,
        lease=lease,
        databases=databases,
        executors={
            Execution.INLINE: InlineExecutor(around.told.posted),
            Execution.THREAD: ThreadExecutor(around.told.posted),
            Execution.PROCESS: processes,
        },
        may_run=missed.may_run,
        settle=settle,
        cancel_grace=settings.cancel_grace,
        now=clock.now,
        monotonic=monotonic,
        logs=around.run_logs,
    )

    listener = Listener(
        changes=Changes(database[names.jobs], JOB_HINTS),
        what="jobs",
        hear=JobHints(wakeups=wakeups, clock=clock, one_off=one_offs.look).hear,
        opened=wakeups.hint_everything,
    )

    def tell_of_rush(on: bool) -> None:
        listener.rest() if on else listener.resume()
        around.rush_began() if on else around.rush_ended()

    claims = ClaimLoop(
        store=ClaimStore(database[names.jobs], sort=settings.sort),
        jobs=jobs,
        capacity=capacity,
        wakeups=wakeups,
        lease=lease,
        begin=turns.before(runs.begin),
        rush=Rush(tell=tell_of_rush, monotonic=monotonic),
        process_every=settings.process_every,
        monotonic=monotonic,
    )
    lost_locks = LostLocks(runs=runs, held_runs=locks.held_runs, loop=loop, grace=settings.lease * MARGIN)
    heartbeat = Heartbeat(
        store=ServerStore(chores[names.servers], lease=settings.lease),
        lease=lease,
        clock=clock,
        version=around.version,
        supervisor=around.supervisor,
        facts=partial(server_facts, runs, jobs, capacity.slots, claims),
        lost=lost_locks.lease_lost,
        renewed=lost_locks.verify,
        monotonic=monotonic,
        length=settings.lease,
    )
    reaper = Reaper(
        locks=locks,
        strays=StrayStore(jobs=chores[names.jobs]),
        chains=ChainStore(jobs=chores[names.jobs], runs=chores[names.runs], **chains),
        jobs=jobs,
        freed=lambda freed: _from_thread(loop, wakeups.hint, freed),
        monotonic=monotonic,
        every=settings.lease * MARGIN,
    )

    def prepare() -> None:
        ensure_indexes(chores, names, sort=settings.sort, history_retention=settings.history_retention)
        around.run_logs.start()

    async def dispose() -> None:
        await processes.close()
        lease.close()
        await asyncio.to_thread(around.run_logs.close)
        await databases.close()
        client.close()

    return JobRunner(
        executor=PulseExecutor(jobs=jobs, runs=runs, wakeups=wakeups, one_offs=one_offs, changed=heartbeat.soon),
        scheduler=PulseScheduler(
            store=store, jobs=jobs, wakeups=wakeups, clock=clock, random=random.random, turns=turns
        ),
        lifecycle=PulseLifecycle(
            prepare=prepare,
            store=store,
            heartbeat=heartbeat,
            reaper=reaper,
            claims=claims,
            runs=runs,
            settling=settling,
            listener=listener,
            loop_watch=LoopWatch(partial(report_blockage, runs), monotonic=monotonic),
            reporter=reporter,
            chores={
                "watching wear": wear.watch,
                "keeping turns": turns.run,
                "finding one-offs": one_offs.run,
                **_watching_sizes(settings, jobs, database[names.jobs]),
            },
            owner=lambda: lease.owner,
            dispose=dispose,
            grace=settings.shutdown_grace,
        ),
    )


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
