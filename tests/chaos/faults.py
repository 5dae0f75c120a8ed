"""Everything that is done to servers, MongoDB, the network, configurations and files while jobs run.

A fault is inflicted, lasts, and is over; what is known of it goes on record. Each lane inflicts its own, one after the
other, by seeded chance; lanes do not wait for each other.
"""

from __future__ import annotations

import random
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from pymongo.errors import PyMongoError

from tests.chaos.hosts import Host, pid_of, send
from tests.chaos.work import JOBS
from tests.network import Network, Towards, Way
from tests.project import Project
from tests.replica_set import ThreeNodes

FILLED_UP = 14031  # OutOfDiskSpace
NOT_PRIMARY = 10107
WRITES = ["update", "insert", "findAndModify", "delete"]
MENDED = 60.0
AT_WORK = 3.0


class Kind(StrEnum):
    """What can happen."""

    WORKER_KILLED = "worker killed, its supervisor lives"
    SUPERVISOR_KILLED = "supervisor killed, its workers live"
    HOST_KILLED = "all of a host killed"
    RUN_KILLED = "a run's process, its keeper or its zygote killed"
    PAUSED = "a host stood still for longer than its lease"
    PRIMARY_KILLED = "primary killed"
    SECONDARY_KILLED = "secondary killed"
    STEPPED_DOWN = "primary stepped down"
    PRIMARY_FROZEN = "primary frozen"
    MAJORITY_LOST = "both secondaries gone"
    PARTITIONED = "a host cut off from MongoDB"
    ONE_WAY = "a host whose requests arrive, and no reply comes back"
    LATE = "200 ms later"
    SLOW = "256 KB/s"
    RESET = "every connection reset"
    REPLIES_LOST = "replies lost"
    DISK_FULL = "MongoDB has no disk space left"
    REFUSED = "MongoDB refuses writes"
    BLOCKED = "MongoDB answers writes late"
    CONFIG_STORM = "configurations edited, broken, deleted"
    FILES_CHANGED = "job files rewritten, broken, removed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One that has happened: from, until, and whose processes."""

    kind: Kind
    at: datetime
    until: datetime
    pids: tuple[int, ...] = ()


@dataclass(slots=True, kw_only=True)
class Scene:
    """What there is to break; `lease` in seconds."""

    project: Project
    nodes: ThreeNodes
    network: Network
    hosts: list[Host]
    customers: list[Way]
    lease: float
    stopping: threading.Event
    faults: list[Fault] = field(default_factory=list)
    hitches: list[str] = field(default_factory=list)  # a fault that could not be inflicted, or not be ended at once

    def rest(self, seconds: float) -> None:
        """Let it last; over at once when the whole is."""
        self.stopping.wait(seconds)

    def at_work(self, host: Host) -> list[int]:
        """Its workers that hold locks, waited for a while: the end of an idle one proves little."""
        deadline = time.monotonic() + AT_WORK
        while time.monotonic() < deadline:
            with suppress(PyMongoError):
                owners = self.project.jobs.distinct("lockedBy", {"lockedAt": {"$exists": True}})
                if holding := {pid_of(owner) for owner in owners} & set(host.worker_pids()):
                    return sorted(holding)
            self.rest(0.05)
        return host.worker_pids()

    @contextmanager
    def recorded(self, kind: Kind, pids: tuple[int, ...] = ()) -> Iterator[None]:
        """From here to the end of the block."""
        at = datetime.now(UTC)
        yield
        self.faults.append(Fault(kind=kind, at=at, until=datetime.now(UTC), pids=pids))


Inflict = Callable[[Scene, random.Random], None]


