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
from collections.abc import Container
from typing import Any

CLOCK: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # also counts while the machine sleeps

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_TIMER_ABSTIME = 1
_DYING = 0.05  # seconds that a killed process may take before it is worth looking who else is there


class _Event(ctypes.Structure):
    """`struct sigevent`: a signal for the process. It has 64 bytes, whatever is in them."""

    _fields_ = (
        ("value", ctypes.c_void_p),
        ("signal", ctypes.c_int),
        ("notify", ctypes.c_int),
        ("rest", ctypes.c_byte * 48),
    )


class _Spec(ctypes.Structure):
    """`struct itimerspec`: once, at a moment."""

    _fields_ = (
        ("every_seconds", ctypes.c_long),
        ("every_nanoseconds", ctypes.c_long),
        ("seconds", ctypes.c_long),
        ("nanoseconds", ctypes.c_long),
    )


def adopt_orphans() -> None:
    """From now on a descendant whose parent has ended becomes a child of this process, not of init."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def end_with_parent() -> None:
    """Have the kernel end this process when the one that forked it ends."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class EndsAt:
    """Has the kernel kill this process at a moment of `CLOCK`, also while it is stopped: it never runs again.

    That is what no code of its own can do. Nothing happens where the system has no such timers, or gives no more of
    them: then `is_made` is False.
    """

    def __init__(self) -> None:
        self._timer = ctypes.c_void_p()
        event = _Event(signal=signal.SIGKILL)
        made = sys.platform == "linux" and _call("timer_create", CLOCK, ctypes.byref(event), ctypes.byref(self._timer))
        self.is_made = bool(made)

    def set(self, moment: float) -> None:
        """Instead of the moment before."""
        seconds, rest = divmod(moment, 1)
        self._set(_Spec(seconds=int(seconds), nanoseconds=int(rest * 1e9)))

    def clear(self) -> None:
        """There is no such moment any more."""
        self._set(_Spec())

    def _set(self, spec: _Spec) -> None:
        if self.is_made:
            _call("timer_settime", self._timer, _TIMER_ABSTIME, ctypes.byref(spec), None)


def descendants(*, sparing: Container[int] = ()) -> list[int]:
    """Every living process below this one, but for these and what is below them; empty where there is no /proc."""
    children: dict[int, list[int]] = {}
    dead = set()
    for process, parent, is_dead in _processes():
        children.setdefault(parent, []).append(process)
        if is_dead:
            dead.add(process)
    found, waiting = [], [os.getpid()]
    while waiting:
        # Below the dead, too: a process keeps its children until the last of its threads has ended.
        below = [child for child in children.get(waiting.pop(), []) if child not in sparing]
        found += below
        waiting += below
    return [process for process in found if process not in dead]


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


def end_orphans(*, sparing: Container[int], within: float = 2.0) -> None:
    """Kill everything below this process but for these children and what is below them; reap none of it."""
    deadline = time.monotonic() + within
    while (orphans := descendants(sparing=sparing)) and time.monotonic() < deadline:
        for process in orphans:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(process, signal.SIGKILL)
        time.sleep(_DYING / 10)


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


def _processes() -> list[tuple[int, int, bool]]:
    """Of each its number, its parent's, and whether it is dead: one whose first thread alone has ended is not."""
    processes = []
    for name in _listed("/proc"):
        if name.isdecimal() and (stat := _read(f"/proc/{name}/stat")):
            # The name in parentheses may hold anything, so the fields are counted from the last parenthesis.
            fields = stat.rpartition(b")")[2].split()
            processes.append((int(name), int(fields[1]), fields[0] == b"Z" and int(fields[17]) <= 1))
    return processes


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
        _call("prctl", option, value, 0, 0, 0)


def _call(name: str, *arguments: Any) -> bool:
    """A function of the C library, which says 0 when all is well; older ones keep their timers in librt."""
    for library in (None, "librt.so.1"):
        with contextlib.suppress(AttributeError, OSError):
            return bool(getattr(ctypes.CDLL(library), name)(*arguments) == 0)
    return False
