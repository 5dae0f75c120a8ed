"""Which records are kept: decided before anything is formatted, so that what is too much costs next to nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from jobserver.limits import describe_size

KIB, MIB = 1024, 1024**2


@dataclass(frozen=True, slots=True, kw_only=True)
class Caps:
    """Bytes of one line and of one run's log; bytes and records of one run in a second."""

    line: int = 16 * KIB
    run: int = 32 * MIB
    bytes_per_second: int = MIB
    records_per_second: int = 2_000


class Drop(StrEnum):
    """Why records are not kept."""

    TOO_FAST = "too fast"
    FULL = "full"
    BEHIND = "behind"
    UNWRITABLE = "unwritable"


class Gate:
    """The caps of one run, counted in windows of one second; who calls it sees to it that one thread does at a time."""

    __slots__ = ("_bytes", "_caps", "_dropped", "_records", "_total", "_window")

    def __init__(self, caps: Caps) -> None:
        self._caps = caps
        self._window = self._bytes = self._records = self._total = 0
        self._dropped: dict[Drop, int] = {}

    def admits(self, now: float) -> bool:
        """Whether one more record is within the caps; a refused one is counted. `now` in seconds, steady."""
        if (window := int(now)) != self._window:
            self._window, self._bytes, self._records = window, 0, 0
        if self._total >= self._caps.run:
            self.drop(Drop.FULL)
            return False
        if self._records >= self._caps.records_per_second or self._bytes >= self._caps.bytes_per_second:
            self.drop(Drop.TOO_FAST)
            return False
        self._records += 1
        return True

    def took(self, size: int) -> None:
        """An admitted record came to so many bytes."""
        self._bytes += size
        self._total += size

    def drop(self, reason: Drop, count: int = 1) -> None:
        """Count what was not kept."""
        self._dropped[reason] = self._dropped.get(reason, 0) + count

    def told(self, *, at_end: bool = False) -> Iterator[str]:
        """What to say in the log about what was dropped since the last time; of a full log that is its last line."""
        if not self._dropped:
            return
        for reason in [*self._dropped]:
            if at_end or reason is not Drop.FULL:
                count = self._dropped.pop(reason)
                yield f"{count} record{'' if count == 1 else 's'} dropped: {self._why(reason)}"

    def _why(self, reason: Drop) -> str:
        caps = self._caps
        match reason:
            case Drop.TOO_FAST:
                return f"more than {caps.records_per_second} or than {describe_size(caps.bytes_per_second)} in a second"
            case Drop.FULL:
                return f"the log of one run holds {describe_size(caps.run)}"
            case Drop.BEHIND:
                return "the disk could not keep up"
            case Drop.UNWRITABLE:
                return "the disk was full or could not be written"
            case _:
                assert_never(reason)
