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

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_DYING = 0.05  # seconds that a killed process may take before it is worth looking who else is there


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
        _await_ends(min(deadline, time.monotonic() + _DYING))


def _await_ends(deadline: float) -> None:
    """Reap until nothing is left: looking again who is there costs much more than waiting for those who die."""
    pause = 0.0005
    while _reap_all() and time.monotonic() < deadline:
        time.sleep(pause)
        pause *= 2


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
    for name in _listed("/proc"):
        if name.isdecimal() and (stat := _read(f"/proc/{name}/stat")):
            # The name in parentheses may hold anything, so the fields are counted from the last parenthesis.
            state, parent = stat.rpartition(b")")[2].split(maxsplit=2)[:2]
            if state != b"Z":
                pairs.append((int(name), int(parent)))
    return pairs


def _listed(folder: str) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208 - hundreds of keepers may look at once: paths cost more than the look
    except OSError:
        return []


def _read(path: str) -> bytes:
    """The beginning of a file of /proc, b"" where its process has ended meanwhile."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.read(descriptor, 1024)
    except OSError:
        return b""
    finally:
        os.close(descriptor)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)
