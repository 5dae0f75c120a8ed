"""What ends a server from outside, and a last resort where it cannot end itself.

SIGTERM, SIGINT   in order: runs have their grace period; once more, and they have none
SIGQUIT           at once, as if it were the second; the command also shows where every thread stands
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta

IN_ORDER = (signal.SIGTERM, signal.SIGINT)
SIGNALS = (*IN_ORDER, signal.SIGQUIT)

# Exit codes.
NOT_GIVEN_BACK = 69  # EX_UNAVAILABLE of sysexits.h: the one who should have taken it was away
HURRIED = 128 + signal.SIGINT
QUIT = 128 + signal.SIGQUIT

STDERR = 2
ENDS_WITHIN = 4.2  # seconds after the grace period: less than what is promised, for a supervisor ends after its workers


def code_of(number: signal.Signals, *, before: int) -> int:
    """That of a server which was hurried by this signal; `before` is what it would end with otherwise."""
    if number is signal.SIGQUIT:
        return QUIT
    return before or HURRIED


def heed_no_more() -> None:
    """This process has given everything back: a late signal must not spoil its exit code."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def show_threads(why: str) -> None:
    """On stderr, where each thread stands.

    By Python and not by `faulthandler`, which looks at the threads while they go on, and sometimes crashes over it.
    """
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    lines = [f"{why}: this is where each thread stands\n"]
    for number, frame in sys._current_frames().items():
        if number != threading.get_ident():
            lines += [f"\nthread {names.get(number, number)}\n", *traceback.format_stack(frame)]
    with suppress(OSError):
        os.write(STDERR, "".join(lines).encode(errors="backslashreplace"))


class LastResort:
    """Ends this process in time after the first signal, whatever holds it: a job that blocks, a thread that hangs.

    Its handlers run between two lines of Python, so a job that never lets the event loop turn cannot keep a signal from
    being counted. They stand beside those of the event loop, which hears of every signal all the same.
    """

    def __init__(self, *, grace: timedelta, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._grace, self._monotonic = grace.total_seconds(), monotonic
        self._signals = 0
        self._at = float("inf")
        self._sooner = threading.Event()
        self._watch: threading.Thread | None = None
        self._exit_code: int | None = None

    def install(self) -> None:
        """After the event loop has got its own handlers."""
        for number in SIGNALS:
            signal.signal(number, self._count)

    def ended(self, exit_code: int) -> None:
        """The server has ended; what is left of the process need not be said to hang."""
        self._exit_code = exit_code

    def _count(self, number: int, _frame: object) -> None:
        self._signals += 1
        hurried = self._signals > 1 or number == signal.SIGQUIT
        if number == signal.SIGQUIT:
            threading.Thread(target=show_threads, args=("SIGQUIT",), name="showing threads", daemon=True).start()
        if self._signals == 1 or hurried:
            self._at = min(self._at, self._monotonic() + ENDS_WITHIN + (0.0 if hurried else self._grace))
            self._sooner.set()
        if self._watch is None:
            self._watch = threading.Thread(target=self._end, name="last resort", daemon=True)
            self._watch.start()

    def _end(self) -> None:
        while (left := self._at - self._monotonic()) > 0:
            self._sooner.wait(left)
            self._sooner.clear()
        if self._exit_code is not None:
            os._exit(self._exit_code)
        show_threads("the server did not end in time")
        os._exit(NOT_GIVEN_BACK)
