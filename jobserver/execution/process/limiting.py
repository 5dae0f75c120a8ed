"""What a run may use, laid on its own process by the kernel."""

from __future__ import annotations

import contextlib
import os
import resource
from dataclasses import replace
from datetime import timedelta
from math import ceil

from jobserver.errors import FatalError
from jobserver.execution.outcome import Outcome
from jobserver.limits import Limits

_RESERVE = 32 * 1024 * 1024  # bytes beyond the limit of memory, for saying that it was reached
_LAST_SECONDS = 5  # of processor time, for a handler of SIGXCPU


def impose(limits: Limits) -> None:
    """From now on; what the process starts has the same limits, each process for itself. Raises FatalError."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if limits.nice:
        os.nice(limits.nice)
    if isinstance(limits.cpu, timedelta):
        seconds = ceil(limits.cpu.total_seconds())
        _lower(resource.RLIMIT_CPU, seconds, seconds + _LAST_SECONDS)
    if isinstance(limits.memory, int):
        # Private writable memory, not the address space: libraries reserve much of that without using it.
        _lower(resource.RLIMIT_DATA, limits.memory, limits.memory + _RESERVE)
    if limits.folder is not None:
        try:
            os.chdir(limits.folder)
        except OSError as error:
            raise FatalError(f"limits.folder {str(limits.folder)!r} cannot be entered: {error.strerror}") from error


def lift() -> None:
    """The run is over: what is left to say may take what was held back."""
    for limit in (resource.RLIMIT_DATA, resource.RLIMIT_CPU):
        hard = resource.getrlimit(limit)[1]
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(limit, (hard, hard))


def explained(outcome: Outcome, limits: Limits) -> Outcome:
    """The same, saying which limit it was that the memory ran out under."""
    if isinstance(outcome.error, MemoryError) and isinstance(limits.memory, int):
        lift()
        return replace(outcome, words=f"ran out of memory: limits.memory is {shown_size(limits.memory)}")
    return outcome


def shown_size(size: int) -> str:
    """Bytes as a person writes them."""
    for unit, length in (("GiB", 1024**3), ("GB", 1000**3), ("MiB", 1024**2), ("MB", 1000**2)):
        if size >= length and size % length == 0:
            return f"{size // length} {unit}"
    return f"{size:,} bytes"


def _lower(limit: int, soft: int, hard: int) -> None:
    bound = resource.getrlimit(limit)[1]
    if bound != resource.RLIM_INFINITY:
        soft, hard = min(soft, bound), min(hard, bound)
    resource.setrlimit(limit, (soft, hard))
