"""One zygote as its server sees it: a process, and a socket on which it is asked to fork."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from jobserver.definition import Code
from jobserver.errors import RemoteError
from jobserver.execution.process.lines import Lines
from jobserver.execution.process.orders import code_order
from jobserver.execution.process.outlet import Outlet
from jobserver.execution.process.wire import Codec, receive, send, socket_pair

START_WITHIN = 60.0  # seconds for the interpreter and the imports
FORK_WITHIN = 10.0
LAST_LINES = 20


class ZygoteGone(RemoteError):
    """The process that was to fork has ended before it did."""

    def __init__(self, last_words: str) -> None:
        super().__init__(f"the process that was to start it has ended: {last_words or 'it said nothing'}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """How the import went: threads that it has left running, or message and traceback of what was wrong with it."""

    has_code: bool
    threads: int = 0
    failure: tuple[str, str] | None = None


class ZygoteLink:
    """Starts the process at once, or raises OSError. `over` is done when it has ended and nothing of it is left."""

    def __init__(self, command: Sequence[str], *, code: Code | None, driver: str | None, codec: Codec) -> None:
        self._loop = asyncio.get_running_loop()
        self._codec, self._has_code = codec, code is not None
        self.over: asyncio.Future[None] = self._loop.create_future()
        self._answers: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._turn = asyncio.Lock()
        self._users = 0
        self._last_words: list[str] = []
        self._control, self._process = self._start(command, code, driver)
        self._end_of_process = os.pidfd_open(self._process.pid)
        self._loop.add_reader(self._control, self._receive)
        self._loading = self._loop.create_task(self._await_loaded(), name="zygote loading")
        self.is_gone = False

    @property
    def is_busy(self) -> bool:
        """Whether somebody waits for it."""
        return self._users > 0 or not self._loading.done()

    async def loaded(self) -> Loaded:
        """How its import went. Raises ZygoteGone, and RemoteError for one that takes too long."""
        self._users += 1
        try:
            return await asyncio.shield(self._loading)
        finally:
            self._users -= 1

    async def fork(self, descriptors: Sequence[int]) -> None:
        """Have it fork a keeper that takes these. Raises ZygoteGone, and RemoteError where it cannot."""
        self._users += 1
        try:
            async with self._turn:
                answer = await self._ask(descriptors)
        finally:
            self._users -= 1
        if answer.get("error"):
            raise RemoteError(str(answer["error"]))

    def retire(self) -> None:
        """Ask nothing of it any more. It stays until the runs that it has forked have ended, for it reaps them.

        Without it that would be for process 1 to do, which in a container may be a server that knows nothing of them.
        """
        if self._loading.done():
            self._let_go()
        else:
            self.close()

    def close(self) -> None:
        """End it: nothing in it is of value. A second close is harmless."""
        self._let_go()
        if not self.over.done():
            self._process.kill()

    def _let_go(self) -> None:
        if not self.is_gone:
            self.is_gone = True
            self._loop.remove_reader(self._control)
            self._control.close()
            self._answers.put_nowait(None)
            self._loop.add_reader(self._end_of_process, self._reap)

    def _reap(self) -> None:
        self._loop.remove_reader(self._end_of_process)
        os.close(self._end_of_process)
        self._process.wait()
        self._output.close()
        self.over.set_result(None)

    def _start(
        self, command: Sequence[str], code: Code | None, driver: str | None
    ) -> tuple[socket.socket, subprocess.Popen[bytes]]:
        """On this thread, which lives as long as the server: the kernel ends the zygote when its thread ends."""
        with ExitStack() as theirs, ExitStack() as ours:
            control, far = socket_pair()
            ours.callback(control.close)
            theirs.callback(far.close)
            out, out_end = os.pipe()
            ours.callback(os.close, out)
            theirs.callback(os.close, out_end)
            server = os.pidfd_open(os.getpid())
            theirs.callback(os.close, server)
            process = subprocess.Popen(
                [*command, str(far.fileno()), str(server)],
                stdin=subprocess.DEVNULL,
                stdout=out_end,
                stderr=out_end,
                pass_fds=(far.fileno(), server),
                start_new_session=True,
                env=_environment(),
            )
            ours.pop_all()
        control.setblocking(False)
        self._output = Outlet(out, Lines(self._hear, grants=lambda _size: True), loop=self._loop)
        order = {"code": code and code_order(code), "driver": driver, "path": os.environ.get("PYTHONPATH")}
        send(control, self._codec.encode(order))
        return control, process

    async def _await_loaded(self) -> Loaded:
        try:
            async with asyncio.timeout(START_WITHIN):
                answer = self._decoded(await self._answers.get())
        except TimeoutError:
            self.close()
            raise RemoteError(f"its file was still being imported after {START_WITHIN:g} s") from None
        failed = answer["failed"]
        failure = None if failed is None else (str(failed["message"]), str(failed["trace"]))
        return Loaded(has_code=self._has_code, threads=answer["threads"], failure=failure)

    async def _ask(self, descriptors: Sequence[int]) -> dict[str, Any]:
        try:
            socket.send_fds(self._control, [b"fork"], list(descriptors))
            async with asyncio.timeout(FORK_WITHIN):
                return self._decoded(await self._answers.get())
        except OSError as error:
            if not isinstance(error, TimeoutError):
                raise ZygoteGone("\n".join(self._last_words)) from error
            self.close()
            raise RemoteError(f"no process was started within {FORK_WITHIN:g} s") from None

    def _decoded(self, answer: bytes | None) -> dict[str, Any]:
        if answer is None:
            self._answers.put_nowait(None)  # for the next who asks
            raise ZygoteGone("\n".join(self._last_words))
        return self._codec.decode(answer)

    def _receive(self) -> None:
        try:
            answer = receive(self._control)
        except BlockingIOError:
            return
        except (OSError, RemoteError):
            answer = None
        if answer is None:
            self.close()
        else:
            self._answers.put_nowait(answer)

    def _hear(self, line: str) -> None:
        self._last_words = [*self._last_words[-LAST_LINES:], line]


def _environment() -> dict[str, str]:
    """The server's own, with its import path; the zygote takes that out again before anything is started with it."""
    path = os.pathsep.join(folder or os.getcwd() for folder in sys.path)  # noqa: PTH109 - sys.path holds text
    return {**os.environ, "PYTHONPATH": path}
