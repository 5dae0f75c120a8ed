"""A process that has imported a job's file and does nothing but fork: each run begins as a copy of it.

It never runs a job and holds no client and no thread. Keepers are its children; whoever kills one leaves orphans here,
and these are ended. Where the file has started threads a copy would lack them, so it
says so, and its runs import the file themselves. It ends with its server, or when nobody asks it any more and the last
of its runs has ended.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from jobserver.execution.outcome import MAX_MESSAGE, storable_text
from jobserver.execution.process.keeper import keep
from jobserver.execution.process.wire import Codec, receive_descriptors
from jobserver.processes import adopt_orphans, descendants, end_orphans, end_with_parent

DESCRIPTORS = 5  # messages, life, stdout, stderr, lease
LONGEST_TRACE = 16_000  # characters: the answer is one datagram

Run = Callable[[socket.socket], NoReturn]
"""Reads its order from the socket, and ends the process."""


def serve(
    control: socket.socket, server: int, *, codec: Codec, load: Callable[[], Mapping[str, Any]], run: Run
) -> None:
    """Load, say how that went, then fork for every request until the server is gone. `server` is its pidfd, or -1."""
    end_with_parent()
    answer = {"threads": 0, "failed": None, **load()}
    answer["threads"] = _threads() - 1
    control.send(codec.encode(answer))
    gc.collect()
    gc.freeze()  # else the collector of each copy would write to every page that it shares with this process
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # whoever started the server may have ignored it
    adopt_orphans()
    zygote = _Zygote(control, server, codec, run)
    zygote.serve()
    zygote.wait()


def failure(error: str, trace: str) -> dict[str, Any]:
    """The answer of a zygote whose file cannot be imported."""
    return {"failed": {"message": storable_text(error, MAX_MESSAGE), "trace": storable_text(trace, LONGEST_TRACE)}}


class _Zygote:
    def __init__(self, control: socket.socket, server: int, codec: Codec, run: Run) -> None:
        self._control, self._server, self._codec, self._run = control, server, codec, run
        self._keepers: dict[int, int] = {}  # their pidfds
        self._others = set(descendants())  # what the file has started when it was imported
        self._poll = select.poll()

    def serve(self) -> None:
        """Until nobody asks any more."""
        asking = [each for each in (self._control.fileno(), self._server) if each >= 0]
        for descriptor in asking:
            self._poll.register(descriptor, select.POLLIN)
        while True:
            ready = self._ready()
            if self._server in ready:
                break
            if self._control.fileno() not in ready:
                continue
            asked, descriptors = receive_descriptors(self._control, DESCRIPTORS)
            if not asked:
                break
            self._control.send(self._codec.encode(self._fork(descriptors)))
        for descriptor in asking:
            self._poll.unregister(descriptor)

    def wait(self) -> None:
        """Until the last keeper has ended."""
        while self._keepers:
            self._ready()

    def _ready(self) -> set[int]:
        ready = {descriptor for descriptor, _ in self._poll.poll()}
        if not ready.isdisjoint(self._keepers.values()):
            while self._reap():
                end_orphans(sparing=self._others.union(self._keepers))
        return ready

    def _reap(self) -> bool:
        """Reap keepers, and whatever has become a child of this process; whether a keeper did not end by itself."""
        killed = False
        with suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                process, status = ended
                self._others.discard(process)  # its number is free for another
                if (followed := self._keepers.pop(process, -1)) >= 0:
                    self._poll.unregister(followed)
                    os.close(followed)
                    killed |= os.WIFSIGNALED(status)
        return killed

    def _fork(self, descriptors: list[int]) -> dict[str, Any]:
        try:
            keeper = os.fork()
        except OSError as error:
            _close(descriptors)
            return {"error": f"no process can be started: {error.strerror}"}
        if keeper == 0:
            self._become_keeper(descriptors)
        _close(descriptors)
        try:
            followed = os.pidfd_open(keeper)
        except OSError as error:
            os.kill(keeper, signal.SIGKILL)
            os.waitpid(keeper, 0)
            return {"error": f"no process can be followed: {error.strerror}"}
        self._keepers[keeper] = followed
        self._poll.register(followed, select.POLLIN)
        return {"keeper": keeper}

    def _become_keeper(self, descriptors: list[int]) -> NoReturn:
        try:
            self._control.close()
            _close(list(self._keepers.values()))
            messages, life, out, errors, lease = descriptors
            os.dup2(out, 1)
            os.dup2(errors, 2)
            _close([out, errors])
            with socket.socket(fileno=messages) as to_server, socket.socket(fileno=life) as line:

                def run() -> NoReturn:
                    line.close()
                    _close([lease, self._server])
                    self._run(to_server)

                keep(run, life=line, lease=lease, server=self._server, release=to_server.close)
        finally:
            os._exit(1)


def _threads() -> int:
    try:
        return len(list(Path("/proc/self/task").iterdir()))
    except OSError:
        return 1


def _close(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        with suppress(OSError):
            os.close(descriptor)
