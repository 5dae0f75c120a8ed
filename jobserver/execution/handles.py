"""What a run lends to the job's code, by parameter name."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Protocol

from jobserver.errors import DataError, JobCancelled
from jobserver.excerpt import excerpt
from jobserver.execution.done import Done
from jobserver.execution.outcome import Outcome, storable_text
from jobserver.execution.run_log import RunLog, RunSink
from jobserver.job import CancelFlag, JobContext

MAX_PROGRESS_MESSAGE = 1_000

OnMessage = Callable[["Lifeline", Any], None]
"""Hears on the event loop what runs say with `context.post`."""


def ignore(_run: Lifeline, _message: Any) -> None:
    """Where nobody wants to hear what runs say."""


class Lifeline(Protocol):
    """A run as its job may see it; the runner holds the other end."""

    @property
    def name(self) -> str: ...
    @property
    def run_id(self) -> str: ...
    @property
    def data(self) -> Any: ...
    @property
    def context(self) -> JobContext: ...
    @property
    def cancelled(self) -> CancelFlag: ...
    @property
    def alive_until(self) -> float:
        """When its lock ends unless it gives a sign of life, in seconds of CLOCK_BOOTTIME."""
        ...

    @property
    def sink(self) -> RunSink: ...

    def database(self) -> Any:
        """The database handle that suits the job."""
        ...

    async def touch(self) -> None:
        """Extend the lock. Raises LockLost."""
        ...

    async def report(self, total: float, current: float, message: str | None) -> None:
        """Store progress and extend the lock. Raises LockLost."""
        ...


class Handles:
    """Everything `run` can ask for; what it does not ask for is not made."""

    __slots__ = ("_context", "_done", "_log", "_on_message", "run")

    def __init__(self, run: Lifeline, on_message: OnMessage = ignore) -> None:
        self.run, self._on_message = run, on_message
        self._context: JobContext | None = None
        self._log: RunLog | None = None
        self._done: Done | None = None

    @property
    def context(self) -> JobContext:
        if self._context is None:
            self._context = replace(self.run.context, poster=self.post)
        return self._context

    @property
    def data(self) -> Any:
        return self.run.data

    @property
    def log(self) -> RunLog:
        if self._log is None:
            self._log = RunLog(self.run)
        return self._log

    @property
    def done(self) -> Done:
        if self._done is None:
            self._done = Done(self.log, self._decide)
        return self._done

    @property
    def decided(self) -> Done | None:
        """`done`, where the job has asked for it."""
        return self._done

    @property
    def db(self) -> Any:
        return self.run.database()

    def touch(self) -> Awaitable[None] | None:
        return self.run.touch()

    def progress(self, total: float, current: float, message: str | None = None) -> Awaitable[None] | None:
        check_progress(total, current, message)
        return self.run.report(total, current, storable_message(message))

    def post(self, message: Any) -> None:
        """Two words decide the run, everything else is for whoever listens."""
        if message == "done":
            self.done()
        elif message == "cancelled":
            self.done(JobCancelled("the run says that it was cancelled"))
        else:
            self._tell(message)

    def _tell(self, message: Any) -> None:
        self._on_message(self.run, message)

    def _decide(self, outcome: Outcome) -> None:
        """`done` has decided; here that counts once `run` has ended."""

    def arguments(self, wants: tuple[str, ...]) -> dict[str, Any]:
        """The keyword arguments of `run`."""
        return {name: getattr(self, name) for name in wants}


class ThreadHandles(Handles):
    """The same for code in a thread: `touch` and `progress` are plain calls that end when the database has answered."""

    __slots__ = ("_loop",)

    def __init__(self, run: Lifeline, loop: asyncio.AbstractEventLoop, on_message: OnMessage = ignore) -> None:
        super().__init__(run, on_message)
        self._loop = loop

    def touch(self) -> None:
        self._wait(self.run.touch())

    def progress(self, total: float, current: float, message: str | None = None) -> None:
        check_progress(total, current, message)
        self._wait(self.run.report(total, current, storable_message(message)))

    def _tell(self, message: Any) -> None:
        self._loop.call_soon_threadsafe(self._on_message, self.run, message)

    def _wait(self, step: Any) -> None:
        if self.run.cancelled:
            step.close()
            raise JobCancelled("the run was told to stop")
        asyncio.run_coroutine_threadsafe(step, self._loop).result()


def check_progress(total: Any, current: Any, message: Any) -> None:
    """Raise DataError for values that are no progress; nothing is stored then."""
    for name, value in (("total", total), ("current", current)):
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
            raise DataError(
                f"progress: {name}={excerpt(value)} is not a number from 0 on; call progress(total, current, text)"
            )
        if value >= 2**63:
            raise DataError(f"progress: {name}={excerpt(value)} is too large")
    if message is not None and not isinstance(message, str):
        raise DataError(f"progress: message={excerpt(message)} is not a text; call progress(total, current, text)")


def storable_message(message: str | None) -> str | None:
    """The text of a progress report, as BSON takes it."""
    return None if message is None else storable_text(message, MAX_PROGRESS_MESSAGE)
