"""Runs `def run` in a thread of its own, so that it may block."""

from __future__ import annotations

import asyncio
import contextvars
import threading

from jobserver.definition import JobDefinition
from jobserver.execution.handles import Lifeline, ThreadHandles
from jobserver.execution.outcome import Outcome, completed, failed, interrupted
from jobserver.execution.run_log import current_run


async def run_in_thread(definition: JobDefinition, run: Lifeline) -> Outcome:
    """Call `run` and return how it ended; never raises.

    Cancelling the task that awaits this tells the job (`context.cancelled`, and JobCancelled from its next `progress`
    or `touch`) and waits on; cancelling it a second time gives the thread up. Threads are daemons: one that never
    ends does not keep the process.
    """
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[Outcome] = loop.create_future()
    current_run.set(run)
    context = contextvars.copy_context()
    handles = ThreadHandles(run, loop)

    def work() -> None:
        try:
            outcome = context.run(_call, definition, handles)
        except BaseException as error:  # whatever it is: a run that never ends would hold its lock for ever
            outcome = failed(error)
        try:
            loop.call_soon_threadsafe(_tell, ended, outcome)
        except RuntimeError:  # the loop is closed: the server gave this thread up and is gone
            return

    try:
        threading.Thread(target=work, name=f"run {run.run_id}", daemon=True).start()
    except RuntimeError as error:  # no thread is left to be had
        return failed(error)
    try:
        return await asyncio.shield(ended)
    except asyncio.CancelledError:
        run.cancelled.set()
        return await _last_word(ended)


async def _last_word(ended: asyncio.Future[Outcome]) -> Outcome:
    try:
        outcome = await asyncio.shield(ended)
    except asyncio.CancelledError as given_up:
        return interrupted(given_up)
    return interrupted(outcome.error) if outcome.error is not None else outcome


def _call(definition: JobDefinition, handles: ThreadHandles) -> Outcome:
    outcome = _run(definition, handles)
    return outcome if handles.decided is None else handles.decided.settle(outcome)


def _run(definition: JobDefinition, handles: ThreadHandles) -> Outcome:
    try:
        job = definition.job_class()
        job._handles = handles
        return completed(job.run(**handles.arguments(definition.wants)))  # type: ignore[attr-defined]
    except BaseException as error:  # SystemExit too: a job must not end the server
        return failed(error)


def _tell(ended: asyncio.Future[Outcome], outcome: Outcome) -> None:
    if not ended.done():
        ended.set_result(outcome)
