"""From a zygote to a run that waits for its order: the descriptors between it and its server."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from jobserver.execution.process.wire import socket_pair
from jobserver.execution.process.zygote_link import Loaded, ZygoteGone
from jobserver.execution.process.zygotes import Breed, Zygotes


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """The server's ends, and the end of the lease that this run has, not a later one."""

    messages: socket.socket
    life: socket.socket
    out: int
    errors: int
    lease: int
    loaded: Loaded

    def close(self) -> None:
        """The keeper notices, and ends the run."""
        self.messages.close()
        self.life.close()
        os.close(self.out)
        os.close(self.errors)
        os.close(self.lease)


async def started(zygotes: Zygotes, breed: Breed, *, alone: bool, lease: Callable[[], int | None]) -> Line | None:
    """A process that waits for its order; None where the lease under which the run was claimed is a past one.

    Raises RemoteError and OSError.
    """
    try:
        return await _started(zygotes, breed, alone, lease)
    except ZygoteGone:
        # Somebody has ended it. Descriptors of its own for the second try: if there is a first process it has no
        # order yet, and ends as its lines are closed.
        return await _started(zygotes, breed, alone, lease)


async def _started(zygotes: Zygotes, breed: Breed, alone: bool, lease: Callable[[], int | None]) -> Line | None:
    shared = lease()
    if shared is None:
        return None
    with ExitStack() as theirs, ExitStack() as ours:
        ours.callback(os.close, shared)
        (messages, far_messages), (life, far_life) = (_pair(ours, theirs) for _ in range(2))
        (out, out_end), (errors, errors_end) = (_pipe(ours, theirs) for _ in range(2))
        far = (far_messages.fileno(), far_life.fileno(), out_end, errors_end, shared)
        loaded = await zygotes.fork(breed, far, alone=alone)
        ours.pop_all()
        return Line(messages=messages, life=life, out=out, errors=errors, lease=shared, loaded=loaded)


def _pair(ours: ExitStack, theirs: ExitStack) -> tuple[socket.socket, socket.socket]:
    near, far = socket_pair()
    near.setblocking(False)
    ours.callback(near.close)
    theirs.callback(far.close)
    return near, far


def _pipe(ours: ExitStack, theirs: ExitStack) -> tuple[int, int]:
    reading, writing = os.pipe()
    ours.callback(os.close, reading)
    theirs.callback(os.close, writing)
    return reading, writing
