"""`python -m jobserver.scanner.probe`: tries job files, each in a process of its own, and says what came of each.

Started afresh for every scan that has something to try, without threads and without clients, so that it may fork.
Reads a TrialRequest from stdin, writes one verdict per line to stdout.
"""

from __future__ import annotations

import os
import selectors
import sys
import traceback
from typing import NoReturn

from jobserver.definition import ScanProblem
from jobserver.errors import DefinitionError
from jobserver.processes import adopt_orphans, end_descendants
from jobserver.scanner.source_file import SourceFile
from jobserver.scanner.trial_messages import TrialRequest, encode_verdict
from jobserver.scanner.warden import watch_trial
from jobserver.schedule import Schedule


def main() -> None:
    """Try every file of the request, `parallel` at a time."""
    adopt_orphans()
    Schedule.parse("* * * * *")  # loads, once for all files, what is loaded at the first cron text
    request = TrialRequest.decode(sys.stdin.buffer.read())
    waiting, running = list(reversed(request.sources)), _Running()
    while waiting or running:
        while waiting and len(running) < request.parallel:
            running.start(waiting.pop(), request.seconds)
        running.collect()
    end_descendants()


class _Running:
    """The wardens at work, each with the pipe on which it gives its verdict."""

    def __init__(self) -> None:
        self._readable = selectors.DefaultSelector()
        self._said: dict[int, tuple[SourceFile, int, bytes]] = {}

    def __len__(self) -> int:
        return len(self._said)

    def start(self, source: SourceFile, seconds: float) -> None:
        pipe, end = os.pipe()
        process = os.fork()
        if process == 0:
            _become_warden(source, seconds, end)
        os.close(end)
        self._said[pipe] = (source, process, b"")
        self._readable.register(pipe, selectors.EVENT_READ)

    def collect(self) -> None:
        for key, _ in self._readable.select():
            source, process, said = self._said[key.fd]
            data = os.read(key.fd, 65_536)
            self._said[key.fd] = (source, process, said + data)
            if not data:
                self._finish(key.fd)

    def _finish(self, pipe: int) -> None:
        self._readable.unregister(pipe)
        os.close(pipe)
        source, process, said = self._said.pop(pipe)
        killed = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) < 0
        if said or killed:  # otherwise the fault is ours: no verdict, and the traceback is on stderr
            _write(1, said or encode_verdict(source.path, [_without_warden(source.path)]))


def _become_warden(source: SourceFile, seconds: float, end: int) -> NoReturn:
    try:
        _write(end, encode_verdict(source.path, watch_trial(source, seconds=seconds)))
        os._exit(0)
    except BaseException:
        _write(2, traceback.format_exc().encode())
    finally:
        os._exit(1)


def _without_warden(path: str) -> ScanProblem:
    message = DefinitionError(path=path, message="stopped the process that watched its import")
    return ScanProblem(path=path, message=str(message))


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


if __name__ == "__main__":
    main()
