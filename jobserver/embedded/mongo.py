"""A share in the mongod of a directory."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from jobserver.embedded.guard import MONGOD_LOCK, STOP_GRACE, MongodState
from jobserver.embedded.launch import find_running, launch
from jobserver.embedded.locks import become_user, has_users, is_held, starting_or_closing
from jobserver.embedded.replica_set import answers, make_primary
from jobserver.embedded.state import read_state
from jobserver.embedded.waiting import Deadline
from jobserver.errors import EmbeddedMongoError

_START_SECONDS = 120.0  # recovering a large journal takes its time
_STOP_SECONDS = STOP_GRACE + 15.0


class EmbeddedMongo:
    """Keeps the mongod of a directory alive until `close`, or until this process ends in whatever way.

    A forked child that goes on using it keeps it alive too.
    """

    def __init__(self, *, directory: Path, state: MongodState, share: int) -> None:
        self.directory, self.uri, self.pid = directory, state.uri, state.pid
        self._share: int | None = share

    @classmethod
    def start(cls, directory: Path, *, cache_gb: float = 1.0, extra_args: Sequence[str] = ()) -> Self:
        """Join the mongod of `directory`, or start it; blocks until it accepts writes.

        `cache_gb` and `extra_args` count only where this call starts it. Raises EmbeddedMongoError.
        """
        directory = directory.absolute()
        deadline = Deadline.after(_START_SECONDS, directory)
        with _own_errors(directory):
            directory.mkdir(parents=True, exist_ok=True)
            with starting_or_closing(deadline):
                # First a user, then a look at what runs: from here on no guard stops anything, and one that was
                # stopping has ended.
                share = become_user(deadline)
                try:
                    state = find_running(deadline) or launch(deadline, cache_gb=cache_gb, extra_args=extra_args)
                    make_primary(state, deadline)
                except BaseException:
                    os.close(share)
                    raise
        return cls(directory=directory, state=state, share=share)

    def close(self, *, wait: bool = True) -> None:
        """Give the share back; the last one waits until mongod has ended, unless told not to. Twice is harmless."""
        share, self._share = self._share, None
        if share is None:
            return
        os.close(share)
        if wait:
            with _own_errors(self.directory):
                _await_end_if_unused(Deadline.after(_STOP_SECONDS, self.directory))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def running_uri(directory: Path) -> str | None:
    """Where the mongod of a directory is now, without keeping it alive; None where none answers."""
    state = read_state(directory)
    return state.uri if state and answers(state) else None


def _await_end_if_unused(deadline: Deadline) -> None:
    # One closer at a time: of two that look for users together, each would take the other for one.
    with starting_or_closing(deadline):
        while not has_users(deadline.directory) and is_held(deadline.directory, MONGOD_LOCK):
            deadline.pause("the embedded MongoDB to stop")


@contextmanager
def _own_errors(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise EmbeddedMongoError(f"the embedded MongoDB cannot use {directory}: {error}") from error
