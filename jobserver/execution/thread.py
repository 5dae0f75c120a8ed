"""Calls `def run` in a thread of its own, so that it may block."""

from __future__ import annotations

import asyncio
import contextvars
import ctypes
import threading
from contextlib import suppress

from jobserver.definition import JobDefinition
from jobserver.errors import Interrupted
from jobserver.execution.handles import Lifeline, OnMessage, ThreadHandles, ignore
from jobserver.execution.outcome import Outcome, completed, failed, interrupted
from jobserver.execution.run_log import current_run


class ThreadExecutor:
    """An `Executor` with one thread per run; daemons, so that one that never ends does not keep the process.

    Telling a run is its `cancelled` flag, which `progress` and `touch` look at; interrupting it raises `Interrupted` in
    its thread at the next line of Python. A thread that waits in C, say for a socket, cannot be ended by anybody.
    """

    def __init__(self, on_message: OnMessage = ignore) -> None:
        self._on_message = on_message
        self._threads: dict[str, int] = {}
        self._turn = threading.Lock()

    async def call(self, definition: JobDefinition, run: Lifeline) -> Outcome:
        """Call `run` of the definition's class in a new thread."""
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[None] = loop.create_future()
        # Emptied when it is read: the traceback of an error holds the frames of its thread, and these hold this.
        outcomes: list[Outcome] = []
        current_run.set(run)
        context = contextvars.copy_context()
        handles = ThreadHandles(run, loop, self._on_message)

        def work() -> None:
            with suppress(Interrupted):  # it may come as late as this
                outcomes.append(self._outcome(definition, handles, context))
            with suppress(RuntimeError):  # the loop is closed: the server has given this thread up and is gone
                loop.call_soon_threadsafe(_tell, ended)

        try:
            threading.Thread(target=work, name=f"run {run.run_id}", daemon=True).start()
        except RuntimeError as error:  # no thread is left to be had
            return failed(error)
        await ended
        return outcomes.pop() if outcomes else interrupted()

    def tell(self, run: Lifeline) -> None:
        """The flag is all there is to it."""

    def interrupt(self, run: Lifeline) -> None:
        """Raise `Interrupted` in its thread."""
        with self._turn:
            thread = self._threads.get(run.run_id)
            if thread is not None:
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(Interrupted))

    def stop(self, run: Lifeline) -> None:
        """Nothing ends a thread that goes on."""

    def _outcome(self, definition: JobDefinition, handles: ThreadHandles, context: contextvars.Context) -> Outcome:
        """How it ended; an interruption that comes while it ends anyway changes that, and never loses it."""
        run_id, outcome = handles.run.run_id, interrupted()
        self._threads[run_id] = threading.get_ident()
        try:
            outcome = context.run(_call, definition, handles)
        except BaseException as error:  # whatever it is: a run that never ends would hold its lock for ever
            outcome = failed(error)
        while run_id in self._threads:
            with suppress(Interrupted), self._turn:
                self._threads.pop(run_id, None)
        try:
            return outcome
        finally:
            del outcome  # its traceback holds this frame


def _call(definition: JobDefinition, handles: ThreadHandles) -> Outcome:
    return _decided(_run(definition, handles), handles)


def _decided(outcome: Outcome, handles: ThreadHandles) -> Outcome:
    return outcome if handles.decided is None else handles.decided.settle(outcome)


def _run(definition: JobDefinition, handles: ThreadHandles) -> Outcome:
    try:
        job = definition.job_class()
        job._handles = handles
        return completed(job.run(**handles.arguments(definition.wants)))  # type: ignore[attr-defined]
    except Interrupted as error:
        return interrupted(error)
    except BaseException as error:  # SystemExit too: a job must not end the server
        return failed(error)


def _tell(ended: asyncio.Future[None]) -> None:
    if not ended.done():
        ended.set_result(None)
