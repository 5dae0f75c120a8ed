"""The doors of a bad network and what goes through them: one door per client and node, one talk per connection.

Everything here belongs to the event loop of `tests.network`.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import cast

from tests.wire import HELLO, Message, messages

MOST_HELD = 4 << 20  # bytes of one direction of a connection; then its sender is no longer read
RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Toxics:
    """What is wrong at a door."""

    latency: float = 0.0
    jitter: float = 0.0
    bytes_per_second: float = 0.0  # 0: as many as there are
    swallows_requests: bool = False
    swallows_replies: bool = False
    refuses: bool = False

    @property
    def delays(self) -> bool:
        """Whether a message may not pass at once."""
        return bool(self.latency or self.jitter or self.bytes_per_second)


@dataclass(slots=True, kw_only=True)
class Loss:
    """From the `nth` such command on the next `times` are lost, or `share` of them, by chance.

    The connection breaks then. With `hang` it stays, and carries neither this nor anything later, in neither
    direction, until the way is healed: then all of that arrives.
    `of` is a collection, `node` an address; without them it is any.
    """

    command: str
    reply: bool
    of: str = ""
    nth: int = 1
    times: float = 1
    share: float = 1.0
    hang: bool = False
    node: str | None = None

    def strikes(self, command: tuple[str, str], node: str, chance: random.Random) -> bool:
        """Whether it is this one's turn; counts it."""
        name, collection = command
        if name != self.command or self.of not in ("", collection) or self.node not in (None, node):
            return False
        if self.nth > 1:
            self.nth -= 1
            return False
        if self.times <= 0 or chance.random() >= self.share:
            return False
        self.times -= 1
        return True


@dataclass(slots=True)
class Weather:
    """What the doors of one client have in common."""

    chance: random.Random
    names: dict[str, str] = field(default_factory=dict)  # the address of a node → of its door
    losses: list[Loss] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)

    def loses(self, command: tuple[str, str], node: str, *, reply: bool) -> Loss | None:
        """Whether this one is lost, and how."""
        for loss in self.losses:
            if loss.reply == reply and loss.strikes(command, node, self.chance):
                self.lost.append(command[0])
                return loss
        return None


class Door:
    """Where one client reaches one node."""

    def __init__(self, node: str, weather: Weather) -> None:
        self.node, self.weather = node, weather
        self.toxics = Toxics()
        self.talks: set[Talk] = set()
        self.passed = 0
        self._server: asyncio.Server | None = None

    async def open(self) -> str:
        """Listen on a free port; returns the address."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Talk(self).client, "127.0.0.1", 0)
        return f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def now(self, toxics: Toxics, *, heals: bool = False) -> None:
        """From here on this is wrong; what is held goes on if it may, and with `heals` also what hangs."""
        self.toxics = toxics
        for talk in list(self.talks):
            talk.hangs = talk.hangs and not heals
            talk.go_on()

    def reset(self) -> None:
        """Break every connection."""
        for talk in list(self.talks):
            talk.reset()

    def close(self) -> None:
        """Listen no more, and break what is left."""
        if self._server is not None:
            self._server.close()
        self.reset()


class Talk:
    """One connection of a client, and ours to the node for it."""

    def __init__(self, door: Door) -> None:
        self.door = door
        self.hangs = False
        self._asked: dict[int, tuple[str, str]] = {}
        self._ended: set[End] = set()
        self._connecting: asyncio.Task[None] | None = None
        self.client = End(self, self._requested)
        self.node = End(self, self._replied)
        self._requests = Direction(self, self.client, self.node, lambda toxics: toxics.swallows_requests)
        self._replies = Direction(self, self.node, self.client, lambda toxics: toxics.swallows_replies)

    def connected(self, end: End) -> None:
        """Ours to the node is made when the client's is there."""
        if end is not self.client:
            self._requests.go_on()
        elif self.door.toxics.refuses:
            self.reset()
        else:
            self.door.talks.add(self)
            self._connecting = asyncio.get_running_loop().create_task(self._connect())

    def ended(self, end: End) -> None:
        """The other side learns of it after everything that was said before."""
        self._ended.add(end)
        if self._ended == {self.client, self.node}:
            self.door.talks.discard(self)
        (self._requests if end is self.client else self._replies).put(None)

    def may_write(self, end: End, *, may: bool) -> None:
        """The kernel takes no more for this end, or does again."""
        (self._requests if end is self.node else self._replies).may_write = may
        self.go_on()

    def go_on(self) -> None:
        """Something has changed: hand on what may be handed on."""
        self._requests.go_on()
        self._replies.go_on()

    def reset(self) -> None:
        """RST to both."""
        self.door.talks.discard(self)
        if self._connecting is not None:
            self._connecting.cancel()
        for end in (self.client, self.node):
            end.abort()
        for direction in (self._requests, self._replies):
            direction.forget()

    async def _connect(self) -> None:
        host, port = self.door.node.rsplit(":", 1)
        try:
            await asyncio.get_running_loop().create_connection(lambda: self.node, host, int(port))
        except OSError:
            self.reset()

    def _requested(self, message: Message) -> None:
        command = message.command()
        if self._breaks(self.door.weather.loses(command, self.door.node, reply=False)):
            return
        if not message.more_follows:
            self._asked[message.id] = command
        self._requests.put(message.raw)

    def _replied(self, message: Message) -> None:
        command = self._asked.pop(message.answers, ("", ""))
        if self._breaks(self.door.weather.loses(command, self.door.node, reply=True)):
            return
        if message.more_follows:  # the next reply answers this one
            self._asked[message.id] = command
        renames = command[0] in HELLO
        self._replies.put(message.renamed(self.door.weather.names.__getitem__) if renames else message.raw)

    def _breaks(self, loss: Loss | None) -> bool:
        if loss is None:
            return False
        if loss.hang:
            self.hangs = True
            return False
        self.reset()
        return True


