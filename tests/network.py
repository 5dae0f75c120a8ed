"""A bad network between servers and MongoDB: late, slow, silent, cut off, and losing just the reply that matters.

    with Network.start(uri) as network:
        way = network.way()            # one per client: its own door to every node
        server = start(way.uri)        # whose driver sees no other address than these doors
        way.black_hole(address)        # of one node by its address, or of all
        way.lose_reply("update", of="pulseJobs", nth=3)
        way.heal()

It has a thread and an event loop of its own; every method may be called from any thread and has happened when it
returns.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from enum import StrEnum
from functools import partial
from typing import TypedDict, TypeVar, Unpack
from urllib.parse import urlsplit

from tests.network_talk import Door, Loss, Toxics, Weather

T = TypeVar("T")


class Towards(StrEnum):
    """Which of the two directions a fault is in."""

    MONGODB = "mongodb"
    CLIENT = "client"
    BOTH = "both"


class Which(TypedDict, total=False):
    """As `Loss` has it."""

    of: str
    nth: int
    times: float
    share: float
    hang: bool
    node: str


class Network:
    """Ways to one MongoDB, of one node or several."""

    def __init__(self, uri: str, *, seed: int) -> None:
        self._uri = urlsplit(uri)
        self.addresses = tuple(self._uri.netloc.rpartition("@")[2].split(","))
        self.seed = seed
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="network", daemon=True)
        self.ways: list[Way] = []

    @classmethod
    @contextmanager
    def start(cls, uri: str, *, seed: int = 0) -> Iterator[Network]:
        """To the MongoDB at this URI; `seed` is of jitter and of what is lost by chance."""
        network = cls(uri, seed=seed)
        network._thread.start()
        try:
            yield network
        finally:
            network._close()

    def way(self) -> Way:
        """A new client's way, without any fault."""
        way = Way(self, random.Random(f"{self.seed} {len(self.ways)}"))
        self.ways.append(way)
        return way

    def heal(self) -> None:
        """End every fault of every way."""
        for way in self.ways:
            way.heal()

    def uri_with(self, addresses: Iterable[str]) -> str:
        """The URI of MongoDB, with other addresses."""
        login = "".join(self._uri.netloc.rpartition("@")[:2])
        return self._uri._replace(netloc=f"{login}{','.join(addresses)}").geturl()

    def open_door(self, door: Door) -> str:
        """Listen; returns the address."""
        return asyncio.run_coroutine_threadsafe(door.open(), self._loop).result()

    def do(self, change: Callable[[], T]) -> T:
        """Have it done on the network's event loop, wait until it is."""

        async def changed() -> T:
            return change()

        return asyncio.run_coroutine_threadsafe(changed(), self._loop).result()

    def _close(self) -> None:
        for way in self.ways:
            for door in way.doors.values():
                self.do(door.close)
        asyncio.run_coroutine_threadsafe(_settled(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class Way:
    """One client's doors, a door per node. Faults are of the node with this address, or of all; they add up."""

    def __init__(self, network: Network, chance: random.Random) -> None:
        self._network = network
        self._weather = Weather(chance)
        self.doors = {address: Door(address, self._weather) for address in network.addresses}
        self._weather.names = {address: network.open_door(door) for address, door in self.doors.items()}

    @property
    def uri(self) -> str:
        """What this client is to connect to."""
        return self._network.uri_with(self._weather.names.values())

    @property
    def lost(self) -> list[str]:
        """The commands of which a request or a reply was lost, in that order."""
        return list(self._weather.lost)

    @property
    def passed(self) -> int:
        """How many messages were handed on, in both directions."""
        return sum(door.passed for door in self.doors.values())

    def latency(self, seconds: float, *, jitter: float = 0.0, node: str | None = None) -> None:
        """Each message comes so much later, and up to `jitter` more; none overtakes another."""
        self._change(node, lambda toxics: replace(toxics, latency=seconds, jitter=jitter))

    def slow(self, bytes_per_second: float, *, node: str | None = None) -> None:
        """This is what each connection carries, in each direction."""
        self._change(node, lambda toxics: replace(toxics, bytes_per_second=bytes_per_second))

    def black_hole(self, node: str | None = None, *, towards: Towards = Towards.BOTH) -> None:
        """Nothing arrives any more, and nobody is told. As with TCP it arrives when this ends, however late."""
        swallows = {
            "swallows_requests": towards is not Towards.CLIENT,
            "swallows_replies": towards is not Towards.MONGODB,
        }
        self._change(node, lambda toxics: replace(toxics, **swallows))

    def refuse(self, node: str | None = None) -> None:
        """New connections are reset at once; those that are there stay."""
        self._change(node, lambda toxics: replace(toxics, refuses=True))

    def reset(self, node: str | None = None) -> None:
        """RST on every connection there is."""
        for door in self._doors(node):
            self._network.do(door.reset)

    def lose_reply(self, command: str, **which: Unpack[Which]) -> None:
        """The command is carried out, its reply never comes: see `Loss` for which, and for what comes then."""
        self._lose(Loss(command=command, reply=True, **which))

    def lose_request(self, command: str, **which: Unpack[Which]) -> None:
        """The command never reaches MongoDB: see `Loss` for which, and for what comes then."""
        self._lose(Loss(command=command, reply=False, **which))

    def heal(self, node: str | None = None) -> None:
        """No fault from here on, what was held arrives; losses yet to come are called off when all is healed."""
        if node is None:
            self._network.do(self._weather.losses.clear)
        for door in self._doors(node):
            self._network.do(partial(door.now, Toxics(), heals=True))

    def _lose(self, loss: Loss) -> None:
        self._network.do(lambda: self._weather.losses.append(loss))

    def _change(self, node: str | None, change: Callable[[Toxics], Toxics]) -> None:
        def changed() -> None:
            for door in self._doors(node):
                door.now(change(door.toxics))

        self._network.do(changed)

    def _doors(self, node: str | None) -> list[Door]:
        return list(self.doors.values()) if node is None else [self.doors[node]]


async def _settled() -> None:
    """Connections that were reset close on the loop's next turns."""
    for _ in range(3):
        await asyncio.sleep(0)
