"""Notices a job that blocks the event loop, and says which one and at which line."""

from __future__ import annotations

import asyncio
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import FrameType

TICK = timedelta(milliseconds=250)
BLOCKED_AFTER = timedelta(seconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Blockage:
    """The loop has not turned for `seconds`; `task` is what it was running, `where` the innermost line, `stack` all."""

    seconds: float
    task: str
    where: str
    stack: str


class LoopWatch:
    """A thread that looks whether the loop still turns; reports each blockage once, while it lasts."""

    def __init__(
        self,
        report: Callable[[Blockage], None],
        *,
        monotonic: Callable[[], float],
        blocked_after: timedelta = BLOCKED_AFTER,
    ) -> None:
        self._report, self._monotonic = report, monotonic
        self._blocked_after = blocked_after.total_seconds()
        self._stop = threading.Event()
        self._turned_at = monotonic()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Watch the running loop; a second start is harmless."""
        if self._thread is None:
            loop = asyncio.get_running_loop()
            self._beat(loop)
            args = (loop, threading.get_ident())
            self._thread = threading.Thread(target=self._watch, args=args, name="loop watch", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End the thread; a second stop is harmless."""
        self._stop.set()

    def _beat(self, loop: asyncio.AbstractEventLoop) -> None:
        self._turned_at = self._monotonic()
        if not self._stop.is_set():
            loop.call_later(TICK.total_seconds(), self._beat, loop)

    def _watch(self, loop: asyncio.AbstractEventLoop, loop_thread: int) -> None:
        reported_turn = None
        while not self._stop.wait(TICK.total_seconds()):
            turned_at = self._turned_at
            silent = self._monotonic() - turned_at
            if silent > self._blocked_after and reported_turn != turned_at:
                reported_turn = turned_at
                self._report(_blockage(silent, loop, sys._current_frames().get(loop_thread)))


def _blockage(seconds: float, loop: asyncio.AbstractEventLoop, frame: FrameType | None) -> Blockage:
    task = asyncio.current_task(loop)
    stack = traceback.extract_stack(frame) if frame else traceback.StackSummary()
    innermost = stack[-1] if stack else None
    return Blockage(
        seconds=round(seconds, 2),
        task=task.get_name() if task else "",
        where=f"{innermost.filename}:{innermost.lineno} in {innermost.name}" if innermost else "",
        stack="".join(traceback.StackSummary.from_list(_job_frames(stack)).format()),
    )


def _job_frames(stack: traceback.StackSummary) -> list[traceback.FrameSummary]:
    """From our call of the job's code on; everything where the loop is blocked by something else."""
    ours = [index for index, frame in enumerate(stack) if Path(frame.filename).parent == Path(__file__).parent]
    return list(stack[ours[-1] + 1 :]) if ours else list(stack)