class Lane(threading.Thread):
    """Inflicts so many faults of each kind, in an order by chance, with pauses of `every` seconds."""

    def __init__(self, name: str, scene: Scene, counts: Mapping[Kind, int], *, every: float, seed: int) -> None:
        super().__init__(name=name, daemon=True)
        self._scene, self._every = scene, every
        self._dice = random.Random(f"{seed} {name}")
        self._order = [kind for kind, count in counts.items() for _ in range(count)]
        self._dice.shuffle(self._order)
        self.left = len(self._order)

    def run(self) -> None:
        """Until all are done, or the whole is over."""
        for kind in self._order:
            if self._scene.stopping.wait(self._every * self._dice.uniform(0.5, 1.5)):
                return
            try:
                INFLICT[kind](self._scene, self._dice)
            except Exception as error:  # the proof goes on; the report tells
                self._scene.hitches.append(f"{kind}: {type(error).__name__}: {str(error)[:200]}")
            self.left -= 1


def kill_worker(scene: Scene, dice: random.Random) -> None:
    """Its supervisor is to notice at once."""
    host = dice.choice([host for host in scene.hosts if host.is_supervised])
    if pids := scene.at_work(host):
        pid = dice.choice(pids)
        with scene.recorded(Kind.WORKER_KILLED, (pid,)):
            host.kill([pid])


def kill_supervisor(scene: Scene, dice: random.Random) -> None:
    """Its workers end by themselves, in order."""
    host = dice.choice([host for host in scene.hosts if host.is_supervised])
    assert host.server is not None
    with scene.recorded(Kind.SUPERVISOR_KILLED, (host.server.pid,)):
        host.kill([host.server.pid])


def kill_host(scene: Scene, dice: random.Random) -> None:
    """Nobody is left who could tell."""
    host = dice.choice(scene.hosts)
    scene.at_work(host)
    pids = host.all_pids()
    with scene.recorded(Kind.HOST_KILLED, tuple(pids)):
        host.kill(pids)


def kill_run(scene: Scene, dice: random.Random) -> None:
    """One of the processes that a run in a process consists of."""
    if pids := [pid for host in scene.hosts for pid in host.run_pids()]:
        pid = dice.choice(pids)
        with scene.recorded(Kind.RUN_KILLED, (pid,)):
            send([pid], signal.SIGKILL)


def pause(scene: Scene, dice: random.Random) -> None:
    """As a virtual machine that is moved: all of its processes, and they do not know."""
    host = dice.choice(scene.hosts)
    scene.at_work(host)
    pids = host.all_pids()
    with scene.recorded(Kind.PAUSED, tuple(pids)):
        send(pids, signal.SIGSTOP)
        scene.rest(scene.lease * dice.uniform(1.3, 1.8))
        send(pids, signal.SIGCONT)


def kill_primary(scene: Scene, dice: random.Random) -> None:
    """An election, and later it comes back."""
    node = scene.nodes.primary()
    with scene.recorded(Kind.PRIMARY_KILLED):
        scene.nodes.kill(node)
        scene.rest(dice.uniform(1.0, 4.0))
        scene.nodes.mend(within=MENDED)


def kill_secondary(scene: Scene, dice: random.Random) -> None:
    """Nobody should notice."""
    node = dice.choice(scene.nodes.secondaries())
    with scene.recorded(Kind.SECONDARY_KILLED):
        scene.nodes.kill(node)
        scene.rest(dice.uniform(1.0, 3.0))
        scene.nodes.mend(within=MENDED)


def step_down(scene: Scene, dice: random.Random) -> None:
    """In order, as in maintenance."""
    with scene.recorded(Kind.STEPPED_DOWN):
        with suppress(PyMongoError):  # it may close the very connection that asks for it
            scene.nodes.step_down(seconds=5)
        scene.rest(dice.uniform(1.0, 3.0))
        scene.nodes.healthy(within=MENDED)


def freeze_primary(scene: Scene, dice: random.Random) -> None:
    """Another is elected; when it thaws, two believe that they lead, for a moment."""
    node = scene.nodes.primary()
    with scene.recorded(Kind.PRIMARY_FROZEN):
        scene.nodes.freeze(node)
        scene.rest(dice.uniform(2.0, 5.0))
        scene.nodes.mend(within=MENDED)


