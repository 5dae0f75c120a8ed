"""The run itself: its order, what it is lent, the call, and its last word."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Awaitable, Callable, Mapping
from contextvars import copy_context
from types import TracebackType
from typing import Any, NoReturn, TypeVar

from jobserver.errors import Interrupted, JobServerError
from jobserver.execution.outcome import Outcome, OutcomeKind, completed, failed, interrupted
from jobserver.execution.process.channel import Channel
from jobserver.execution.process.exits import begin_anew
from jobserver.execution.process.lent import ProcessHandles, RemoteHandles, RemoteRun
from jobserver.execution.process.limiting import explained, impose, lift
from jobserver.execution.process.orders import limits_of
from jobserver.execution.process.printing import capture
from jobserver.execution.process.telling import outcome_message
from jobserver.execution.process.wire import Codec, receive
from jobserver.execution.run_log import current_run

BaseExceptionT = TypeVar("BaseExceptionT", bound=BaseException)

Target = Callable[..., Any]
"""Takes the handles of the run, and calls the job with what it asks for; awaited for `async def run`."""


class NotLoaded(JobServerError):
    """The job's code cannot be imported; `trace` is the author's part of the traceback."""

    def __init__(self, message: str, trace: str) -> None:
        super().__init__(message)
        self.trace = trace


def run_once(
    server: socket.socket,
    *,
    codec: Codec,
    find: Callable[[Mapping[str, Any]], Target],
    connect: Callable[[Mapping[str, Any]], Any],
) -> NoReturn:
    """Wait for the order, do what it says, end the process.

    `find` gives the job's code or raises NotLoaded, `connect` the database handle that suits it, both by the order.
    """
    encoded = receive(server)
    if encoded is None:  # the server has thought better of it, or is gone
        os._exit(1)
    order = codec.decode(encoded)
    begin_anew()
    channel = Channel(server, codec)
    flush = capture(channel.log, level=order["level"])
    code = 1
    try:
        code = _Call(order, channel, codec, find, connect).make()
    finally:
        _end(flush, code)


class _Call:
    def __init__(self, order: Mapping[str, Any], channel: Channel, codec: Codec, find: Any, connect: Any) -> None:
        self._order, self._channel, self._codec, self._find = order, channel, codec, find
        self._limits = limits_of(order)
        self._run = RemoteRun(order, channel, connect)
        self._ours = {__file__}
        self._is_told = False
        self._on_told: Callable[[], None] = lambda: None

    def make(self) -> int:
        """Call it, and tell how it ended; the exit code of this process."""
        current_run.set(self._run)
        signal.signal(signal.SIGTERM, _interrupt)
        self._channel.listen(self._hear)
        outcome = interrupted()
        try:
            with contextlib.suppress(Interrupted):  # it may come as late as this
                outcome = self._outcome()
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # its end is being told
        lift()
        return self._tell(outcome)

    def _outcome(self) -> Outcome:
        handles = (RemoteHandles if self._order["is_async"] else ProcessHandles)(self._run, self._decide)
        try:
            outcome = self._called(handles)
        except NotLoaded as error:
            outcome = Outcome(OutcomeKind.FAILED, None, error, str(error), error.trace)
        except Interrupted as error:
            outcome = interrupted(self._from_the_job(error))
        except BaseException as error:  # SystemExit too
            outcome = explained(failed(self._from_the_job(error)), self._limits)
        return outcome if handles.decided is None else handles.decided.settle(outcome)

    def _called(self, handles: RemoteHandles | ProcessHandles) -> Outcome:
        impose(self._limits)
        target = self._find(self._order)
        self._ours |= {target.__code__.co_filename}
        if self._order["is_async"]:
            ends: list[Outcome] = []
            asyncio.run(self._awaited(target(handles), ends))
            return ends[0]
        return completed(copy_context().run(target, handles))

    async def _awaited(self, running: Awaitable[Any], ends: list[Outcome]) -> None:
        """The outcome goes beside the task: asyncio shows what a task came to, and its own words may raise anything."""
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        self._on_told = lambda: _from_thread(loop, task)
        if self._is_told:  # before there was a task
            task.cancel()
        loop.add_signal_handler(signal.SIGTERM, task.cancel)
        try:
            ends.append(completed(await running))
        except asyncio.CancelledError as error:
            # A job may raise CancelledError by itself, say from a task of its own that was cancelled.
            error = self._from_the_job(error)
            ends.append(interrupted(error) if task.cancelling() else failed(error))
        except Exception as error:
            ends.append(explained(failed(self._from_the_job(error)), self._limits))

    def _from_the_job(self, error: BaseExceptionT) -> BaseExceptionT:
        """With a traceback that begins at our last call, which is left out later."""
        frame: TracebackType | None = error.__traceback__
        last = frame
        while frame is not None:
            if frame.tb_frame.f_code.co_filename in self._ours:
                last = frame
            frame = frame.tb_next
        return error.with_traceback(last)

    def _hear(self) -> None:
        """On another thread: the run is to end."""
        self._is_told = True
        self._run.cancelled.set()
        self._on_told()

    def _decide(self, outcome: Outcome) -> None:
        """`done` counts at once: the server waits no longer than its grace for this process to end."""
        self._tell(outcome)

    def _tell(self, outcome: Outcome) -> int:
        message, code = outcome_message(outcome, self._codec)
        if not self._run.has_told:
            self._run.has_told = True
            self._channel.end(message)
        return code


def _from_thread(loop: asyncio.AbstractEventLoop, task: asyncio.Task[Any]) -> None:
    with contextlib.suppress(RuntimeError):  # the loop is closed: the run has ended by itself
        loop.call_soon_threadsafe(task.cancel)


def _interrupt(_number: int, _frame: Any) -> NoReturn:
    raise Interrupted


def _end(flush: Callable[[], None], code: int) -> NoReturn:
    """What the job has left to be done at exit is done; what the interpreter would tear down dies with the process."""
    try:
        with contextlib.suppress(BaseException):
            threading._shutdown()  # type: ignore[attr-defined]  # waits for the job's own threads, as Python does
            atexit._run_exitfuncs()
        with contextlib.suppress(BaseException):
            flush()
            _flush_standard_streams()
    finally:
        os._exit(code)


def _flush_standard_streams() -> None:
    for stream in (sys.__stdout__, sys.__stderr__):
        if stream is not None:
            stream.flush()
