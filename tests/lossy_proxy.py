"""A way to MongoDB on which replies get lost: the command is carried out, its answer never arrives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

HEADER = 16  # message length, request id, response to, op code
FLAGS_AND_KIND = 5
LENGTH_AND_TYPE = 5  # of a BSON document and its first element, whose name is the command's


class LossyProxy:
    """Hands every message on but the replies that are to be lost: those end their connection instead."""

    def __init__(self, uri: str) -> None:
        address = urlsplit(uri).netloc
        self._host, port = address.split(":")
        self._port = int(port)
        self._to_lose: dict[str, int] = {}
        self._silent: set[str] = set()
        self.silenced = 0
        self._talks: set[asyncio.Task[None]] = set()
        self.uri = ""
        self.lost: list[str] = []

    def lose_reply_of(self, command: str, *, times: int = 1) -> None:
        """The next so many answers to this command are lost."""
        self._to_lose[command] = times

    def silence(self, command: str) -> None:
        """From now on whoever asks this is not answered any more, on a connection that stays open."""
        self._silent.add(command)

    def speak(self) -> None:
        """What is asked from now on is answered."""
        self._silent.clear()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[LossyProxy]:
        """Be there at `uri`."""
        server = await asyncio.start_server(self._talk, "127.0.0.1", 0)
        self.uri = f"mongodb://127.0.0.1:{server.sockets[0].getsockname()[1]}/?directConnection=true"
        try:
            yield self
        finally:
            server.close()
            for talk in self._talks:
                talk.cancel()
            await asyncio.gather(*self._talks, return_exceptions=True)

    async def _talk(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._talks.add(task)
        server, to_server = await asyncio.open_connection(self._host, self._port)
        try:
            while message := await _message(client):
                to_server.write(message)
                reply = await _message(server)
                name = _command(message)
                if name in self._silent:
                    self.silenced += 1
                    await client.read()  # until the other side has enough of it
                    return
                if self._to_lose.get(name, 0):
                    self._to_lose[name] -= 1
                    self.lost.append(name)
                    return
                to_client.write(reply)
                # The monitor's `hello` is answered again and again without another request.
                while reply[HEADER] & 2:
                    reply = await _message(server)
                    to_client.write(reply)
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            return
        finally:
            to_client.close()
            to_server.close()
            self._talks.discard(task)


async def _message(stream: asyncio.StreamReader) -> bytes:
    size = await stream.readexactly(4)
    return size + await stream.readexactly(int.from_bytes(size, "little") - 4)


def _command(message: bytes) -> str:
    start = HEADER + FLAGS_AND_KIND + LENGTH_AND_TYPE
    return message[start : message.index(b"\0", start)].decode("utf-8", "replace")
