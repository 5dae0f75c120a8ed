"""One-off jobs that no file brings: taken on when they are due, forgotten when they have ended.

A server takes on what its own program has handed over, and what any server can run because the document says how. It
knows few of them at a time, however many wait, so that a thousand one-offs are not a thousand lanes of every claim.
Whether one has ended elsewhere is looked up now and then; until it is, knowing its name does no harm.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import structlog

from jobserver.definition import Execution, JobDefinition, JobSettings
from jobserver.errors import DatabaseError, DefinitionError
from jobserver.runner.pulse.jobs import KnownJobs
from jobserver.runner.pulse.turns import Turns
from jobserver.runner.pulse.wakeups import Wakeups
from jobserver.store.connection import Document
from jobserver.store.documents import Settlement
from jobserver.store.one_offs import OneOffStore
from jobserver.store.states import Transition

MOST_KNOWN = 50
LOOK_EVERY = timedelta(seconds=5)
AFTER_ERROR = 1.0
ENDS = (Transition.COMPLETE, Transition.FAIL, Transition.CANCEL, Transition.SKIP)

_log = structlog.get_logger("jobserver")


class OneOffs:
    """The chore that takes them on; also a listener of the settle loop."""

    def __init__(
        self,
        *,
        store: OneOffStore,
        jobs: KnownJobs,
        turns: Turns,
        wakeups: Wakeups,
        define: Callable[[str, Mapping[str, Any]], JobDefinition],
        lock_lifetime: timedelta,
        every: timedelta,
    ) -> None:
        self._store, self._jobs, self._turns, self._wakeups = store, jobs, turns, wakeups
        self._define, self._lock_lifetime = define, lock_lifetime
        self._every = max(every, LOOK_EVERY).total_seconds()
        self._handed_over: dict[str, JobDefinition] = {}
        self._known: dict[str, JobDefinition] = {}
        self._refused: dict[str, str] = {}
        self._refused_before: dict[str, str] = {}
        self._ended: set[str] = set()
        self._look = asyncio.Event()

    def supply(self, definition: JobDefinition, request: Any) -> None:
        """The program has handed this code over; the one in turn waits for its turn."""
        self._handed_over[definition.name] = definition
        if definition.in_turn:
            self._turns.add(request, definition)
            self._take_on(definition)
        self.look()

    def has_code_of(self, name: str) -> bool:
        """Whether the program has handed it over, and it has not ended here."""
        return name in self._handed_over

    def look(self) -> None:
        """One may be due."""
        self._look.set()

    async def run(self) -> None:
        """Look whenever there is a reason to, and now and then without one."""
        while True:
            self._look.clear()
            try:
                await self._step()
                delay = self._every
            except DatabaseError as error:
                _log.warning("mongodb away", chore="finding one-offs", error=str(error), next_try_in=AFTER_ERROR)
                delay = AFTER_ERROR
            try:
                async with asyncio.timeout(delay):
                    await self._look.wait()
            except TimeoutError:
                # What was not to be had may be there by now.
                self._refused_before, self._refused = self._refused, {}
                self._ended |= self._known.keys()  # another server may have run them

    def settled(self, settlements: Sequence[Settlement], lost: Sequence[Settlement]) -> None:
        """Forget what has ended for good, and go on with the next."""
        if self._known:
            ended = {each.job.name for each in settlements if each.job.one_off and each.transition in ENDS}
            if ended:
                self._ended |= ended
                self.look()

    async def _step(self) -> None:
        await self._forget_ended()
        while (room := MOST_KNOWN - len(self._known.keys() - self._jobs.in_turn)) > 0:
            handed_over = self._handed_over.keys() - self._known
            without = self._known.keys() | self._refused.keys()
            documents = await self._store.due(
                handed_over=handed_over, known=list(self._jobs), without=without, limit=room
            )
            for document in documents:
                definition = await self._definition(document)
                if definition is not None:
                    self._take_on(definition)
            if len(documents) < room:  # else those that cannot run here may stand before others that can
                return

    async def _definition(self, document: Document) -> JobDefinition | None:
        """None for what cannot run here: another server may have the file."""
        name = document["name"]
        try:
            if name in self._jobs:
                raise DefinitionError(path=name, message="a job of that name is known here: its one-off cannot run")
            if name in self._handed_over:
                return self._handed_over[name]
            return await self._stored(name, document["handler"])
        except Exception as error:  # a hand may have written anything: it must not keep the others from running
            self._refused[name] = str(error)
            if self._refused_before.get(name) != str(error):  # once for each reason, however long it waits
                _log.warning("one-off not taken on", name=name, reason=str(error), note="another server may have it")
            return None

    async def _stored(self, name: str, handler: Mapping[str, Any]) -> JobDefinition:
        if handler.get("kind") == "job":
            known = self._jobs.get(str(handler.get("name")))
            if known is None:
                raise DefinitionError(path=name, message=f"job {handler.get('name')!r} is not known here")
            return replace(known.definition, name=name)
        return await asyncio.to_thread(self._define, name, handler)

    def _take_on(self, definition: JobDefinition) -> None:
        self._known[definition.name] = definition
        self._jobs.put(definition, self._settings(definition))
        self._wakeups.hint([definition.name])

    def _settings(self, definition: JobDefinition) -> JobSettings:
        """Its own defaults: it has no configuration document, for it runs but once."""
        defaults = definition.defaults
        return JobSettings(
            schedule=defaults.schedule,
            enabled=True,
            retry=defaults.retry,
            priority=defaults.priority,
            concurrency=1,
            global_concurrency=None,
            lock_lifetime=defaults.lock_lifetime or self._lock_lifetime,
            execution=defaults.execution or Execution.usual(is_async=definition.is_async),
            slots=defaults.slots,
            max_execution_time=defaults.max_execution_time,
        )

    async def _forget_ended(self) -> None:
        """What neither waits nor runs; one may have been added again since it has ended, and its code with it."""
        if not self._ended:
            return
        before = {name: self._handed_over.get(name) for name in self._ended}
        wanted = await self._store.still_wanted(before)
        self._ended -= before.keys()
        for name in before.keys() - wanted:
            if self._handed_over.get(name) is before[name]:
                self._forget(name)

    def _forget(self, name: str) -> None:
        self._handed_over.pop(name, None)
        definition, known = self._known.pop(name, None), self._jobs.get(name)
        if known is not None and known.definition is definition:  # else a file has brought a job of that name since
            self._jobs.remove(name)
