"""Jobs that run in turn: one at a time on this server, in the order in which they were asked for.

Their documents are durable like any other; only the order is kept here, so after a crash they run in the order of the
claim. What is tried again has lost its turn: it runs when nobody else waits.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

import structlog

from jobserver.definition import JobDefinition
from jobserver.errors import DatabaseError
from jobserver.runner.pulse.jobs import KnownJobs
from jobserver.runner.pulse.wakeups import Wakeups
from jobserver.store.documents import ClaimedJob

LOOK_EVERY = 1.0  # seconds

_log = structlog.get_logger("jobserver")


@dataclass(frozen=True, slots=True)
class Turn:
    """One document, and the code that it was added with: two under one name may come from two closures."""

    id: Any
    definition: JobDefinition


class Turns:
    """Says which of these jobs may be claimed. `may_come` tells whether a document may still be claimed by us."""

    def __init__(self, *, jobs: KnownJobs, wakeups: Wakeups, may_come: Callable[[Any], Awaitable[bool]]) -> None:
        self._jobs, self._wakeups, self._may_come = jobs, wakeups, may_come
        self._waiting: deque[Turn] = deque()
        self._added = asyncio.Event()

    def add(self, id_: Any, definition: JobDefinition) -> None:
        """This document comes after all others."""
        self._waiting.append(Turn(id_, definition))
        self._added.set()

    def before(self, begin: Callable[[ClaimedJob], None]) -> Callable[[ClaimedJob], None]:
        """The same, once whose turn it is has taken it."""

        def begin_in_turn(job: ClaimedJob) -> None:
            if job.name in self._jobs.in_turn:
                self.begun(job.id)
            begin(job)

        return begin_in_turn

    def begun(self, id_: Any) -> None:
        """This document was claimed: its turn is over, and its run uses the code that it came with."""
        turn = next((each for each in self._waiting if each.id == id_), None)
        if turn is not None:
            self._waiting.remove(turn)
            known = self._jobs.get(turn.definition.name)
            if known is not None:
                self._jobs.put(turn.definition, known.settings)
            self._hint_next()

    def forget(self, name: str) -> None:
        """Nobody waits for this job any more."""
        self._waiting = deque(turn for turn in self._waiting if turn.definition.name != name)
        self._hint_next()

    def allowed(self, names: Iterable[str], running: Iterable[str]) -> list[str]:
        """Of these jobs, those that need no turn, and the one whose turn it is."""
        in_turn = self._jobs.in_turn
        mine: list[str] = []
        allowed: list[str] = []
        for name in names:
            (mine if name in in_turn else allowed).append(name)
        if mine and in_turn.isdisjoint(running):
            head = self._waiting[0].definition.name if self._waiting else mine[0]
            allowed += [head] if head in mine else []
        return allowed

    async def run(self) -> None:
        """Let nobody wait for a document that will not come: a hand, or another server, may have taken it."""
        while True:
            await self._added.wait()
            await asyncio.sleep(LOOK_EVERY)
            if self._waiting:
                await self._look()
            else:
                self._added.clear()

    async def _look(self) -> None:
        head = self._waiting[0]
        try:
            may_come = await self._may_come(head.id)
        except DatabaseError:
            return
        if not may_come and self._waiting and self._waiting[0] is head:
            self._waiting.popleft()
            _log.warning("turn passed", name=head.definition.name, reason="its document was taken, moved or removed")
            self._hint_next()

    def _hint_next(self) -> None:
        if self._waiting:
            self._wakeups.hint([self._waiting[0].definition.name])
