"""Has job files tried in a throw-away subprocess that is given no way to the database."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from math import ceil

from jobserver.definition import ScanProblem
from jobserver.scanner.rejection import trimmed
from jobserver.scanner.source_file import SourceFile
from jobserver.scanner.trial_messages import TrialRequest, decode_verdict

MOST_PARALLEL = 4
_START_WITHIN = 30.0
_SETTLE_WITHIN = 5.0
_DATABASE_NAMES = re.compile(r"JOBSERVER_|MONGO", re.IGNORECASE)
_DATABASE_VALUES = re.compile(r"mongodb(\+srv)?://", re.IGNORECASE)
_THREAD_POOLS = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeReport:
    """Verdicts by path, empty for a file that passed; a file without verdict is for `trouble` to explain."""

    verdicts: Mapping[str, tuple[ScanProblem, ...]]
    trouble: str = ""


class Prober:
    """Tries files, a few at a time; each may take `timeout` on the clock."""

    def __init__(self, *, timeout: timedelta) -> None:
        self._seconds = timeout.total_seconds()
        self._parallel = min(MOST_PARALLEL, os.cpu_count() or 1)

    def probe(self, sources: Sequence[SourceFile]) -> ProbeReport:
        """Blocks until every file has been tried; raises nothing that a file could cause."""
        if not sources:
            return ProbeReport(verdicts={})
        request = TrialRequest(sources=tuple(sources), seconds=self._seconds, parallel=self._parallel)
        output, trouble = self._run(request, self._patience(len(sources)))
        verdicts = {}
        for line in output.splitlines():
            with contextlib.suppress(ValueError):  # cut off in the middle: the file counts as not tried
                path, problems = decode_verdict(line)
                verdicts[path] = problems
        return ProbeReport(verdicts=verdicts, trouble=trouble)

    def _patience(self, files: int) -> float:
        return _START_WITHIN + ceil(files / self._parallel) * (self._seconds + _SETTLE_WITHIN)

    def _run(self, request: TrialRequest, seconds: float) -> tuple[bytes, str]:
        try:
            process = _start_probe()
        except OSError as error:
            return b"", f"the probe cannot be started: {error.strerror}"
        with process:
            try:
                output, errors = process.communicate(request.encode(), timeout=seconds)
            except BaseException as error:
                _kill(process)
                if not isinstance(error, subprocess.TimeoutExpired):
                    raise
                return process.communicate()[0], f"the probe did not answer within {seconds:g} s"
        return output, trimmed(errors.decode(errors="replace").strip()) or f"the probe ended with {process.returncode}"


def probe_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The server's environment less whatever leads to its database, with the server's import path."""
    clean = {
        name: value
        for name, value in environment.items()
        if not _DATABASE_NAMES.match(name) and not _DATABASE_VALUES.search(value)
    }
    import_path = os.pathsep.join(folder or os.getcwd() for folder in sys.path)  # noqa: PTH109 - sys.path holds text
    return _THREAD_POOLS | clean | {"PYTHONPATH": import_path}


def _start_probe() -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-P", "-B", "-m", "jobserver.scanner.probe"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=probe_environment(os.environ),
        start_new_session=True,
    )


def _kill(process: subprocess.Popen[bytes]) -> None:
    # The whole group: the wardens go with the probe, and the kernel ends each trial with its warden.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