class End(asyncio.Protocol):
    """The client's end of a talk, or the node's."""

    def __init__(self, talk: Talk, heard: Callable[[Message], None]) -> None:
        self._talk, self._heard = talk, heard
        self._received = bytearray()
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._talk.connected(self)

    def data_received(self, data: bytes) -> None:
        self._received += data
        for message in messages(self._received):
            self._heard(message)

    def connection_lost(self, exc: Exception | None) -> None:
        self._talk.ended(self)

    def pause_writing(self) -> None:
        self._talk.may_write(self, may=False)

    def resume_writing(self) -> None:
        self._talk.may_write(self, may=True)

    def read(self, *, on: bool) -> None:
        """Read what this side says, or leave it to the kernel, which soon takes no more."""
        if self.transport is None or self.transport.is_closing() or self.transport.is_reading() == on:
            return
        (self.transport.resume_reading if on else self.transport.pause_reading)()

    def abort(self) -> None:
        """RST."""
        if self.transport is not None:
            with suppress(OSError):  # it is closed already
                self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            self.transport.abort()


class Direction:
    """What one end says, on its way to the other: at once, later, or when the network lets it."""

    def __init__(self, talk: Talk, source: End, sink: End, swallows: Callable[[Toxics], bool]) -> None:
        self._talk, self._source, self._sink, self._swallows = talk, source, sink, swallows
        self._held: deque[tuple[float, bytes | None]] = deque()
        self._bytes = 0
        self._last_due = 0.0
        self._line_free_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self.may_write = True

    def put(self, said: bytes | None) -> None:
        """Something was said; None is the end of it."""
        self._held.append((self._due(said or b""), said))
        self._bytes += len(said or b"")
        self.go_on()

    def go_on(self) -> None:
        """Hand on what is due, come back for the rest."""
        self._rest()
        loop = asyncio.get_running_loop()
        while self._held and not self._is_stuck():
            due, said = self._held[0]
            if due > loop.time():
                self._timer = loop.call_at(due, self.go_on)
                break
            self._held.popleft()
            self._hand_on(said)
        self._source.read(on=self._bytes < MOST_HELD and self.may_write)

    def forget(self) -> None:
        """The connection is gone."""
        self._rest()
        self._held.clear()

    def _rest(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _is_stuck(self) -> bool:
        return self._talk.hangs or self._sink.transport is None or self._swallows(self._talk.door.toxics)

    def _due(self, said: bytes) -> float:
        toxics = self._talk.door.toxics
        if not toxics.delays:
            return self._last_due
        now = asyncio.get_running_loop().time()
        self._line_free_at = max(now, self._line_free_at)
        if toxics.bytes_per_second:
            self._line_free_at += len(said) / toxics.bytes_per_second
        late = toxics.latency + toxics.jitter * self._talk.door.weather.chance.random()
        self._last_due = max(self._last_due, self._line_free_at + late)
        return self._last_due

    def _hand_on(self, said: bytes | None) -> None:
        assert self._sink.transport is not None
        if said is None:
            self._sink.transport.close()
            return
        self._bytes -= len(said)
        self._talk.door.passed += 1
        self._sink.transport.write(said)
