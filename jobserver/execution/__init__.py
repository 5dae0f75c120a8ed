"""Calls one handler and says how it ended; knows neither runner nor MongoDB.

outcome   how a run can end
handles   what a run lends to the job's code
done      the callback form of the same decision
inline    `async def run`, on the event loop
thread    `def run`, in a thread of its own
run_log   records that know their run
blocking  notices a job that blocks the event loop
"""

from __future__ import annotations

from jobserver.execution.handles import Handles, Lifeline
from jobserver.execution.inline import run_inline
from jobserver.execution.outcome import Outcome, OutcomeKind
from jobserver.execution.thread import run_in_thread

__all__ = ["Handles", "Lifeline", "Outcome", "OutcomeKind", "run_in_thread", "run_inline"]
