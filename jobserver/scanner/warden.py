"""Watches over the trial of one file and says what came of it, whatever the file did.

One warden process per file: it adopts what its trial leaves behind, so nothing outlives the trial and nothing is
mistaken for another file's doing.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from jobserver.definition import ScanProblem
from jobserver.errors import DefinitionError
from jobserver.processes import adopt_orphans, descendants, end_descendants, end_group
from jobserver.scanner.source_file import SourceFile
from jobserver.scanner.trial import STACK_SIGNAL, run_trial
from jobserver.scanner.trial_messages import decode_verdict

MOST_PROCESSES = 64
MOST_OUTPUT = 1024 * 1024
_LARGEST_REPORT = 1024 * 1024
_OUTPUT_KEPT = 8 * 1024
_COUNT_EVERY = 0.1
_STACK_WITHIN = 0.3
_OWN_FRAMES = (f'File "{Path(__file__).parent}', 'File "<frozen runpy>"')
_TICK = 0.05
_SHORT_TICK = 0.002


def watch_trial(source: SourceFile, *, seconds: float) -> tuple[ScanProblem, ...]:
    """Fork the trial, follow it to its end or for `seconds`, end all that is left; what is wrong with the file."""
    adopt_orphans()
    trial = _start(source, seconds)
    trouble = _follow(trial, time.monotonic() + seconds, seconds)
    end_group(trial.process)
    ending = _ending(trial.process)
    end_descendants()
    return _verdict(source, trial, trouble or ending)


@dataclass(slots=True, kw_only=True)
class _Trial:
    process: int
    report_pipe: int
    output_pipe: int
    report: bytes = b""
    output: bytes = b""
    printed: int = 0
    readable: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)

    def listen(self) -> None:
        for pipe in (self.report_pipe, self.output_pipe):
            os.set_blocking(pipe, False)
            self.readable.register(pipe, selectors.EVENT_READ)

    def read(self, wait: float) -> bool:
        """Take in what has been written, waiting `wait` seconds for the first of it; whether there was anything."""
        ready = self.readable.select(wait)
        for key, _ in ready:
            data = os.read(key.fd, 65_536)
            if not data:
                self.readable.unregister(key.fd)
            elif key.fd == self.report_pipe:
                self.report += data
            else:
                self.printed += len(data)
                self.output = (self.output + data)[-_OUTPUT_KEPT:]
        return bool(ready)


def _start(source: SourceFile, seconds: float) -> _Trial:
    report, report_end = os.pipe()
    output, output_end = os.pipe()
    process = os.fork()
    if process == 0:
        _become_trial(source, seconds, report_end, output_end)
    os.close(report_end)
    os.close(output_end)
    trial = _Trial(process=process, report_pipe=report, output_pipe=output)
    trial.listen()
    return trial


def _become_trial(source: SourceFile, seconds: float, report: int, output: int) -> NoReturn:
    try:
        run_trial(source, seconds=seconds, report=report, output=output)
    finally:
        os._exit(1)


def _follow(trial: _Trial, deadline: float, seconds: float) -> str:
    """Wait for the trial's end; the reason to end it early, where there is one."""
    count_at = time.monotonic() + _COUNT_EVERY
    while not _has_ended(trial.process):
        trial.read(_TICK if trial.readable.get_map() else _SHORT_TICK)
        now = time.monotonic()
        if trial.printed > MOST_OUTPUT:
            return f"prints more than {MOST_OUTPUT // 1024} KiB while it is imported"
        if len(trial.report) > _LARGEST_REPORT:
            return "writes into descriptors that are not its own while it is imported"
        if now >= count_at:
            count_at = now + _COUNT_EVERY
            if len(descendants()) > MOST_PROCESSES:
                return f"starts more than {MOST_PROCESSES} processes while it is imported"
        if now >= deadline:
            _collect_stack(trial)
            return f"was still being imported after {seconds:g} s and was stopped"
    while trial.read(0):
        pass
    return ""


def _collect_stack(trial: _Trial) -> None:
    """Ask the trial where it hangs; the answer arrives as output."""
    trial.output = b""
    with contextlib.suppress(ProcessLookupError):
        os.kill(trial.process, STACK_SIGNAL)
    deadline = time.monotonic() + _STACK_WITHIN
    while time.monotonic() < deadline and not _has_ended(trial.process):
        if not trial.read(_SHORT_TICK) and trial.output:
            return


def _has_ended(process: int) -> bool:
    # WNOWAIT leaves it unreaped: until then its number, which is also its group's, belongs to nobody else.
    return os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _ending(process: int) -> str:
    """How the trial ended, in words; for one that left no report."""
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    if code >= 0:
        return f"ended the process with exit code {code} while it was imported"
    if -code == signal.SIGXCPU:
        return "used up its processor time while it was imported"
    return f"was killed by {signal.Signals(-code).name} while it was imported"


def _verdict(source: SourceFile, trial: _Trial, trouble: str) -> tuple[ScanProblem, ...]:
    if trial.report.endswith(b"\n"):
        try:
            return decode_verdict(trial.report)[1]
        except ValueError:
            pass
    if trial.report:
        trouble = "writes into descriptors that are not its own while it is imported"
    message = str(DefinitionError(path=source.path, message=trouble))
    return (ScanProblem(path=source.path, message=message, traceback=_last_words(trial.output)),)


def _last_words(output: bytes) -> str:
    """What the trial printed last, its stack for one that hung; our own frames are of no use to the author."""
    lines = output.decode(errors="replace").replace("\0", "").strip().splitlines()
    return "\n".join(line for line in lines if not line.lstrip().startswith(_OWN_FRAMES))
