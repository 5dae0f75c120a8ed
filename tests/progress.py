"""What the commands that prove something have in common: they tell how far they are, and clean up when ended."""

from __future__ import annotations

import signal
import sys
import time

WIDTH = 150  # of a line on a terminal, where each is written over the one before


class Progress:
    """Called with what is done now, tells it on standard error with the seconds since the beginning."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def __call__(self, what: str) -> None:
        line = f"{self.seconds:6.1f} s  {what}"
        sys.stderr.write(f"\r\x1b[K{line[:WIDTH]}" if sys.stderr.isatty() else f"{line}\n")
        sys.stderr.flush()

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return time.monotonic() - self._began

    def over(self) -> None:
        """The last word stays in sight."""
        sys.stderr.write("\n")


def begin() -> Progress:
    """The progress of this process. From now on SIGTERM is an exception, so every block ends what it has started."""
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    return Progress()
