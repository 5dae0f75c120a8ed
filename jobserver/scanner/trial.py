"""The process in which one file is imported for the first time. It has a session, limits and nothing of value."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import resource
import signal
import sys
import traceback
from collections.abc import Sequence
from math import ceil
from typing import NoReturn

from jobserver.definition import ScanProblem
from jobserver.errors import DefinitionError
from jobserver.processes import end_with_parent
from jobserver.scanner.loading import load
from jobserver.scanner.rejection import FileRejected, import_failure, trimmed
from jobserver.scanner.source_file import SourceFile
from jobserver.scanner.trial_messages import encode_verdict

STACK_SIGNAL = signal.SIGUSR1
"""Makes a trial write on its stderr what each of its threads is doing."""

_GIB = 1024**3
MOST_DATA = 2 * _GIB
"""Bytes of private writable memory. Not the address space: libraries reserve much of it without using it."""
_MOST_ADDRESS_SPACE = 16 * _GIB
_LARGEST_WRITTEN_FILE = 64 * 1024 * 1024


def run_trial(source: SourceFile, *, seconds: float, report: int, output: int) -> NoReturn:
    """Import the file in this freshly forked process, write the verdict to `report`, end; prints go to `output`."""
    os.setsid()
    end_with_parent()
    report = _take_only(report, output)
    _limit(seconds)
    # Both are C code: they speak even where Python is stuck in a loop, or the interpreter is dying.
    faulthandler.enable(file=2, all_threads=True)
    faulthandler.register(STACK_SIGNAL, file=2, all_threads=True)
    os.register_at_fork(before=lambda: _end(report, source, [_forks(source.path)]))
    _end(report, source, _problems(source))


def _problems(source: SourceFile) -> tuple[ScanProblem, ...]:
    try:
        load(source)
    except FileRejected as rejected:
        return rejected.problems
    except KeyboardInterrupt as error:
        return (import_failure(source.path, error),)
    return ()


def _end(report: int, source: SourceFile, problems: Sequence[ScanProblem]) -> NoReturn:
    # _exit: threads and exit handlers that the file may have left behind have no say.
    try:
        verdict = encode_verdict(source.path, problems)
        while verdict:
            verdict = verdict[os.write(report, verdict) :]
        os._exit(0)
    finally:
        os._exit(1)


def _forks(path: str) -> ScanProblem:
    """The server is full of threads, a copy of it would hang; and a fork that forks would not end."""
    message = "forks while it is imported; start processes in `run`, with subprocess or multiprocessing's spawn"
    stack = traceback.extract_stack()
    first = next((index for index, frame in enumerate(stack) if frame.filename == path), len(stack))
    own = [frame for frame in stack[first:] if frame.filename != __file__]
    trace = trimmed("".join(traceback.format_list(own)))
    return ScanProblem(path=path, message=str(DefinitionError(path=path, message=message)), traceback=trace)


def _take_only(report: int, output: int) -> int:
    """Leave stdin, stdout, stderr and the report open, nothing else; the report's new number."""
    kept = 3
    if report != kept:
        if output == kept:
            output = os.dup(output)
        os.dup2(report, kept)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.closerange(kept + 1, os.sysconf("SC_OPEN_MAX"))
    os.set_inheritable(kept, False)
    with contextlib.suppress(OSError, ValueError):
        sys.stdin = open(0, closefd=False)  # noqa: SIM115 - the process's own stdin, for as long as it lives
    return kept


def _limit(seconds: float) -> None:
    # A second more than the wall clock allows: what merely hangs should be found with its stack, not killed without.
    wanted = {
        resource.RLIMIT_CPU: ceil(seconds) + 1,
        resource.RLIMIT_DATA: MOST_DATA,
        resource.RLIMIT_AS: _MOST_ADDRESS_SPACE,
        resource.RLIMIT_FSIZE: _LARGEST_WRITTEN_FILE,
        resource.RLIMIT_CORE: 0,
    }
    for limit, want in wanted.items():
        hard = resource.getrlimit(limit)[1]
        bound = want if hard == resource.RLIM_INFINITY else min(want, hard)
        resource.setrlimit(limit, (bound, bound))
