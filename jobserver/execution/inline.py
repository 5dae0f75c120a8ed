"""Calls `async def run` on the event loop."""

from __future__ import annotations

import asyncio
from typing import Any

from jobserver.definition import JobDefinition
from jobserver.execution.handles import Handles, Lifeline, OnMessage, ignore
from jobserver.execution.outcome import Outcome, completed, failed, interrupted
from jobserver.execution.run_log import current_run


class InlineExecutor:
    """An `Executor` in the task that calls it: telling a run cancels that task, and so does interrupting it.

    A coroutine that catches every CancelledError cannot be ended by anybody.
    """

    def __init__(self, on_message: OnMessage = ignore) -> None:
        self._on_message = on_message
        self._tasks: dict[str, asyncio.Task[Any]] = {}

    async def call(self, definition: JobDefinition, run: Lifeline) -> Outcome:
        """Await `run` of the definition's class."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks[run.run_id] = task
        current_run.set(run)
        handles = Handles(run, self._on_message)
        try:
            outcome = await _call(definition, handles, task)
        finally:
            del self._tasks[run.run_id]
        return outcome if handles.decided is None else handles.decided.settle(outcome)

    def tell(self, run: Lifeline) -> None:
        """CancelledError where it awaits."""
        task = self._tasks.get(run.run_id)
        if task is not None:
            task.cancel()

    def interrupt(self, run: Lifeline) -> None:
        """CancelledError once more."""
        self.tell(run)

    def stop(self, run: Lifeline) -> None:
        """Nothing ends a coroutine that goes on."""


async def _call(definition: JobDefinition, handles: Handles, task: asyncio.Task[Any]) -> Outcome:
    try:
        job = definition.job_class()
        job._handles = handles
        return completed(await job.run(**handles.arguments(definition.wants)))  # type: ignore[attr-defined]
    except asyncio.CancelledError as error:
        # A job may raise CancelledError by itself, say from a task of its own that was cancelled.
        return interrupted(error) if task.cancelling() else failed(error)
    except BaseException as error:  # SystemExit too: a job must not end the server
        return failed(error)
