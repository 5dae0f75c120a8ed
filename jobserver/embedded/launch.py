"""Starting a guard and its mongod: which port, which arguments, and how we learn that it is up."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from zlib import crc32

from jobserver.embedded import guard
from jobserver.embedded.binary import find_mongod
from jobserver.embedded.guard import DATA, GUARD_LOCK, LOG, MONGOD_LOCK, PORT, PREVIOUS_LOG, MongodState
from jobserver.embedded.locks import is_held
from jobserver.embedded.replica_set import SET_NAME, answers
from jobserver.embedded.state import read_state
from jobserver.embedded.waiting import Deadline, log_tail
from jobserver.errors import EmbeddedMongoError

OPLOG_MB = 1024  # mongod's own default is a twentieth of the disk

_ADDRESS_IN_USE = "Address already in use"


def find_running(deadline: Deadline) -> MongodState | None:
    """The mongod that a live guard keeps for this directory; waits for one that comes up or goes down."""
    directory = deadline.directory
    while is_held(directory, MONGOD_LOCK):
        state = read_state(directory)
        # A mongod whose guard was killed still answers for a moment, and is about to stop.
        if state and is_held(directory, GUARD_LOCK) and answers(state):
            return state
        deadline.pause("the mongod that holds this directory to answer or to end")
    return None


def launch(deadline: Deadline, *, cache_gb: float, extra_args: Sequence[str], oplog_mb: int = OPLOG_MB) -> MongodState:
    """Start a mongod for this directory; raises EmbeddedMongoError with the end of its log."""
    directory, binary = deadline.directory, find_mongod()
    (directory / DATA).mkdir(exist_ok=True)
    for port in _free_ports(directory):
        arguments = _arguments(directory, port=port, cache_gb=cache_gb, oplog_mb=oplog_mb)
        command = [str(binary), *arguments, *extra_args]
        _start_guard(directory, port, command)
        state = find_running(deadline)
        if state:
            (directory / PORT).write_text(str(port))
            return state
        # Somebody took the port after we had looked: the next one, then.
        if _ADDRESS_IN_USE not in log_tail(directory):
            break
    raise EmbeddedMongoError(f"{binary} did not start; {log_tail(directory)}")


def _free_ports(directory: Path) -> Iterator[int]:
    """The port of the last run, so that the URI stays; one derived from the path; then whatever is free.

    The derived ones lie below the range from which the kernel serves outgoing connections.
    """
    derived = 20_000 + crc32(bytes(directory)) % 10_000
    for wanted in (_last_port(directory) or derived, derived, 0, 0, 0):
        port = _bindable(wanted)
        if port:
            yield port


def _last_port(directory: Path) -> int:
    try:
        return int((directory / PORT).read_text())
    except (FileNotFoundError, ValueError):
        return 0


def _bindable(port: int) -> int | None:
    """That port if it is free, any free one for 0."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as mongod does
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError):
            return None
        return int(probe.getsockname()[1])


def _arguments(directory: Path, *, port: int, cache_gb: float, oplog_mb: int) -> list[str]:
    options = {
        "--replSet": SET_NAME,
        "--bind_ip": "127.0.0.1",
        "--port": port,
        "--dbpath": directory / DATA,
        "--networkMessageCompressors": "snappy,zstd",  # zlib off: CVE-2025-14847
        "--wiredTigerCacheSizeGB": cache_gb,
        "--oplogSize": oplog_mb,
        # A fresh directory takes 20 MB instead of 300.
        "--wiredTigerEngineConfigString": "log=(prealloc=false,file_max=32MB)",
        "--setParameter": "diagnosticDataCollectionEnabled=false",
    }
    return ["--nounixsocket", *(str(word) for option in options.items() for word in option)]


def _start_guard(directory: Path, port: int, command: Sequence[str]) -> None:
    """Returns when the guard holds its locks: whoever finds them free afterwards knows that it has ended."""
    log = directory / LOG
    if log.exists():
        log.replace(directory / PREVIOUS_LOG)
    with log.open("ab") as output:
        subprocess.run(
            # -I and -S: the bare standard library, whatever the environment says.
            [sys.executable, "-I", "-S", guard.__file__, str(directory), str(port), *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=directory,
            start_new_session=True,  # Ctrl-C in the terminal is not meant for MongoDB
            check=False,
        )
