"""Processes that never outlive this one: ended by id however we end, by the kernel where we are killed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TypeAlias

from benchmarks.peers.result import LeftOut

Command: TypeAlias = Sequence[str | Path]

_STOP_SECONDS = 20.0


def run(
    command: Command,
    *,
    folder: Path,
    log: Path,
    timeout: float,
    environment: Mapping[str, str] | None = None,
    user: str | None = None,
) -> str:
    """Its standard output; standard error goes to `log`. Raises LeftOut where it fails or takes over `timeout` s."""
    program = Path(command[0]).name
    with (
        log.open("w") as errors,
        _child(
            command, folder=folder, output=subprocess.PIPE, errors=errors, environment=environment, user=user
        ) as process,
    ):
        try:
            output, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            raise LeftOut(f"{program} did not end within {timeout:.0f} s (see {log})") from None
    if process.returncode:
        raise LeftOut(f"{program} failed: {_complaint(log)} (see {log})")
    return output


@contextmanager
def serve(
    command: Command,
    *,
    folder: Path,
    log: Path,
    stop: signal.Signals = signal.SIGTERM,
    user: str | None = None,
) -> Iterator[subprocess.Popen[str]]:
    """A server that gets the signal `stop` when the block ends."""
    with (
        log.open("w") as output,
        _child(command, folder=folder, output=output, errors=output, stop=stop, user=user) as process,
    ):
        yield process


@contextmanager
def _child(
    command: Command,
    *,
    folder: Path,
    output: IO[str] | int,
    errors: IO[str],
    environment: Mapping[str, str] | None = None,
    stop: signal.Signals = signal.SIGKILL,
    user: str | None = None,
) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [*_tied_to_us(user, stop), *command],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=errors,
        env={**os.environ, **(environment or {})},
        text=True,
        start_new_session=True,  # Ctrl-C reaches us alone, and we end the rest in order
    )
    try:
        yield process
    finally:
        _end(process, stop)


def _tied_to_us(user: str | None, stop: signal.Signals) -> list[str]:
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise LeftOut("setpriv (util-linux) is not on PATH: nothing else ends a server for certain when we are killed")
    change = ["--reuid", user, "--regid", user, "--init-groups"] if user else []
    return [setpriv, *change, "--pdeathsig", stop.name.removeprefix("SIG"), "--"]


def _end(process: subprocess.Popen[str], stop: signal.Signals) -> None:
    if process.poll() is None:
        process.send_signal(stop)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_SECONDS)
    with suppress(ProcessLookupError):  # itself where it would not stop, and what it started and left behind
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _complaint(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    telling = next((line for line in lines if "error" in line.lower()), lines[-1] if lines else "it said nothing")
    return telling[:200]
