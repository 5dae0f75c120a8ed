"""The guard: a small process that is mongod's parent and stops it when nobody uses it any more.

It runs as a plain file on the bare standard library: up in 20 ms, and nothing of the package stays in its memory.
Files in the directory, and the flocks on them. The kernel drops a flock with its process, however that ends:

    start.lock    exclusive    whoever starts or closes, one at a time
    users.lock    shared       every user, for as long as it uses mongod
                  exclusive    asked for by the guard from the first moment, granted when the last user is gone
    guard.lock    exclusive    the guard, all its life
    mongod.lock   exclusive    the guard, and mongod by inheritance: free only when both are gone
    mongod.json                what runs; absent as soon as it is about to stop
    mongod.port                the port of the last run
    mongod.log                 output of guard and mongod; the run before it is in mongod.log.1
    data/                      the databases

How it ends: last user gone → SIGTERM to mongod, SIGKILL after 15 s. mongod ends → the guard ends. The guard is killed →
the kernel sends mongod SIGTERM. A start in the middle of any of these waits on the locks and then begins anew.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

START_LOCK, USERS_LOCK, GUARD_LOCK, MONGOD_LOCK = "start.lock", "users.lock", "guard.lock", "mongod.lock"
STATE, PORT, LOG, PREVIOUS_LOG, DATA = "mongod.json", "mongod.port", "mongod.log", "mongod.log.1", "data"
STOP_GRACE = 15.0  # seconds between SIGTERM and SIGKILL

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


@dataclass(frozen=True, slots=True, kw_only=True)
class MongodState:
    """The running mongod of a directory, as mongod.json tells it."""

    pid: int
    port: int
    uri: str
    guard_pid: int


def open_lock(directory: Path, name: str) -> int:
    """A descriptor to flock; closing it gives the lock back."""
    return os.open(directory / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def main(directory: Path, port: int, command: list[str]) -> None:
    """Take the locks, then go on as an orphan: the caller continues knowing them held, and has no child to reap."""
    locks = {name: open_lock(directory, name) for name in (GUARD_LOCK, MONGOD_LOCK)}
    for lock in locks.values():
        fcntl.flock(lock, fcntl.LOCK_EX)
    if os.fork() == 0:
        _guard(directory, port, command, mongod_lock=locks[MONGOD_LOCK])


def _guard(directory: Path, port: int, command: list[str], *, mongod_lock: int) -> None:
    mongod = subprocess.Popen(
        command,
        pass_fds=(mongod_lock,),
        # Here is no second thread yet. And it has to be this thread, which lives as long as the process: the kernel
        # sends the parent-death signal when the *thread* that forked is gone.
        preexec_fn=_die_with_parent(),  # noqa: PLW1509
    )
    uri = f"mongodb://127.0.0.1:{port}/?replicaSet=rs0"
    _write_state(directory, MongodState(pid=mongod.pid, port=port, uri=uri, guard_pid=os.getpid()))
    threading.Thread(target=_stop_when_unused, args=(directory, mongod), daemon=True).start()
    code = mongod.wait()
    (directory / STATE).unlink(missing_ok=True)
    print(f"mongod ended with exit code {code}", flush=True)  # noqa: T201 - stdout is mongod.log


def _die_with_parent() -> Callable[[], None] | None:
    if sys.platform != "linux":
        return None
    prctl, guard = ctypes.CDLL(None).prctl, os.getpid()

    def arm() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != guard:  # it died before the signal was armed
            os._exit(1)

    return arm


def _write_state(directory: Path, state: MongodState) -> None:
    """In one step, so that a reader never sees half of it."""
    draft = directory / f"{STATE}.{os.getpid()}"
    draft.write_text(json.dumps(asdict(state)))
    draft.replace(directory / STATE)


def _stop_when_unused(directory: Path, mongod: subprocess.Popen[bytes]) -> None:
    fcntl.flock(open_lock(directory, USERS_LOCK), fcntl.LOCK_EX)
    # From here on a start waits for users.lock, that is for the end of this process.
    (directory / STATE).unlink(missing_ok=True)
    mongod.terminate()
    time.sleep(STOP_GRACE)
    mongod.kill()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
