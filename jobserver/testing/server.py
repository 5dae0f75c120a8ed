"""The engine in virtual time: due → claimed → executed → settled, one step after the other.

A run's code is called at the moment at which the run begins and may take as long as it likes in real time: virtual
time stands still. What it came to counts when the length that the test gave the run is over; until then it is under
way, holds its place and lets occurrences pass by.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from jobserver.ending import end
from jobserver.errors import ConfigError
from jobserver.execution import InlineExecutor, Outcome, ThreadExecutor
from jobserver.execution.outcome import SKIPPED, interrupted
from jobserver.runner.pulse.jobs import KnownJob
from jobserver.runner.pulse.misfire import OVERLAPPED
from jobserver.runner.pulse.missed import MissedOccurrences
from jobserver.runner.pulse.run import Lender, Run, Stop
from jobserver.runner.pulse.verdict import judge
from jobserver.store.enqueue import Request, check_storable, checked_priority, data_of, due_at
from jobserver.store.recurrence import first_occurrence
from jobserver.testing.history import VirtualHistory, VirtualRun
from jobserver.testing.queue import VirtualDocument, VirtualQueue
from jobserver.testing.roster import Roster

SERVER = "virtual"
NO_TIME = timedelta()


@dataclass(frozen=True, slots=True, kw_only=True)
class UnderWay:
    """A run whose code has been called, and whose end is still to come."""

    run: Run
    outcome: Outcome
    ends_at: datetime


class VirtualServer:
    """One server whose clock is set by the test."""

    def __init__(
        self,
        *,
        start: datetime,
        roster: Roster,
        durations: Mapping[str, timedelta],
        databases: Lender,
        random: Callable[[], float],
    ) -> None:
        self._start = self.now = start
        self.history, self.queue = VirtualHistory(), VirtualQueue()
        self._roster, self._databases, self._random = roster, databases, random
        self._durations = dict(durations)
        self._missed = MissedOccurrences(store=self.history, history=self.history, server=lambda: SERVER)
        self._under_way: list[UnderWay] = []
        self._is_advancing = False
        for known in roster:
            if known.settings.enabled:
                self._arm(known)

    def enqueue(self, request: Request) -> VirtualDocument:
        """Add what somebody asks for; the same checks as on MongoDB. Raises DataError."""
        check_storable(request.data)
        priority = self._roster[request.name].settings.priority
        return self.queue.add(
            VirtualDocument(
                id=self.queue.new_id(),
                name=request.name,
                priority=priority if request.priority is None else checked_priority(request.priority),
                recurring=False,
                next_run_at=due_at(request, now=self.now),
                anchor_at=self.now,
                data=data_of(request),
                unique_key=request.unique_key,
            )
        )

    def takes(self, name: str, length: timedelta) -> None:
        """How long each run of this job takes that begins from now on."""
        self._durations[name] = length

    async def advance_to(self, moment: datetime) -> None:
        """Run all that comes due up to and including this moment."""
        await self._advance(moment, lambda: False)
        self.now = moment

    async def finish(self, document: VirtualDocument) -> VirtualRun:
        """Advance until the next run of this document has ended."""
        if not self._roster.limit(document.name):
            raise ConfigError("concurrency", f"{document.name} cannot run: its concurrency is 0")
        run_id = document.run_id if document.is_running else f"{document.id}:{document.fence + 1}"

        def has_ended() -> bool:
            run = self.history.get(run_id)
            return run is not None and run.finished_at is not None

        await self._advance(None, has_ended)
        run = self.history.get(run_id)
        assert run is not None
        return run

    def down(self, length: timedelta) -> None:
        """The server is away for so long; what is under way is given back first, and its attempt does not count."""
        self._refuse_while_advancing()
        for under_way in self._under_way:
            under_way.run.mark(Stop.SHUTDOWN, "the server was shut down")
            self._settle(under_way.run, interrupted())
        self._under_way.clear()
        self.now += length

    def _arm(self, known: KnownJob) -> None:
        schedule, name = known.settings.schedule, known.definition.name
        first = first_occurrence(schedule, now=self.now)
        self.queue.add(
            VirtualDocument(
                id=self.queue.new_id(),
                name=name,
                priority=known.settings.priority,
                recurring=True,
                next_run_at=first and schedule.jittered(first, self._random()),
                occurrence_at=first if schedule.jitter else None,
                anchor_at=self.now,
            )
        )

    async def _advance(self, until: datetime | None, is_enough: Callable[[], bool]) -> None:
        self._refuse_while_advancing()
        self._is_advancing = True
        try:
            while not is_enough() and await self._step(until):
                pass
        finally:
            self._is_advancing = False

    def _refuse_while_advancing(self) -> None:
        if self._is_advancing:
            raise ConfigError("advance", "time is being moved on already; a job cannot do it, nor two at once")

    async def _step(self, until: datetime | None) -> bool:
        """End one run, begin one, or go to the next moment; False when there is none up to `until`."""
        if self._end_one():
            return True
        document = self.queue.most_urgent(self.now, self._roster.limit)
        if document is not None:
            await self._begin(document)
            return True
        moment = self._next_moment()
        if moment is None or (until is not None and moment > until):
            return False
        self.now = moment
        return True

    def _next_moment(self) -> datetime | None:
        moments = [under_way.ends_at for under_way in self._under_way]
        due = self.queue.next_due(self.now)
        return min(moments if due is None else [*moments, due], default=None)

    async def _begin(self, document: VirtualDocument) -> None:
        known = self._roster[document.name]
        if "db" in known.definition.wants:
            self._databases.lend(known.definition)  # what cannot be lent is the test's mistake, not a failed run
        run = Run(
            document.claim(self.now),
            known,
            store=self.history,
            databases=self._databases,
            server=SERVER,
            monotonic=self._monotonic,
        )
        length = NO_TIME
        if run.job.recurring and not await self._missed.may_run(run):
            self.history.begin(run)
            outcome = SKIPPED
        else:
            self.history.begin(run)
            outcome = await _called(run)
            length = self._durations.get(run.name, NO_TIME)
        self._under_way.append(UnderWay(run=run, outcome=outcome, ends_at=self.now + length))

    def _monotonic(self) -> float:
        return (self.now - self._start).total_seconds()

    def _end_one(self) -> bool:
        """End a run whose time is over; of several at one moment the one that began first."""
        over = next((under_way for under_way in self._under_way if under_way.ends_at <= self.now), None)
        if over is None:
            return False
        self._under_way.remove(over)
        self._settle(over.run, over.outcome)
        return True

    def _settle(self, run: Run, outcome: Outcome) -> None:
        settlement = judge(run, outcome, now=lambda: self.now, random=self._random)
        self.history.skip(run.job, settlement.skipped, at=self.now, reason=OVERLAPPED)
        self.history.end(settlement, now=self.now)
        self.queue.settle(settlement, now=self.now)


async def _called(run: Run) -> Outcome:
    """Call the job's code in a task of its own, as a server does; where the test is cancelled the job is, too."""
    definition = run.known.definition
    executor = InlineExecutor() if definition.is_async else ThreadExecutor()
    task = asyncio.create_task(executor.call(definition, run), name=f"{run.name} {run.run_id}")
    try:
        await asyncio.wait({task})
    except asyncio.CancelledError:
        run.cancelled.set()
        await end([task])
        raise
    return task.result()
