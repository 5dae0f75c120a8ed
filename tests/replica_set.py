"""Three real mongods that are one replica set, and what happens to such: killed, frozen, stepped down, cut to one.

Elections take one to two seconds here, not ten. Each mongod has a folder and a guard of its own, as the embedded one
has, and so ends with this process, however that ends.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import psutil
from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

from jobserver.embedded.guard import GUARD_LOCK
from jobserver.embedded.launch import find_running, launch
from jobserver.embedded.locks import become_user, is_held
from jobserver.embedded.replica_set import SET_NAME
from jobserver.embedded.waiting import Deadline

T = TypeVar("T")
Document = dict[str, Any]

START = 60.0  # seconds that a mongod may take to come up, journal included
HEALTHY = 45.0
ALREADY_INITIALIZED = 23
ELECTIONS = {
    "electionTimeoutMillis": 1000,
    "heartbeatIntervalMillis": 250,
    "heartbeatTimeoutSecs": 1,
    "catchUpTimeoutMillis": 2000,
}
ANSWER_MS = 1000  # a mongod that does not answer a `hello` in this time is none that anybody can use
MAKING_IT_BREAK = ("--setParameter", "enableTestCommands=1")


@dataclass(frozen=True, slots=True)
class Node:
    """One mongod: the same through all its restarts."""

    number: int
    directory: Path
    address: str

    @property
    def uri(self) -> str:
        """To this node alone, whatever it is at the moment."""
        return f"mongodb://{self.address}/?directConnection=true"


class ThreeNodes:
    """A replica set of three. Methods block; they may be called from any thread, one at a time."""

    def __init__(self, directory: Path, *, oplog_mb: int, cache_gb: float) -> None:
        self._directory, self._oplog_mb, self._cache_gb = directory, oplog_mb, cache_gb
        self._shares: list[int] = []
        self._pids: dict[int, int] = {}
        self._frozen: set[int] = set()
        self._dead: set[int] = set()
        self._clients: dict[int, MongoClient[Document]] = {}
        self.nodes: tuple[Node, ...] = ()

    @classmethod
    @contextmanager
    def start(cls, directory: Path, *, oplog_mb: int = 256, cache_gb: float = 0.25) -> Iterator[ThreeNodes]:
        """Three mongods below this folder, healthy; killed at the end. `oplog_mb` may be as little as 1."""
        three = cls(directory, oplog_mb=oplog_mb, cache_gb=cache_gb)
        try:
            three._launch_all()
            three._initiate()
            three.healthy()
            yield three
        finally:
            three._close()

    @property
    def addresses(self) -> tuple[str, ...]:
        """`host:port` of each, as they call each other."""
        return tuple(node.address for node in self.nodes)

    @property
    def uri(self) -> str:
        """To the set."""
        return f"mongodb://{','.join(self.addresses)}/?replicaSet={SET_NAME}"

    def direct(self, node: Node) -> MongoClient[Document]:
        """A client of this node alone, for `failCommand` and for what it alone knows; closed at the end."""
        if node.number not in self._clients:
            self._clients[node.number] = MongoClient(
                node.uri,
                tz_aware=True,
                serverSelectionTimeoutMS=ANSWER_MS,
                connectTimeoutMS=ANSWER_MS,
                socketTimeoutMS=10 * ANSWER_MS,
                retryWrites=False,
            )
        return self._clients[node.number]

    def primary(self, *, within: float = HEALTHY) -> Node:
        """The node that takes writes, waited for; of two that believe it of themselves, the one elected last."""
        return _until(self._elected, within, "a primary")

    def secondaries(self) -> list[Node]:
        """The other two, whatever state they are in."""
        primary = self.primary()
        return [node for node in self.nodes if node != primary]

    def healthy(self, *, within: float = HEALTHY) -> Node:
        """The primary, as soon as all three are up, one leads, and the other two follow it."""
        return _until(self._leader_of_all, within, "a primary and two secondaries")

    def kill(self, node: Node) -> None:
        """SIGKILL; its clients' connections break at once."""
        self._dead.add(node.number)
        self._frozen.discard(node.number)
        with suppress(ProcessLookupError):
            os.kill(self._pids[node.number], signal.SIGKILL)
        # The guard goes after its mongod: a restart would wait for both.
        _until(lambda: not is_held(node.directory, GUARD_LOCK), START, f"the end of {node.address}")

    def restart(self, node: Node) -> None:
        """Start it again where it was, its data as the kill has left it."""
        deadline = Deadline.after(START, node.directory)
        state = find_running(deadline) or launch(
            deadline, cache_gb=self._cache_gb, extra_args=MAKING_IT_BREAK, oplog_mb=self._oplog_mb
        )
        assert node.address == f"127.0.0.1:{state.port}", f"somebody has taken the port of {node.address}"
        self._pids[node.number] = state.pid
        self._dead.discard(node.number)

    def freeze(self, node: Node) -> None:
        """SIGSTOP: connections stay, nothing answers. Returns when it stands still."""
        self._frozen.add(node.number)
        process = psutil.Process(self._pids[node.number])
        process.suspend()
        _until(lambda: process.status() == psutil.STATUS_STOPPED, START, f"{node.address} to stand still")

    def thaw(self, node: Node) -> None:
        """SIGCONT: it goes on with whatever it believed, and whatever has come in meanwhile."""
        os.kill(self._pids[node.number], signal.SIGCONT)
        self._frozen.discard(node.number)

    def step_down(self, *, seconds: int = 10) -> Node:
        """The primary hands over, and is none again for so long; returns it."""
        primary = self.primary()
        command = {"replSetStepDown": seconds, "secondaryCatchUpPeriodSecs": seconds - 1, "force": True}
        self.direct(primary).admin.command(command)
        return primary

    def lose_majority(self, *, frozen: bool = False) -> Node:
        """Kill both secondaries, or freeze them; returns the primary, which steps down after about a second."""
        primary = self.primary()
        for node in self.nodes:
            if node != primary:
                (self.freeze if frozen else self.kill)(node)
        return primary

    def mend(self, *, within: float = HEALTHY) -> Node:
        """Thaw what is frozen, restart what is dead; returns the primary once the set is healthy."""
        for node in self.nodes:
            if node.number in self._frozen:
                self.thaw(node)
        with ThreadPoolExecutor(len(self.nodes)) as together:
            list(together.map(self.restart, [node for node in self.nodes if node.number in self._dead]))
        return self.healthy(within=within)

    def _launch_all(self) -> None:
        with ThreadPoolExecutor(3) as together:
            self.nodes = tuple(together.map(self._launch, range(3)))

    def _launch(self, number: int) -> Node:
        directory = self._directory.absolute() / f"node-{number}"
        directory.mkdir(parents=True)
        deadline = Deadline.after(START, directory)
        self._shares.append(become_user(deadline))
        state = launch(deadline, cache_gb=self._cache_gb, extra_args=MAKING_IT_BREAK, oplog_mb=self._oplog_mb)
        self._pids[number] = state.pid
        return Node(number, directory, f"127.0.0.1:{state.port}")

    def _initiate(self) -> None:
        members = [{"_id": node.number, "host": node.address} for node in self.nodes]
        config = {"_id": SET_NAME, "members": members, "settings": ELECTIONS}
        try:
            self.direct(self.nodes[0]).admin.command("replSetInitiate", config)
        except OperationFailure as error:
            if error.code != ALREADY_INITIALIZED:
                raise

    def _hellos(self) -> dict[Node, Document]:
        """What those say of themselves that are neither dead nor frozen, and answer."""
        asked = [node for node in self.nodes if node.number not in self._dead | self._frozen]
        with ThreadPoolExecutor(len(self.nodes)) as together:
            answers = zip(asked, together.map(self._hello, asked), strict=True)
            return {node: hello for node, hello in answers if hello}

    def _hello(self, node: Node) -> Document | None:
        try:
            return self.direct(node).admin.command("hello")
        except PyMongoError:
            return None

    def _elected(self) -> Node | None:
        leading = {node: hello for node, hello in self._hellos().items() if hello["isWritablePrimary"]}
        return max(leading, key=lambda node: leading[node]["electionId"], default=None)

    def _leader_of_all(self) -> Node | None:
        hellos = self._hellos()
        leading = [node for node, hello in hellos.items() if hello["isWritablePrimary"]]
        following = [node for node, hello in hellos.items() if hello["secondary"]]
        agreed = {hello.get("primary") for hello in hellos.values()}
        if len(leading) != 1 or len(following) != 2 or agreed != {leading[0].address}:
            return None
        return leading[0]

    def _close(self) -> None:
        for client in self._clients.values():
            client.close()
        for node in self.nodes:
            if node.number not in self._dead:  # a primary that is asked to end waits for its secondaries first
                self.kill(node)
        for share in self._shares:
            os.close(share)


def _until(look: Callable[[], T | None], within: float, awaited: str) -> T:
    deadline = time.monotonic() + within
    while not (found := look()):
        assert time.monotonic() < deadline, f"no {awaited} within {within} seconds"
        time.sleep(0.05)
    return found
