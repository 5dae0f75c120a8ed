"""Calls one handler and says how it ended; knows neither runner nor MongoDB.

executor  the seam: call, and stop in three steps
inline    `async def run`, on the event loop
thread    `def run`, in a thread of its own
process   either, in a process of its own; not imported here, for it is the larger part
outcome   how a run can end
handles   what a run lends to the job's code
done      the callback form of the same decision
run_log   records that know their run, and the seam to whoever keeps them
plain_logging  the same for records of `logging`
blocking  notices a job that blocks the event loop
"""

from __future__ import annotations

from jobserver.execution.executor import Executor
from jobserver.execution.handles import Handles, Lifeline
from jobserver.execution.inline import InlineExecutor
from jobserver.execution.outcome import Outcome, OutcomeKind
from jobserver.execution.thread import ThreadExecutor

__all__ = ["Executor", "Handles", "InlineExecutor", "Lifeline", "Outcome", "OutcomeKind", "ThreadExecutor"]
