"""PostgreSQL as Debian builds it, with the settings it comes with."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.peers import processes
from benchmarks.peers.packages import CACHE, install_for_debian
from benchmarks.peers.result import LeftOut
from benchmarks.peers.servers.server import READY_SECONDS, Server, await_ready, data_folder, free_port

_LOG = CACHE / "postgresql.log"


@contextmanager
def postgresql() -> Iterator[Server]:
    """It refuses to be root: where we are, it is the user postgres."""
    programs, user, port = _programs(), _unprivileged("postgres"), free_port()
    with data_folder("postgresql", owner=user) as folder:
        initdb: processes.Command = [
            programs / "initdb",
            "--pgdata",
            folder / "data",
            "--username",
            "bench",
            "--auth",
            "trust",
        ]
        processes.run(initdb, folder=folder, log=_LOG, timeout=READY_SECONDS, user=user)
        sockets = ["-p", str(port), "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]
        command: processes.Command = [programs / "postgres", "-D", folder / "data", *sockets]
        # SIGINT ends the sessions and stops; SIGTERM would wait for the sessions to leave
        with processes.serve(command, folder=folder, log=_LOG, stop=signal.SIGINT, user=user) as process:
            asking: processes.Command = [programs / "pg_isready", "--quiet", "--host", "127.0.0.1", "--port", str(port)]
            await_ready(process, log=_LOG, is_ready=lambda: subprocess.run(asking, check=False).returncode == 0)
            yield Server(
                url=f"postgresql://bench@127.0.0.1:{port}/postgres",
                description=f"PostgreSQL {_version(programs)}, its defaults: fsync and synchronous_commit on",
            )


def _programs() -> Path:
    found = _installed()
    if found is None:
        install_for_debian("postgresql")
        found = _installed()
    if found is None:
        raise LeftOut("postgres is neither on PATH nor where Debian puts it")
    return found


def _installed() -> Path | None:
    servers = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/postgres")]
    if servers:
        return max(servers, key=lambda programs: float(programs.parent.name))
    on_path = shutil.which("postgres")
    return Path(on_path).parent if on_path else None


def _unprivileged(user: str) -> str | None:
    if os.geteuid() != 0:
        return None
    try:
        pwd.getpwnam(user)
    except KeyError:
        raise LeftOut(f"PostgreSQL refuses to run as root, and there is no user {user}") from None
    return user


def _version(programs: Path) -> str:
    return subprocess.check_output([programs / "postgres", "--version"], text=True).split()[2]