def lose_majority(scene: Scene, dice: random.Random) -> None:
    """Nothing can be committed for a while."""
    with scene.recorded(Kind.MAJORITY_LOST):
        scene.nodes.lose_majority(frozen=dice.random() < 0.5)
        scene.rest(dice.uniform(1.0, 4.0))
        scene.nodes.mend(within=MENDED)


def partition(scene: Scene, dice: random.Random) -> None:
    """No reset, no reply: the host has to find out by itself. When it comes back, others have its work, or not yet."""
    host = dice.choice(scene.hosts)
    scene.at_work(host)
    with scene.recorded(Kind.PARTITIONED, tuple(host.all_pids())):
        host.way.black_hole()
        scene.rest(scene.lease * dice.choice((0.3, 0.8, 1.5, 2.0)))
        host.way.heal()


def one_way(scene: Scene, dice: random.Random) -> None:
    """The cruel half of a partition."""
    host = dice.choice(scene.hosts)
    with scene.recorded(Kind.ONE_WAY, tuple(host.all_pids())):
        host.way.black_hole(towards=Towards.CLIENT)
        scene.rest(scene.lease * dice.uniform(0.3, 1.5))
        host.way.heal()


def late(scene: Scene, dice: random.Random) -> None:
    """For a host or a client."""
    with _bad_way(scene, dice, Kind.LATE, seconds=3.0) as way:
        way.latency(0.2, jitter=0.1)


def slow(scene: Scene, dice: random.Random) -> None:
    """For a host or a client."""
    with _bad_way(scene, dice, Kind.SLOW, seconds=3.0) as way:
        way.slow(256 * 1024)


def reset(scene: Scene, dice: random.Random) -> None:
    """For a host or a client, a few times."""
    with _bad_way(scene, dice, Kind.RESET, seconds=0.0) as way:
        for _ in range(3):
            way.reset()
            scene.rest(0.3)


def lose_replies(scene: Scene, dice: random.Random) -> None:
    """Of a tenth of the writes: they are carried out, and nobody is told."""
    with _bad_way(scene, dice, Kind.REPLIES_LOST, seconds=3.0) as way:
        for command in WRITES:
            way.lose_reply(command, share=0.1, times=float("inf"))


@contextmanager
def _bad_way(scene: Scene, dice: random.Random, kind: Kind, *, seconds: float) -> Iterator[Way]:
    way = dice.choice([*(host.way for host in scene.hosts), *scene.customers])
    with scene.recorded(kind):
        yield way
        scene.rest(seconds)
        way.heal()


def fill_disk(scene: Scene, dice: random.Random) -> None:
    """Every write fails as on a full disk."""
    _fail(scene, Kind.DISK_FULL, dice.uniform(1.0, 3.0), failCommands=WRITES, errorCode=FILLED_UP)


def refuse(scene: Scene, dice: random.Random) -> None:
    """Three in ten writes are refused as by a primary that is none any more, and some connections close."""
    how: dict[str, Any] = {"errorCode": NOT_PRIMARY} if dice.random() < 0.5 else {"closeConnection": True}
    _fail(scene, Kind.REFUSED, 2.0, mode={"activationProbability": 0.3}, failCommands=WRITES, **how)


def block(scene: Scene, dice: random.Random) -> None:
    """A tenth of the writes wait half a second inside of MongoDB."""
    how = {"blockConnection": True, "blockTimeMS": 500}
    _fail(scene, Kind.BLOCKED, 3.0, mode={"activationProbability": 0.1}, failCommands=WRITES, **how)


def _fail(scene: Scene, kind: Kind, seconds: float, *, mode: Any = "alwaysOn", **data: Any) -> None:
    admin = scene.nodes.direct(scene.nodes.primary()).admin
    with scene.recorded(kind):
        admin.command({"configureFailPoint": "failCommand", "mode": mode, "data": data})
        try:
            scene.rest(seconds)
        finally:
            _end_failing(scene, admin)


