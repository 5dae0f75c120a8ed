"""What every server has in common: a place, a port, a moment at which it is ready."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.peers.result import LeftOut

READY_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Where it is, and what it promises about data that it has acknowledged."""

    url: str
    description: str


@contextmanager
def data_folder(server: str, *, owner: str | None = None) -> Iterator[Path]:
    """An empty folder that is removed in the end."""
    with TemporaryDirectory(prefix=f"bench-peers-{server}-", ignore_cleanup_errors=True) as folder:
        if owner:
            shutil.chown(folder, owner)
        yield Path(folder)


def free_port() -> int:
    """A port that was free on 127.0.0.1 a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def await_ready(process: subprocess.Popen[str], *, log: Path, is_ready: Callable[[], bool]) -> None:
    """Raises LeftOut with the end of its log where it ends, or is not ready in time."""
    deadline = time.monotonic() + READY_SECONDS
    while not is_ready():
        if process.poll() is not None or time.monotonic() > deadline:
            raise LeftOut(f"the server did not start: {log.read_text(errors='replace').strip()[-300:]}")
        time.sleep(0.05)
