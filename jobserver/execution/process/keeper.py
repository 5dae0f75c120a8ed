"""One run's keeper: it holds everything that the run starts, and ends it when its time has come.

What it is told on `life`, a message each: "term" asks the run to end, "kill" ends it and all that it has started,
"until 123.4" moves the end of its lock. It says "no timer" first where the kernel gives it none, "ended <exit code>
<reason>" once, and is gone. Its own end of `life` and the server's process are watched: whichever ends first ends the
run.

A machine that stands still stops the keeper, too, and when it goes on the run might be first. So the kernel ends the
keeper a moment after it should have acted, and with the keeper its run; the zygote ends what these two leave behind.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

from jobserver.processes import CLOCK, EndsAt, adopt_orphans, end_descendants, end_group, end_with_parent

LOOK_AGAIN = 2.0  # seconds: waiting does not count the time that the machine sleeps, the lease does
LATE = 0.1  # seconds after which the kernel does what the keeper has not done: before a dead server's lease is ended
_LEASE = struct.Struct("d")

NO_TIMER = b"no timer"
LEASE_OVER, LOCK_OVER, TOLD, SERVER_GONE = "lease", "lock", "told", "server"


def reason_to_end(lease: int, until: float) -> str:
    """Why a run must not go on; "" while it may. The lease is read at each look: its server moves it without a word."""
    now = time.clock_gettime(CLOCK)
    if now >= _lease_end(lease):
        return LEASE_OVER
    return LOCK_OVER if now >= until else ""


def keep(
    run: Callable[[], NoReturn], *, life: socket.socket, lease: int, server: int, release: Callable[[], None]
) -> NoReturn:
    """Fork, call `run` there, stay until it and all that it started have ended.

    `lease` is shared memory, `server` the pidfd of the server or -1; `release` lets go of what only the run may hold.
    """
    adopt_orphans()
    keeper, last_resort = os.getpid(), EndsAt()
    last_resort.set(_lease_end(lease) + LATE)  # the run may begin before this process goes on
    process = os.fork()
    if process == 0:
        os.setsid()
        end_with_parent()
        if os.getppid() != keeper:  # it ended before it could be followed
            os._exit(1)
        run()
    try:
        release()
        _let_go_of_output()
        if not last_resort.is_made:
            with suppress(OSError):
                life.send(NO_TIMER)
        status, reason = _Keeper(process, life, lease, server, last_resort).stay()
    except BaseException:
        end_group(process)
        end_descendants()
        raise
    with suppress(OSError):
        life.send(f"ended {status} {reason}".encode())
    os._exit(0)


class _Keeper:
    """`until` is when the run's lock ends; the first message on `life` says so."""

    def __init__(self, process: int, life: socket.socket, lease: int, server: int, last_resort: EndsAt) -> None:
        self._process, self._life, self._lease = process, life, lease
        self._until = float("inf")
        self._ended = os.pidfd_open(process)
        self._server = server
        self._last_resort = last_resort
        self._poll = select.poll()
        for descriptor in (life.fileno(), self._ended, server):
            if descriptor >= 0:
                self._poll.register(descriptor, select.POLLIN)

    def stay(self) -> tuple[int, str]:
        """The exit code of the run, minus the signal where one ended it, and why it was ended."""
        while True:
            reason = reason_to_end(self._lease, self._until)
            if reason:
                return self._end(), reason
            self._last_resort.set(self._end_of_time() + LATE)
            ready = {descriptor for descriptor, _ in self._poll.poll(self._wait())}
            if self._ended in ready:
                return self._reap(), ""
            if self._server in ready:
                return self._end(), SERVER_GONE
            if self._life.fileno() in ready and (reason := self._hear()):
                return self._end(), reason

    def _hear(self) -> str:
        """Take one message; the reason to end the run, where it is one."""
        try:
            word, _, value = self._life.recv(100).decode().partition(" ")
        except OSError:
            word, value = "", ""
        match word:
            case "term":
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(self._process, signal.SIGTERM)
            case "until":
                self._until = float(value)
            case "kill":
                return TOLD
            case _:
                return SERVER_GONE
        return ""

    def _wait(self) -> float:
        """Milliseconds. Half of what is left at the most: by then the server may have moved the end."""
        left = self._end_of_time() - time.clock_gettime(CLOCK)
        return max(1.0, min(left, max(left / 2, LATE), LOOK_AGAIN) * 1000)

    def _end_of_time(self) -> float:
        return min(self._until, _lease_end(self._lease))

    def _end(self) -> int:
        end_group(self._process)
        self._last_resort.clear()  # it runs no more, and may take its time to die
        return self._reap()

    def _reap(self) -> int:
        """Its exit code; what it has left behind ends with it."""
        status = os.waitid(os.P_PID, self._process, os.WEXITED | os.WNOWAIT)
        self._last_resort.clear()
        # Unreaped its number is its own, so the group that is killed here can be nobody else's.
        end_group(self._process)
        os.waitpid(self._process, 0)
        if _has_children():
            end_descendants()
        assert status is not None
        return status.si_status if status.si_code == os.CLD_EXITED else -status.si_status


def _lease_end(lease: int) -> float:
    (end,) = _LEASE.unpack(os.pread(lease, _LEASE.size, 0))
    return float(end)


def _has_children() -> bool:
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return False
    return True


def _let_go_of_output() -> None:
    """The pipes of the run end with the run."""
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    os.close(null)
