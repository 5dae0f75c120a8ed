"""Runs `async def run` on the event loop."""

from __future__ import annotations

import asyncio

from jobserver.definition import JobDefinition
from jobserver.execution.handles import Handles, Lifeline
from jobserver.execution.outcome import Outcome, completed, failed, interrupted
from jobserver.execution.run_log import current_run


async def run_inline(definition: JobDefinition, run: Lifeline) -> Outcome:
    """Call `run` and return how it ended; never raises. Cancelling the task that awaits this interrupts the job."""
    current_run.set(run)
    handles = Handles(run)
    outcome = await _call(definition, handles)
    return outcome if handles.decided is None else handles.decided.settle(outcome)


async def _call(definition: JobDefinition, handles: Handles) -> Outcome:
    try:
        job = definition.job_class()
        job._handles = handles
        return completed(await job.run(**handles.arguments(definition.wants)))  # type: ignore[attr-defined]
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        # A job may raise CancelledError by itself, say from a task of its own that was cancelled.
        return interrupted(error) if task is not None and task.cancelling() else failed(error)
    except BaseException as error:  # SystemExit too: a job must not end the server
        return failed(error)
