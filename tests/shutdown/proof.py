"""One combination on real processes: brought into its state, told to end, and looked at from outside.

Another server stands by, stopped until the one under test has its work: whatever is given back has to begin there.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import psutil
from pymongo import MongoClient

from tests.own_mongo import OwnMongo
from tests.project import Project, ServerProcess, scratch_project, until
from tests.shutdown.case import LEASE, Case, State, Told
from tests.shutdown.jobs import Begun, Gate, now

MARK = "SHUTDOWN_PROOF"  # in the environment of every process that the server under test starts
PATIENCE = 60.0  # seconds until a proof gives up waiting; what took too long is told by its figure
BETWEEN_SIGNALS = 0.1
USUAL = "3 seconds"  # between two looks, as by default
STANDBY_LEASE = 6.0  # its reaper looks once a second, and waits a second after the end of a lease
SHORT_BLOCK, LONG_BLOCK = 600, 7_000  # milliseconds that a claim is held between server and reply
SIGNALS = {
    Told.TERM: signal.SIGTERM,
    Told.INT: signal.SIGINT,
    Told.QUIT: signal.SIGQUIT,
    Told.KILL: signal.SIGKILL,
    Told.TERM_5: signal.SIGTERM,
    Told.KILL_WORKER: signal.SIGTERM,  # the end of the proof, once what it held has begun elsewhere
}


@dataclass(slots=True, kw_only=True)
class Verdict:
    """What was seen: seconds from the first signal to the last process's end, from there to the last run elsewhere."""

    case: Case
    code: int | None = None
    ended_after: float = 0.0
    elsewhere_after: float | None = None
    violations: list[str] = field(default_factory=list)

    @property
    def lateness(self) -> list[str]:
        """Promises of time that were not kept: figures, which a busy machine may spoil."""
        late = []
        if self.ended_after > self.case.ends_within:
            late.append(f"ended after {self.ended_after:.1f} s, not within {self.case.ends_within:.1f}")
        within = self.case.elsewhere_within
        if self.elsewhere_after is not None and self.elsewhere_after > within:
            late.append(f"what it held began elsewhere after {self.elsewhere_after:.1f} s, not within {within:.1f}")
        return late


class Ground:
    """A mongod, a project and a server that stands by, for any number of proofs."""

    def __init__(self, project: Project, mongo: OwnMongo) -> None:
        self.project, self.mongo, self.gate = project, mongo, Gate(project)
        self._standby: ServerProcess | None = None
        self._proofs = 0

    async def prove(self, case: Case, *, harsh: bool = False) -> Verdict:
        """Carry it out; the ground is as before afterwards.

        Where it is `harsh`, claims are held for longer than anybody waits, and MongoDB has crashed, not just stalled.
        """
        self._proofs += 1
        proof = _Proof(self, case, mark=f"{os.getpid()}-{self._proofs}", harsh=harsh)
        self.gate.close()
        await self._stand_by()
        try:
            return await proof.carry_out()
        finally:
            self.wake()
            self.gate.open()
            proof.clean_up()
            self.project.jobs.delete_many({})

    def stop_standby(self) -> None:
        """From now on it takes nothing."""
        assert self._standby is not None
        self._standby.send(signal.SIGSTOP)

    def wake(self) -> None:
        """It works again."""
        assert self._standby is not None
        self._standby.send(signal.SIGCONT)

    async def _stand_by(self) -> None:
        if self._standby is None:
            self._standby = self.project.process(
                lease=STANDBY_LEASE * 1000, default_concurrency=20, process_every=USUAL
            )
        await self._standby.started()
        await until(lambda: self.project.db.jobServers.find_one({"pid": self.standby_pid}))

    @property
    def standby_pid(self) -> int:
        """Its process."""
        assert self._standby is not None
        return self._standby.pid


@contextmanager
def ground(folder: Any) -> Iterator[Ground]:
    """With a mongod of its own that can be stalled, crashed and made to hold commands."""
    mongo = OwnMongo(folder / "mongo", extra_args=("--setParameter", "enableTestCommands=1"))
    try:
        with (
            MongoClient[dict[str, Any]](mongo.uri, tz_aware=True, serverSelectionTimeoutMS=500) as client,
            scratch_project(folder / "project", client, mongo.uri) as project,
        ):
            yield Ground(project, mongo)
    finally:
        mongo.go_on()
        mongo.end()


