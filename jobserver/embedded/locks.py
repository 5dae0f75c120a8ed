"""The flocks of a directory, as its users take them; guard.py says what each one means."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jobserver.embedded.guard import START_LOCK, USERS_LOCK, open_lock
from jobserver.embedded.waiting import Deadline


@contextmanager
def starting_or_closing(deadline: Deadline) -> Iterator[None]:
    """One process at a time starts or closes, so nobody becomes a user meanwhile."""
    lock = open_lock(deadline.directory, START_LOCK)
    try:
        while not _granted(lock, fcntl.LOCK_EX):
            deadline.pause("another process that starts or closes the embedded MongoDB")
        yield
    finally:
        # Explicitly: a child forked by another thread in the meantime has inherited the descriptor.
        fcntl.flock(lock, fcntl.LOCK_UN)
        os.close(lock)


def become_user(deadline: Deadline) -> int:
    """A user's share of users.lock, to be closed with `os.close`; waits for a guard that is stopping."""
    lock = open_lock(deadline.directory, USERS_LOCK)
    try:
        while not _granted(lock, fcntl.LOCK_SH):
            deadline.pause("the previous embedded MongoDB to stop")
    except BaseException:
        os.close(lock)
        raise
    return lock


def has_users(directory: Path) -> bool:
    """Whether anybody holds a share; to be asked while `starting_or_closing`, or the answer is old at once."""
    lock = open_lock(directory, USERS_LOCK)
    try:
        if _granted(lock, fcntl.LOCK_EX):
            return False  # nor has the guard woken up yet
        return _granted(lock, fcntl.LOCK_SH)  # refused: it is the guard that has it, and it is stopping
    finally:
        os.close(lock)


def is_held(directory: Path, name: str) -> bool:
    """Whether a guard (or mongod) holds the named lock."""
    lock = open_lock(directory, name)
    try:
        return not _granted(lock, fcntl.LOCK_SH)
    finally:
        os.close(lock)


def _granted(lock: int, kind: int) -> bool:
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
