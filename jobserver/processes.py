"""Keeping hold of processes started by code we do not trust (on Linux; elsewhere only their process group is held).

A process that adopts its orphans has everything it ever started below itself, whatever sessions were opened, so all
of it can be counted and ended. RLIMIT_NPROC is not used: it does not bind root, and counts all that the user runs.
What is out of reach: processes that fork and end faster than /proc can be read, in sessions of their own; and one
that, as root, kills every process there is.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import time
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans() -> None:
    """From now on a descendant whose parent has ended becomes a child of this process, not of init."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def end_with_parent() -> None:
    """Have the kernel end this process when the one that forked it ends."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def descendants() -> list[int]:
    """Every living process below this one; empty where there is no /proc."""
    children: dict[int, list[int]] = {}
    for process, parent in _parents():
        children.setdefault(parent, []).append(process)
    found, waiting = [], [os.getpid()]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


def end_group(leader: int) -> None:
    """Kill the process and its group; in one call, so that a fork bomb in the group cannot run ahead of it."""
    for kill in (os.killpg, os.kill):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            kill(leader, signal.SIGKILL)


def end_descendants(*, within: float = 2.0) -> None:
    """Kill and reap everything below this process; gives up after `within` seconds."""
    deadline = time.monotonic() + within
    while _reap_all() and time.monotonic() < deadline:
        for process in descendants():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(process, signal.SIGKILL)
        time.sleep(0.001)


def _reap_all() -> bool:
    """Reap what has ended; whether children are left."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True


def _parents() -> list[tuple[int, int]]:
    pairs = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            # The name in parentheses may hold anything, so the fields are counted from the last parenthesis.
            state, parent = entry.read_text(errors="replace").rpartition(")")[2].split()[:2]
            if state != "Z":
                pairs.append((int(entry.parent.name), int(parent)))
    return pairs


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)