class _Proof:
    def __init__(self, ground: Ground, case: Case, *, mark: str, harsh: bool) -> None:
        self._ground, self._project, self._gate = ground, ground.project, ground.gate
        self._case, self._mark, self._harsh = case, mark, harsh
        self._verdict = Verdict(case=case)
        self._ids: list[Any] = []
        self._lost: list[Any] = []

    async def carry_out(self) -> Verdict:
        try:
            await self._carry_out()
        except AssertionError as error:
            self._violated(f"it came to nothing: {error}")
        return self._verdict

    async def _carry_out(self) -> None:
        server = await self._project.process(
            workers=self._case.workers,
            environ={**os.environ, MARK: self._mark},
            lease=int(LEASE * 1000),
            process_every=USUAL,
            default_concurrency=5 if self._case.workers == 1 else 2,  # where one is killed, others have room
            shutdown_grace=int(self._case.grace * 1000),
        ).started(within=PATIENCE)
        self._ground.stop_standby()
        victim = await self._bring_into_state()
        if victim is not None:
            await self._kill_a_worker(server, victim)
        await self._end(server)
        await self._look_for_locks()
        await self._look_elsewhere()

    def clean_up(self) -> None:
        """Whatever the proof found wrong, the next one begins without it."""
        self._ground.mongo.go_on()
        for process in self._processes():
            process.kill()
        self._project.client.admin.command({"configureFailPoint": "failCommand", "mode": "off"})
        self._project.db.jobServers.delete_many({"pid": {"$ne": self._ground.standby_pid}})

    async def _bring_into_state(self) -> int | None:
        """The worker that is to be killed, where it is one."""
        match self._case.state:
            case State.IDLE:
                pass
            case State.BUSY | State.AWAY:
                await self._begin_runs()
            case State.OVER_GRACE:
                self._gate.deafen()
                await self._begin_runs()
            case State.CLAIMING:
                await self._begin_to_claim()
        victim = self._choose_a_worker() if self._case.told is Told.KILL_WORKER else None
        if self._case.state is State.AWAY:
            await self._take_away_mongodb()
        return victim

    async def _take_away_mongodb(self) -> None:
        if self._harsh:
            await asyncio.to_thread(self._ground.mongo.crash)
        else:
            self._ground.mongo.stall()

    async def _bring_back_mongodb(self) -> None:
        if self._harsh:
            await asyncio.to_thread(self._ground.mongo.start)
        else:
            self._ground.mongo.go_on()

    async def _begin_runs(self) -> None:
        """One of each kind for each process."""
        self._ids = [self._project.enqueue(name) for name in self._gate.names * self._case.workers]
        await until(lambda: len(self._gate.begun()) == len(self._ids), within=PATIENCE)

    async def _begin_to_claim(self) -> None:
        """The next claim stands still in MongoDB: alone by findAndModify, several by update."""
        admin = self._project.client.admin
        data = {
            "failCommands": ["findAndModify", "update"],
            "appName": "jobserver",
            "blockConnection": True,
            "blockTimeMS": LONG_BLOCK if self._harsh else SHORT_BLOCK,
        }
        before = admin.command({"configureFailPoint": "failCommand", "mode": {"times": 1}, "data": data})["count"]
        count = 5 if self._harsh else 1
        name = self._gate.names[0]
        now_, plain = self._project.now(), {"type": "normal", "status": "queued", "priority": 0, "data": {}}
        documents = [{"name": name, "nextRunAt": now_, **plain} for _ in range(count)]
        self._ids = list(self._project.jobs.insert_many(documents).inserted_ids)
        entered = {"waitForFailPoint": "failCommand", "timesEntered": before + 1, "maxTimeMS": 20_000}
        await asyncio.to_thread(admin.command, entered)

    def _choose_a_worker(self) -> int:
        """One that runs something, where anything runs."""
        pids = {
            each["_id"]: each["pid"] for each in self._project.db.jobServers.find({"supervisor": {"$exists": True}})
        }
        held = {each["_id"]: each["lockedBy"] for each in self._project.jobs.find({"lockedBy": {"$exists": True}})}
        owner = next(iter(held.values()), next(iter(pids)))
        self._lost = [id_ for id_, lock in held.items() if lock == owner]
        return pids[owner]

    async def _kill_a_worker(self, server: ServerProcess, pid: int) -> None:
        """Its runs begin in the others, or in the one that takes its place; then all may end."""
        killed_at = now()
        os.kill(pid, signal.SIGKILL)
        before = {id_: len(self._begun_as(f"{id_}:")) for id_ in self._lost}  # 0 where it was claimed and not begun yet
        if self._case.state is State.AWAY:
            await self._bring_back_mongodb()
            killed_at = now()
        await until(
            lambda: all(len(self._begun_as(f"{id_}:")) > count for id_, count in before.items()), within=PATIENCE
        )
        if before:
            self._verdict.elsewhere_after = max(self._begun_as(f"{id_}:")[-1].at for id_ in before) - killed_at
        self._gate.open()
        for id_ in self._ids:
            await until(partial(self._is_completed, id_), within=PATIENCE)
        await until(lambda: len(server.records("server started")) == self._case.workers + 1, within=PATIENCE)

    def _begun_as(self, prefix: str) -> list[Begun]:
        return [run for run in self._gate.begun() if run.run.startswith(prefix)]

    async def _end(self, server: ServerProcess) -> None:
        told_at = now()
        for number in range(5 if self._case.told is Told.TERM_5 else 1):
            if number:
                await asyncio.sleep(BETWEEN_SIGNALS)
            server.send(SIGNALS[self._case.told])
        if self._may_end_in_order():
            await until(lambda: server.records("waiting for runs"), within=PATIENCE)
            self._gate.open()
        try:
            self._verdict.code = await server.exit_code(within=PATIENCE)
            await until(lambda: not self._processes(), within=PATIENCE)
        except AssertionError:
            self._violated(f"still there: {[process.cmdline() for process in self._processes()]}")
        self._verdict.ended_after = now() - told_at
        if self._verdict.code not in self._case.codes:
            self._violated(f"exit code {self._verdict.code}, not one of {sorted(self._case.codes)}")

    def _may_end_in_order(self) -> bool:
        dies_at_once = self._case.is_killed and self._case.workers == 1
        return self._case.state is State.BUSY and not (
            self._case.is_hurried or dies_at_once or self._case.told is Told.KILL_WORKER
        )

    async def _look_for_locks(self) -> None:
        if self._case.state is State.AWAY and self._case.told is not Told.KILL_WORKER:
            await self._bring_back_mongodb()
        if not self._case.leaves_locks:
            locked = list(self._project.jobs.find({"lockedAt": {"$exists": True}}))
            if locked:
                self._violated(f"{len(locked)} locks left: {locked[0]}")
            left = list(self._project.db.jobServers.find({"pid": {"$ne": self._ground.standby_pid}}))
            if left:
                self._violated(f"still registered: {left}")

    async def _look_elsewhere(self) -> None:
        """Whatever had not ended runs there, and only what nobody could give back counts a crash."""
        ended_at = now()
        unfinished = [id_ for id_ in self._ids if self._project.document(id_).get("status") != "completed"]
        self._ground.wake()
        self._gate.open()
        try:
            for id_ in self._ids:
                await until(partial(self._is_completed, id_), within=PATIENCE)
        except AssertionError:
            self._violated(f"not completed: {[self._project.document(id_) for id_ in unfinished]}")
        elsewhere = [run for run in self._gate.begun() if run.at >= ended_at]
        if unfinished:
            self._verdict.elsewhere_after = max((run.at for run in elsewhere), default=ended_at + PATIENCE) - ended_at
        if self._case.state in (State.CLAIMING, State.AWAY):  # whether MongoDB got to know of it is chance
            return
        for id_ in self._ids:
            document = self._project.document(id_)
            crashed = id_ in self._lost or (id_ in unfinished and self._case.leaves_locks)
            if ("lastCrashAt" in document) != crashed:
                self._violated(f"{'no ' if crashed else 'a '}crash was counted: {document}")

    def _is_completed(self, id_: Any) -> bool:
        document = self._project.document(id_)
        return document.get("status") == "completed" and "lockedAt" not in document

    def _processes(self) -> list[psutil.Process]:
        """Everything that the server under test has started, and itself."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(MARK) == self._mark and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def _violated(self, what: str) -> None:
        self._verdict.violations.append(what)
