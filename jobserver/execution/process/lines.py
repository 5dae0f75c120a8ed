"""Bytes to lines: none longer than a bound, and of a flood only so many per second."""

from __future__ import annotations

from collections.abc import Callable

LONGEST_LINE = 64 * 1024  # bytes; a longer one comes in pieces
MOST_LINES, MOST_BYTES = 5_000, 4 * 1024 * 1024  # per second, of one run; the rest is counted


class Allowance:
    """How much one run may say per second; what is over that is counted, and told with the next that fits."""

    def __init__(self, *, monotonic: Callable[[], float], lines: int = MOST_LINES, size: int = MOST_BYTES) -> None:
        self._monotonic, self._lines, self._size = monotonic, lines, size
        self._second = -1
        self._left = (0, 0)
        self.dropped = 0

    def grants(self, size: int) -> bool:
        """Whether a record of so many bytes may be said now."""
        second = int(self._monotonic())
        if second != self._second:
            self._second, self._left = second, (self._lines, self._size)
        lines, left = self._left
        if lines <= 0 or left <= 0:
            self.dropped += 1
            return False
        self._left = (lines - 1, left - size)
        return True

    def take_dropped(self) -> int:
        """How many were not granted since it was asked last."""
        dropped, self.dropped = self.dropped, 0
        return dropped


class Lines:
    """Collects what is written until a line is whole."""

    def __init__(self, emit: Callable[[str], None], *, grants: Callable[[int], bool]) -> None:
        self._emit, self._grants = emit, grants
        self._begun = b""

    def feed(self, data: bytes) -> None:
        """Emit the lines that this completes, without their ends."""
        *whole, begun = data.split(b"\n")
        if whole:
            self._say(self._begun + whole[0])
            for line in whole[1:]:
                self._say(line)
            self._begun = b""
        self._begun += begun
        while len(self._begun) > LONGEST_LINE:
            self._say(self._begun[:LONGEST_LINE])
            self._begun = self._begun[LONGEST_LINE:]

    def end(self) -> None:
        """Emit what was begun and is no whole line."""
        if self._begun:
            self._say(self._begun)
            self._begun = b""

    def _say(self, line: bytes) -> None:
        if self._grants(len(line)):
            self._emit(line.rstrip(b"\r").decode("utf-8", "backslashreplace"))
