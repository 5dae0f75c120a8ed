"""What a run in a process of its own is lent: the same names as elsewhere, with the server behind a socket."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any

from jobserver.errors import JobCancelled
from jobserver.execution.handles import Handles, check_progress, storable_message
from jobserver.execution.outcome import Outcome
from jobserver.execution.process.channel import Channel
from jobserver.execution.process.orders import context_of
from jobserver.execution.run_log import UNKEPT, RunSink
from jobserver.job import CancelFlag, JobContext


class RemoteRun:
    """A `Lifeline` whose other end is a `Conversation` of the server."""

    def __init__(self, order: Mapping[str, Any], channel: Channel, connect: Callable[[Mapping[str, Any]], Any]) -> None:
        self.name: str = order["name"]
        self.run_id: str = order["run_id"]
        self.data: Any = order["data"]
        self.cancelled = CancelFlag()
        self.context: JobContext = context_of(order, self.cancelled)
        self.channel = channel
        self.alive_until = float("inf")  # the keeper knows
        self.sink: RunSink = UNKEPT  # what is shown here crosses to the log that the server keeps
        self.has_told = False
        self._order, self._connect = order, connect
        self._database: Any = None

    def database(self) -> Any:
        """A client of its own, made when it is first asked for."""
        if self._database is None:
            self._database = self._connect(self._order)
        return self._database

    def ask_touch(self) -> Future[None]:
        """Extend the lock; the answer raises LockLost or JobCancelled."""
        return self.channel.ask({"kind": "touch"})

    def ask_report(self, total: float, current: float, message: str | None) -> Future[None]:
        """Store progress and extend the lock; the answer raises LockLost or JobCancelled."""
        return self.channel.ask({"kind": "progress", "total": total, "current": current, "message": message})

    async def touch(self) -> None:
        """Extend the lock. Raises LockLost."""
        await asyncio.wrap_future(self.ask_touch())

    async def report(self, total: float, current: float, message: str | None) -> None:
        """Store progress and extend the lock. Raises LockLost."""
        await asyncio.wrap_future(self.ask_report(total, current, message))


class RemoteHandles(Handles):
    """For `async def run`: `touch` and `progress` are awaited."""

    __slots__ = ("_decided", "_remote")

    def __init__(self, run: RemoteRun, decided: Callable[[Outcome], None]) -> None:
        super().__init__(run)
        self._remote, self._decided = run, decided

    def _tell(self, message: Any) -> None:
        self._remote.channel.post(message)

    def _decide(self, outcome: Outcome) -> None:
        self._decided(outcome)


class ProcessHandles(RemoteHandles):
    """For `def run`: `touch` and `progress` are plain calls that end when the database has answered."""

    __slots__ = ()

    def touch(self) -> None:
        self._refuse_when_told()
        self._remote.ask_touch().result()

    def progress(self, total: float, current: float, message: str | None = None) -> None:
        check_progress(total, current, message)
        self._refuse_when_told()
        self._remote.ask_report(total, current, storable_message(message)).result()

    def _refuse_when_told(self) -> None:
        if self.run.cancelled:
            raise JobCancelled("the run was told to stop")
