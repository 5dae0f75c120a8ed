"""One chaos run from its beginning to its verdict: work, faults, quiet, the last edits, the end, the judgement."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from tests.chaos.checker import Verdict, check
from tests.chaos.faults import INFLICT, Fault, Kind, Lane, Scene
from tests.chaos.figures import Recovery, recovery
from tests.chaos.history import Death, Outside, Skip
from tests.chaos.hosts import Host
from tests.chaos.plan import ALL, Plan
from tests.chaos.witness import Witness, changes, read_events
from tests.chaos.work import BEAT_NAME, PAUSED, PROMISE, Customer, read_steps, write_jobs
from tests.network import Network
from tests.project import Project, scratch_project
from tests.replica_set import ThreeNodes
from tests.skew import skewed

OBEYED = 10.0  # seconds after which every server obeys an edit
SHOWN = 3.0  # seconds in which a server that does not would have claimed
CUSTOMERS = 4
STEADY = 30.0  # jobs per second while faults come one by one
ALONE = 3.0  # seconds from one to the next
LAST = 20  # jobs that are enqueued while theirs is paused
STOPPED_BEFORE = 1 / 6  # of the lease: a server stops its runs so long before it is over
ENOUGH = 0.9  # of the jobs that were planned; while MongoDB is away clients are refused

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What a chaos run came to."""

    plan: Plan
    verdict: Verdict
    faults: tuple[Fault, ...]
    recovery: Recovery
    disturbed: Recovery  # the same where other faults happened as well
    accepted: int
    refused: int
    exit_codes: dict[str, int]
    hitches: tuple[str, ...]
    seconds: float

    @property
    def holds(self) -> bool:
        """Whether everything that was promised was kept, and there was something to keep it against."""
        return self.verdict.is_clean and not any(self.exit_codes.values()) and not self.lacks

    @property
    def lacks(self) -> list[str]:
        """What there was too little of to prove anything."""
        found = [f"nothing was judged: {promise}" for promise, count in self.verdict.judged.items() if not count]
        for what, least in self.plan.least.items():
            happened = sum(fault.kind in ALL[what] for fault in self.faults)
            if happened < least:
                found.append(f"{happened} {what}, not {least}")
        if self.accepted < ENOUGH * self.plan.jobs:
            found.append(f"{self.accepted} jobs, not {self.plan.jobs}")
        return found


