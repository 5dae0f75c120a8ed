"""When this process has done enough: after so many runs, above so much memory, beside so many stuck runs.

Whoever is told lets the server drain and end; a supervisor starts a fresh one in its place.
"""

from __future__ import annotations

import asyncio
import os
import resource
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from jobserver.store.documents import Settlement
from jobserver.store.states import Transition

LOOK_EVERY = 1.0
_STATM = Path("/proc/self/statm")

_log = structlog.get_logger("jobserver")


@dataclass(frozen=True, slots=True, kw_only=True)
class WearLimits:
    """`runs` that have ended, `memory` in bytes, `stuck` runs that were given up; 0 and None are no limit."""

    runs: int = 0
    memory: int | None = None
    stuck: int = 0


class Wear:
    """A listener of the settle loop, and a chore. `tell` is called once, with the reason."""

    def __init__(
        self,
        *,
        limits: WearLimits,
        stuck: Callable[[], int],
        tell: Callable[[str], None],
        resident: Callable[[], int] | None = None,
    ) -> None:
        self._limits, self._stuck, self._tell = limits, stuck, tell
        self._resident = resident or resident_memory
        self._memory = limits.memory
        self._runs = 0

    def settled(self, settlements: Sequence[Settlement], lost: Sequence[Settlement]) -> None:
        """Count them; what was given back has not run here."""
        self._runs += sum(each.transition is not Transition.RELEASE for each in settlements)

    async def watch(self) -> None:
        """Look every second until a limit is reached."""
        while True:
            await asyncio.sleep(LOOK_EVERY)
            if (reason := self.reason()) is not None:
                self._tell(reason)
                return

    def reason(self) -> str | None:
        """Which limit has been reached, in words."""
        limits, stuck = self._limits, self._stuck()
        if limits.runs and self._runs >= limits.runs:
            return f"{self._runs} runs have ended here; recycle_after_runs is {limits.runs}"
        if limits.stuck and stuck >= limits.stuck:
            return f"{stuck} runs were given up and their code goes on; recycle_stuck is {limits.stuck}"
        if self._memory and (used := self._resident()) >= self._memory:
            return self._over_memory(used, self._memory)
        return None

    def _over_memory(self, used: int, limit: int) -> str | None:
        """A fresh process that is over the limit already would be replaced by the next one, and so on for ever."""
        if self._runs:
            return f"this process takes {_megabytes(used)}; recycle_memory is {_megabytes(limit)}"
        self._memory = None
        _log.error(
            "memory limit ignored",
            recycle_memory=_megabytes(limit),
            used=_megabytes(used),
            reason="this process is over it before it has run anything: raise recycle_memory",
        )
        return None


def resident_memory() -> int:
    """Bytes that this process has in memory, without the processes of its runs: those have limits of their own."""
    try:
        pages = int(_STATM.read_text("ascii").split()[1])
    except (OSError, ValueError):  # no Linux: the most that it ever had
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return pages * os.sysconf("SC_PAGE_SIZE")


def _megabytes(size: int) -> str:
    return f"{size / 1_000_000:,.0f} MB"
