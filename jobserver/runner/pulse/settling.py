"""ended → settled: verdicts are stored in batches, and again until MongoDB has them.

A batch is whatever has gathered while the last ones were under way, so one lone end is stored at once and a flood in
large commands. Nothing here is dropped because MongoDB is away: the token in each document decides, once it is back,
whether an end still counts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextvars import Context
from typing import TYPE_CHECKING, Protocol

import structlog

from jobserver.errors import DatabaseError
from jobserver.runner.pulse.misfire import OVERLAPPED
from jobserver.runner.pulse.recording import Recording
from jobserver.store.documents import ErrorRecord, RunRecord, Settlement
from jobserver.store.states import Status, Transition

if TYPE_CHECKING:
    from jobserver.runner.pulse.chaining import Chaining
    from jobserver.store.jobs import JobStore
    from jobserver.store.runs import RunStore

LARGEST_BATCH = 500
MOST_UNDER_WAY = 4
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0

_log = structlog.get_logger("jobserver")

# What a run's history says of each end; a run that was given back leaves none, it does not count.
HISTORY = {
    Transition.COMPLETE: Status.COMPLETED,
    Transition.RETRY: Status.FAILED,
    Transition.FAIL: Status.FAILED,
    Transition.CANCEL: Status.CANCELLED,
    Transition.SKIP: Status.SKIPPED,
    Transition.REAP: Status.FAILED,
}


class SettleListener(Protocol):
    """Who is told of ends once they are stored."""

    def settled(self, settlements: Sequence[Settlement], lost: Sequence[Settlement]) -> None:
        """These are in MongoDB; those in `lost` are not, for their lock was gone."""
        ...


class SettleLoop:
    """Stores ends, a few batches at once."""

    def __init__(
        self,
        *,
        store: JobStore,
        history: RunStore,
        chaining: Chaining,
        server: Callable[[], str],
        listeners: Sequence[SettleListener],
    ) -> None:
        self._store, self._history, self._chaining, self._server = store, history, chaining, server
        self._recording = Recording(store=history)
        self._listeners = listeners
        self._waiting: list[Settlement] = []
        self._storing: dict[int, list[Settlement]] = {}
        self._under_way: set[asyncio.Task[None]] = set()
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def tokens(self) -> set[str]:
        """Of the ends that MongoDB may not have yet."""
        return {each.job.token for batch in (self._waiting, *self._storing.values()) for each in batch}

    def add(self, settlement: Settlement) -> None:
        """Store this end soon."""
        self._waiting.append(settlement)
        self._idle.clear()
        if not self._under_way:
            self._launch()

    async def drain(self) -> None:
        """Wait until everything is stored, and what follows is told."""
        await self._idle.wait()
        await self._chaining.finish()
        await self._recording.finish()

    def abandon(self) -> int:
        """Give up what is not stored yet; returns how many ends that were."""
        for task in self._under_way:
            task.cancel()
        self._recording.abandon()
        return len(self._waiting)

    def _launch(self) -> None:
        # A context of its own: this is called from a run, whose name must not be on our records.
        task = asyncio.create_task(self._store_batches(), name="settling", context=Context())
        self._under_way.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.error("settling broke", error=repr(task.exception()))
        if self._waiting and not task.cancelled():
            self._launch()
        elif not self._under_way:
            self._idle.set()

    async def _store_batches(self) -> None:
        await asyncio.sleep(0)  # the ends of this turn of the loop belong together
        while self._waiting:
            batch = self._waiting[:LARGEST_BATCH]
            del self._waiting[:LARGEST_BATCH]
            if self._waiting and len(self._under_way) < MOST_UNDER_WAY:
                self._launch()
            self._storing[id(batch)] = batch
            try:
                await self._store_until_done(batch)
            finally:
                del self._storing[id(batch)]

    async def _store_until_done(self, batch: list[Settlement]) -> None:
        pause = FIRST_PAUSE
        while True:
            try:
                await self._record_skipped(batch)
                lost = await self._store.settle(batch)
                break
            except DatabaseError as error:
                _log.warning("mongodb away", chore="settling", waiting=len(batch), error=str(error))
                await asyncio.sleep(pause)
                pause = min(LONGEST_PAUSE, pause * 2)
        for listener in self._listeners:
            listener.settled(batch, lost)
        kept = [each for each in batch if each not in lost] if lost else batch
        await asyncio.gather(self._chaining.settled(kept), self._write_history(batch, lost))

    async def _record_skipped(self, batch: Sequence[Settlement]) -> None:
        """Before their document moves on: who did it afterwards might never come to it.

        Without the lock it is not for us to say: another server may have run these occurrences meanwhile.
        """
        overlapped = [settlement for settlement in batch if settlement.skipped]
        for settlement in await self._store.held(overlapped) if overlapped else ():
            job, at = settlement.job, settlement.job.started_at + settlement.duration
            await self._history.record_skipped(job, settlement.skipped, server=self._server(), at=at, reason=OVERLAPPED)

    async def _write_history(self, batch: list[Settlement], lost: Sequence[Settlement]) -> None:
        lost_runs = {each.job.run_id for each in batch if each.lock_lost} | {each.job.run_id for each in lost}
        server = self._server()
        records = [
            _record(settlement, server=server, lost=settlement.job.run_id in lost_runs)
            for settlement in batch
            if settlement.transition in HISTORY or settlement.job.run_id in lost_runs
        ]
        if records:
            await self._recording.record(records)


def _record(settlement: Settlement, *, server: str, lost: bool) -> RunRecord:
    if lost:
        error = ErrorRecord(message="lock lost: what this run came to was not stored")
        return RunRecord(
            job=settlement.job,
            status=Status.FAILED,
            server=server,
            duration=settlement.duration,
            error=error,
            steps=settlement.steps,
        )
    return RunRecord(
        job=settlement.job,
        status=HISTORY[settlement.transition],
        server=server,
        duration=settlement.duration,
        result=settlement.result,
        error=settlement.error,
        reason=settlement.reason if settlement.transition in (Transition.SKIP, Transition.CANCEL) else None,
        steps=settlement.steps,
    )
