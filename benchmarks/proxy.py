"""A TCP proxy that makes a line long: everything arrives later, nothing is lost, the bandwidth stays.

    python -m benchmarks.proxy PORT MILLISECONDS

Listens on a free port of 127.0.0.1, prints it, and hands everything on to PORT after so long, each way.
"""

from __future__ import annotations

import asyncio
import selectors
import sys
from asyncio import Protocol, Transport
from collections import deque
from functools import partial
from typing import Any


class Direction(Protocol):
    """One way of one connection: what this end receives, the other end gets `delay` seconds later."""

    def __init__(self, delay: float) -> None:
        self._delay = delay
        self._under_way: deque[tuple[float, bytes | None]] = deque()
        self._loop = asyncio.get_running_loop()
        self.transport: Transport | None = None
        self.other: Direction | None = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._send(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._send(None)

    def _send(self, data: bytes | None) -> None:
        """In the order in which it came; None is the end."""
        arrives = self._loop.time() + self._delay
        self._under_way.append((arrives, data))
        self._loop.call_at(arrives, self._arrive)

    def _arrive(self) -> None:
        _, data = self._under_way.popleft()
        target = self.other.transport if self.other else None
        if target is None:  # the other end is still being connected: in a moment, then
            self._under_way.appendleft((0.0, data))
            self._loop.call_later(self._delay, self._arrive)
        elif data is None:
            target.close()
        elif not target.is_closing():
            target.write(data)


class Inlet(Direction):
    """The end that a client connects to; it connects to the target in turn."""

    def __init__(self, delay: float, port: int) -> None:
        super().__init__(delay)
        self._port = port
        self._connecting: asyncio.Task[None] | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._connecting = asyncio.ensure_future(self._connect())

    async def _connect(self) -> None:
        outlet = Direction(self._delay)
        self.other, outlet.other = outlet, self
        try:
            await self._loop.create_connection(lambda: outlet, "127.0.0.1", self._port)
        except OSError:
            if self.transport is not None:
                self.transport.abort()


async def serve(port: int, delay: float) -> None:
    """Until this process ends."""
    server = await asyncio.get_running_loop().create_server(partial(Inlet, delay, port), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main(port: str, milliseconds: str) -> None:
    """Listen."""
    # epoll rounds a wait up to whole milliseconds, which is as long as the delay itself; select does not.
    loop = asyncio.SelectorEventLoop(selectors.SelectSelector())
    loop.run_until_complete(serve(int(port), float(milliseconds) / 1000))


if __name__ == "__main__":
    main(*sys.argv[1:])
