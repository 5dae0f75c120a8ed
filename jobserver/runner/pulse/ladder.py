"""The one way in which a run is stopped, whatever kind it is and whoever asked for it.

    told          its `cancelled` flag is set; CancelledError in a coroutine, a message to a process
    interrupted   half the grace later: CancelledError again, `Interrupted` in a thread, SIGTERM to a process
    stopped       at the end of the grace: SIGKILL to a process and all that it started
    given up      then, or a moment later, for code that nothing can end: its slot is free, its document goes on

Each step is taken only if the run still goes on, is logged, and is written to the run's entry in `jobRuns`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from enum import StrEnum

import structlog

from jobserver.definition import Execution
from jobserver.lengths import describe_length
from jobserver.runner.pulse.run import Run, Stop
from jobserver.store.documents import StopStep

LAST_MOMENT = 1.0  # seconds from stopping a run to giving it up: a process that is killed has to be seen to end

_log = structlog.get_logger("jobserver")


class Step(StrEnum):
    """How far a run had to be pushed."""

    TOLD = "told"
    INTERRUPTED = "interrupted"
    STOPPED = "stopped"
    GIVEN_UP = "given up"


class Ladder:
    """Stops runs, on the event loop. `grace` is the usual time from the first step to the third."""

    def __init__(self, *, grace: timedelta, give_up: Callable[[Run], None], now: Callable[[], datetime]) -> None:
        self._grace, self._give_up, self._now = grace, give_up, now

    def begin(self, run: Run, stop: Stop, reason: str, *, grace: timedelta | None = None) -> None:
        """Stop this run. One that is being stopped already goes on from the step it has come to, if that is sooner."""
        run.mark(stop, reason)
        seconds = (self._grace if grace is None else grace).total_seconds()
        after = {Step.TOLD: 0.0, Step.INTERRUPTED: seconds / 2, Step.GIVEN_UP: seconds}
        if run.known.execution is Execution.PROCESS:
            after |= {Step.STOPPED: seconds, Step.GIVEN_UP: seconds + LAST_MOMENT}
        taken = {each.step for each in run.steps}
        ahead = {step: delay for step, delay in after.items() if step not in taken}
        if Step.TOLD in ahead:
            self._take(run, Step.TOLD)
            del ahead[Step.TOLD]
        loop = asyncio.get_running_loop()
        if run.timers and max(timer.when() for timer in run.timers) <= loop.time() + after[Step.GIVEN_UP]:
            return
        _cancel(run)
        run.timers = tuple(loop.call_later(delay, self._take, run, step) for step, delay in ahead.items())

    def limit(self, run: Run, longest: timedelta) -> None:
        """Stop this run once it has taken so long."""
        reason = f"it took longer than its max_execution_time of {describe_length(longest)}"
        loop = asyncio.get_running_loop()
        run.overtime = loop.call_later(longest.total_seconds(), self.begin, run, Stop.OVERTIME, reason)

    def end(self, run: Run) -> None:
        """Take no further step: the run has ended."""
        if run.overtime is not None:
            run.overtime.cancel()
        if run.timers:
            _cancel(run)

    def _take(self, run: Run, step: Step) -> None:
        run.steps += (StopStep(step=step, at=self._now()),)
        # Being told is what anybody may ask for; only what follows is news.
        level = "info" if step is Step.TOLD else "warning"
        getattr(_log, level)("run stopping", name=run.name, run=run.run_id, step=step, reason=run.stop_reason)
        if run.sink.admits():
            run.sink.keep(level, "run stopping", {"step": str(step), "reason": run.stop_reason})
        match step:
            case Step.TOLD:
                self._tell(run)
            case Step.INTERRUPTED if run.executor is not None:
                run.executor.interrupt(run)
            case Step.STOPPED if run.executor is not None:
                run.executor.stop(run)
            case Step.GIVEN_UP:
                self._give_up(run)

    def _tell(self, run: Run) -> None:
        if run.executor is not None:
            run.executor.tell(run)
        # A task that is cancelled before its first step never runs at all: nobody would settle it and free its slot.
        elif run.task is not None and run.has_begun:
            run.task.cancel(run.stop_reason)


def _cancel(run: Run) -> None:
    for timer in run.timers:
        timer.cancel()
    run.timers = ()