def _end_failing(scene: Scene, admin: Any) -> None:
    """A node that was killed meanwhile has forgotten it; one that is frozen is asked until it answers."""
    deadline = time.monotonic() + MENDED
    while time.monotonic() < deadline:
        try:
            admin.command({"configureFailPoint": "failCommand", "mode": "off"})
            return
        except PyMongoError as error:
            last = error
            time.sleep(0.2)
    scene.hitches.append(f"failCommand could not be ended: {last}")


NONSENSE: tuple[Any, ...] = (-1, "many", {"$gt": 0}, [1], 10**12, float("nan"))
UNDONE = {"$unset": {"concurrency": "", "lockLifetime": "", "retry": ""}}


def storm(scene: Scene, dice: random.Random) -> None:
    """Valid and invalid edits in quick succession, and documents that are gone; then all as it was."""
    with scene.recorded(Kind.CONFIG_STORM):
        for _ in range(20):
            _edit(scene, f"api:{dice.choice(list(JOBS))}", dice)
            scene.rest(0.05)
        for kind in JOBS:
            with suppress(PyMongoError):
                scene.project.configs.update_one({"jobName": f"api:{kind}"}, UNDONE)


def _edit(scene: Scene, name: str, dice: random.Random) -> None:
    configs, one = scene.project.configs, {"jobName": name}
    edits: list[Callable[[], Any]] = [
        lambda: configs.update_one(one, {"$set": {"concurrency": dice.randrange(1, 30)}}),
        lambda: configs.update_one(one, {"$set": {"concurrency": dice.choice(NONSENSE)}}),
        lambda: configs.update_one(one, {"$set": {"retry": dice.choice(NONSENSE)}}),
        lambda: configs.update_one(one, {"$set": {"lockLifetime": "5 minutes"}}),
        lambda: configs.delete_one(one),
    ]
    with suppress(PyMongoError):  # MongoDB is away: the person tries something else
        dice.choice(edits)()


def change_files(scene: Scene, dice: random.Random) -> None:
    """A new version, a broken one written in place, none at all; then the old one again."""
    path = scene.project.root / "jobs" / f"{dice.choice(('quick', 'threaded', 'flaky'))}.py"
    source = path.read_text()
    with scene.recorded(Kind.FILES_CHANGED):
        match dice.randrange(3):
            case 0:
                _replace(path, f"{source}\n# {dice.random()}\n")
            case 1:
                path.write_text(source[: dice.randrange(len(source))] + "\n(")  # cut short it may be a sound job
            case _:
                path.unlink()
        scene.rest(dice.uniform(0.5, 2.0))
        _replace(path, source)


def _replace(path: Any, source: str) -> None:
    half = path.with_suffix(".half")
    half.write_text(source)
    half.replace(path)


INFLICT: Mapping[Kind, Inflict] = {
    Kind.WORKER_KILLED: kill_worker,
    Kind.SUPERVISOR_KILLED: kill_supervisor,
    Kind.HOST_KILLED: kill_host,
    Kind.RUN_KILLED: kill_run,
    Kind.PAUSED: pause,
    Kind.PRIMARY_KILLED: kill_primary,
    Kind.SECONDARY_KILLED: kill_secondary,
    Kind.STEPPED_DOWN: step_down,
    Kind.PRIMARY_FROZEN: freeze_primary,
    Kind.MAJORITY_LOST: lose_majority,
    Kind.PARTITIONED: partition,
    Kind.ONE_WAY: one_way,
    Kind.LATE: late,
    Kind.SLOW: slow,
    Kind.RESET: reset,
    Kind.REPLIES_LOST: lose_replies,
    Kind.DISK_FULL: fill_disk,
    Kind.REFUSED: refuse,
    Kind.BLOCKED: block,
    Kind.CONFIG_STORM: storm,
    Kind.FILES_CHANGED: change_files,
}
