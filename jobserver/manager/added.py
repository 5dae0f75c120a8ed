"""What a program hands to its server: jobs by `add_job`, one-offs by `add_one_off_job`."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from jobserver.definition import JobDefinition
from jobserver.errors import AlreadyAdded, NameTaken
from jobserver.manager.manager import JobManager
from jobserver.one_off import OneOff
from jobserver.runner.interfaces import JobRunner
from jobserver.store import one_offs
from jobserver.store.one_offs import OneOffRequest
from jobserver.store.queue import AsyncQueue


class AddedJobs:
    """Takes on what the program brings, one call after the other."""

    def __init__(self, *, manager: JobManager, runner: JobRunner, queue: AsyncQueue) -> None:
        self._manager, self._runner, self._queue = manager, runner, queue
        self._added: dict[str, JobDefinition] = {}

    @property
    def known(self) -> Collection[str]:
        """The names of the jobs that this server manages."""
        return self._manager.jobs.keys()

    async def add(self, definition: JobDefinition, *, now: bool, data: Any) -> None:
        """A job; `now` asks for one run of it at once. Raises AlreadyAdded, NameTaken."""
        name = definition.name
        before = self._added.get(name)
        if before is not None and not (before.in_turn and definition.in_turn):
            raise AlreadyAdded(name)
        if before is None:
            await self._refuse_name_of_one_off(name)
        settings = await self._manager.add(definition)
        if now:
            await self._runner.scheduler.run_job_now(name, settings, data=data)
        self._added[name] = definition  # last: who is told that MongoDB is away may add it again

    async def remove(self, name: str) -> None:
        """No more runs of it. Raises UnknownJob, NotAdded."""
        await self._manager.remove(name)
        self._added.pop(name, None)

    async def add_one_off(self, request: OneOffRequest, definition: JobDefinition | None) -> OneOff:
        """A one-off; `definition` is code that only this server has. Raises AlreadyAdded, NameTaken.

        Code for one that is queued, or was left over by a server that has died, is taken on, for nobody else may have
        it: the document decides that it runs but once.
        """
        if not request.by_name and request.name in self._manager.jobs:
            raise NameTaken(request.name, self._manager.jobs[request.name].definition.path)
        one_off, is_ours = await self._queue.carry_out(one_offs.add(self._queue.desk, request))
        lacks_code = definition is not None and one_off.needs_code and not one_off.has_ended
        if not is_ours and (not lacks_code or self._runner.executor.has_code_of(request.name)):
            raise AlreadyAdded(one_off.name, state=one_off.state, at=one_off.since)
        if definition is not None:
            await self._runner.executor.supply(definition, request=one_off.id)
        return one_off

    async def _refuse_name_of_one_off(self, name: str) -> None:
        """Its document would be claimed with the job's, and run as what it is not."""
        found = await self._queue.carry_out(one_offs.find(self._queue.desk, name), failed="one-offs could not be read")
        if found is not None and not found.has_ended:
            raise NameTaken(name, f"a one-off that is {found.state}")
