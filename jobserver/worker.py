"""What a worker process knows of its supervisor, and what the two tell each other.

JOBSERVER_SUPERVISOR   the supervisor's id: workers register under it
JOBSERVER_WORKER       the worker's number
…_SUPERVISOR_FD        the reading end of a pipe: its end of file says that the supervisor is gone
…_HEADER_FD            a socket: a worker that is ready writes a byte, its end of file says that the header stands
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress

SUPERVISOR, WORKER = "JOBSERVER_SUPERVISOR", "JOBSERVER_WORKER"
RECYCLED = 75  # exit code of a process that has done enough: start a fresh one in its place
PIPE, HEADER = "JOBSERVER_SUPERVISOR_FD", "JOBSERVER_HEADER_FD"


def worker_command(*arguments: str) -> list[str]:
    """`jobserver start` as a worker, with this interpreter; -P: a project's own `queue.py` is not the library's."""
    return [sys.executable, "-P", "-m", "jobserver", "start", "--as-worker", *arguments]


def worker_number() -> int | None:
    """Which worker of a supervisor this process is; None where there is no supervisor."""
    number = os.environ.get(WORKER, "")
    return int(number) if number.isdecimal() else None


def follow_supervisor() -> None:
    """In a worker: end in order, by SIGTERM to itself, as soon as the supervisor is gone."""
    pipe = _taken(PIPE)
    if pipe is not None:
        threading.Thread(target=_await_end_of, args=(pipe,), name="supervisor", daemon=True).start()


def await_header(stands: Callable[[], None]) -> None:
    """In a worker that is ready: say so, and call `stands` on a thread once the supervisor has shown its header."""
    header = _taken(HEADER)
    if header is None:
        stands()
    else:
        threading.Thread(target=_exchange, args=(header, stands), name="header", daemon=True).start()


def _taken(variable: str) -> int | None:
    """The descriptor, which what this process starts shall not have."""
    descriptor = os.environ.pop(variable, "")
    if not descriptor.isdecimal():
        return None
    os.set_inheritable(int(descriptor), False)
    return int(descriptor)


def _await_end_of(pipe: int) -> None:
    with suppress(OSError):
        while os.read(pipe, 1):
            pass
    os.kill(os.getpid(), signal.SIGTERM)


def _exchange(descriptor: int, stands: Callable[[], None]) -> None:
    with suppress(OSError), socket.socket(fileno=descriptor) as header:
        with suppress(OSError):  # full of earlier workers' bytes: the header stands already
            header.send(b"!", socket.MSG_DONTWAIT)
        header.recv(1)
    stands()