class Chaos:
    """Lives for one proof."""

    def __init__(self, plan: Plan, folder: Path, tell: Tell) -> None:
        self._plan, self._folder, self._tell = plan, folder, tell
        self._over = threading.Event()
        self._deaths: list[Death] = []

    def prove(self) -> Proof:
        """Everything that is started ends with this."""
        began = time.monotonic()
        self._tell("starting three mongods")
        with (
            ThreeNodes.start(self._folder / "mongods", cache_gb=0.5, oplog_mb=1024) as nodes,
            MongoClient[Any](nodes.uri, tz_aware=True) as client,
            scratch_project(self._folder / "project", client, nodes.uri) as project,
            Network.start(nodes.uri, seed=self._plan.seed) as network,
        ):
            scene = self._scene(project, nodes, network)
            witness = Witness(nodes.uri, project.name, self._folder / "history.bson")
            witness.start()
            with self._hosts(scene):
                customers = self._disturb(scene, witness)
                together = len(scene.faults)
                customers.append(self._one_by_one(scene))
                settled_at = self._calm(scene)
            codes = {host.name: host.stop() for host in scene.hosts}
            witness.stop(client)
            skips = _read_skips(project)
        self._tell(f"judging {witness.events} changes")
        outside = Outside(
            accepted=frozenset(id_ for customer in customers for id_ in customer.accepted),
            deaths=tuple(self._deaths),
            promise=replace(PROMISE, stall=self._plan.lease * STOPPED_BEFORE),
            settled_at=settled_at,
            skips=skips,
        )
        steps = read_steps(self._folder / "signs")
        return Proof(
            plan=self._plan,
            verdict=check(changes(read_events(witness.path)), steps, outside),
            recovery=recovery(changes(read_events(witness.path)), scene.faults[together:]),
            disturbed=recovery(changes(read_events(witness.path)), scene.faults[:together]),
            faults=tuple(scene.faults),
            accepted=len(outside.accepted),
            refused=sum(customer.refused for customer in customers),
            exit_codes=codes,
            hitches=tuple(scene.hitches),
            seconds=time.monotonic() - began,
        )

    def _scene(self, project: Project, nodes: ThreeNodes, network: Network) -> Scene:
        write_jobs(project, self._folder / "signs")
        hosts = [
            Host(
                name=name,
                project=project,
                way=network.way(),
                workers=workers,
                runner=self._runner(),
                deaths=self._deaths,
                environ=skewed(os.environ, ahead=timedelta(seconds=self._plan.skew * (-1) ** number)),
            )
            for number, (name, workers) in enumerate(self._plan.hosts.items())
        ]
        return Scene(
            project=project,
            nodes=nodes,
            network=network,
            hosts=hosts,
            customers=[network.way() for _ in range(CUSTOMERS)],
            lease=self._plan.lease,
            stopping=self._over,
        )

    def _runner(self) -> dict[str, Any]:
        lease = int(self._plan.lease * 1000)
        return {"lease": lease, "max_concurrency": 40, "process_every": 3000, "shutdown_grace": "5 seconds"}

    @contextmanager
    def _hosts(self, scene: Scene) -> Iterator[None]:
        """All of them running, and started again when they end, until the block is left."""
        self._tell("starting the servers")
        done = threading.Event()
        for host in scene.hosts:
            host.start()
        keeper = threading.Thread(target=partial(_keep, scene.hosts, done), name="service manager", daemon=True)
        try:
            expected = sum(host.workers for host in scene.hosts)
            _until(lambda: scene.project.db.jobServers.count_documents({}) >= expected, 90, "all servers")
            keeper.start()
            yield
        finally:
            done.set()
            self._over.set()
            if keeper.is_alive():
                keeper.join()

    def _disturb(self, scene: Scene, witness: Witness) -> list[Customer]:
        """Customers and faults, until each customer has enqueued its share and each lane has done its own."""
        plan = self._plan
        share = plan.jobs // len(scene.customers)
        customers = [
            Customer(
                way.uri,
                scene.project.name,
                range(number * share, (number + 1) * share),
                seconds=plan.seconds,
                seed=plan.seed + number,
                stopping=self._over,
            )
            for number, way in enumerate(scene.customers)
        ]
        lanes = [
            Lane(name, scene, counts, every=_pause(name, counts, plan), seed=plan.seed)
            for name, counts in plan.lanes().items()
        ]
        threads: list[threading.Thread] = [*customers, *lanes]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            accepted = sum(len(customer.accepted) for customer in customers)
            left = {lane.name: lane.left for lane in lanes if lane.left}
            coming = ", ".join(f"{count} {name}" for name, count in left.items()) or "none"
            so_far = f"{accepted} of {plan.jobs} jobs, {witness.events} changes, {len(scene.faults)} faults"
            self._tell(f"{so_far}; to come: {coming}")
            time.sleep(1.0)
        return customers

    def _one_by_one(self, scene: Scene) -> Customer:
        """Each fault when the one before is over, under a steady load."""
        self._heal(scene)
        dice = random.Random(f"{self._plan.seed} alone")
        numbers = range(self._plan.jobs, 10 * self._plan.jobs)
        leaving = threading.Event()
        customer = Customer(
            scene.project.uri,
            scene.project.name,
            numbers,
            seconds=len(numbers) / STEADY,
            seed=self._plan.seed - 1,
            stopping=leaving,
        )
        customer.start()
        for kind, count in self._plan.alone.items():
            for number in range(count):
                self._tell(f"one by one: {kind}, {number + 1} of {count}")
                INFLICT[kind](scene, dice)
                time.sleep(self._plan.lease * 2 if kind is Kind.HOST_KILLED else ALONE)
        leaving.set()
        customer.join()
        return customer

    def _heal(self, scene: Scene) -> None:
        scene.network.heal()
        scene.nodes.mend()
        self._drain(scene)

    def _calm(self, scene: Scene) -> datetime:
        """All healed, all ended, and a last edit; the moment from which that has to be obeyed."""
        self._heal(scene)
        project = scene.project
        self._tell("quiet: is a pause obeyed?")
        _until(
            lambda: project.configs.find_one({"jobName": PAUSED, "configError": {"$exists": False}}), 60, "its document"
        )
        project.edit(PAUSED, {"$set": {"concurrency": 0}})
        time.sleep(OBEYED)
        settled_at = datetime.now(UTC)
        for _ in range(LAST):
            project.enqueue(PAUSED, {"n": f"last {time.monotonic_ns()}", "steps": 0, "pause": 0.0})
        time.sleep(SHOWN)
        project.edit(PAUSED, {"$unset": {"concurrency": ""}})
        self._drain(scene)
        return settled_at

    def _drain(self, scene: Scene) -> None:
        waiting = {"type": "normal", "status": {"$in": ["queued", "scheduled", "running"]}}
        deadline = time.monotonic() + self._plan.patience
        while time.monotonic() < deadline:
            try:
                left = scene.project.jobs.count_documents(waiting)
            except PyMongoError:
                continue
            if not left:
                return
            self._tell(f"quiet: {left} jobs are left")
            time.sleep(0.5)
        scene.hitches.append("not everything has come to its end in time")


def _pause(lane: str, counts: dict[Any, int], plan: Plan) -> float:
    """Seconds between faults, so that they fill the time; some last as long as a lease themselves."""
    lasting = {"pauses": plan.lease * 1.55, "network": plan.lease * 0.8, "mongods": 6.0}.get(lane, 0.5)
    return max(0.2, plan.seconds / sum(counts.values()) - lasting)


def _keep(hosts: list[Host], done: threading.Event) -> None:
    while not done.wait(1.0):
        for host in hosts:
            host.keep()


def _read_skips(project: Project) -> tuple[Skip, ...]:
    found = project.db.jobRuns.find({"name": BEAT_NAME, "status": "skipped"})
    return tuple(Skip(id=str(each["jobId"]), at=each["scheduledAt"], until=each.get("skippedUntil")) for each in found)


def _until(look: Callable[[], Any], within: float, awaited: str) -> None:
    deadline = time.monotonic() + within
    while not look():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{awaited}: not within {within} s")
        time.sleep(0.1)
