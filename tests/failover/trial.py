"""A replica set that breaks again and again under two servers at work, and how long it takes until they claim again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from pymongo.errors import PyMongoError

from tests.failover.load import Load
from tests.project import Document, Project, until
from tests.replica_set import ThreeNodes

# A client that looks on must not wait long for a node that stands still.
IMPATIENT: Document = {"connectTimeoutMS": 500, "socketTimeoutMS": 1000, "heartbeatFrequencyMS": 500}
LONGEST = 60.0  # seconds until claims resume
SETTLED = 60.0  # seconds in which everything comes to its end once nothing breaks any more
HELD = """
class Held(Job):
    schedule = "manual"
    concurrency = 1
    async def run(self, context):
        folder = os.path.dirname(__file__)
        try:
            while not os.path.exists(f"{folder}/gate"):
                await asyncio.sleep(0.01)
        finally:
            with open(f"{folder}/ends", "a") as ends:
                ends.write(f"{context.fence}\\n")
        return context.fence
"""


class Fault(StrEnum):
    """What happens to the primary, or to both others."""

    KILL = "primary killed"
    STEP_DOWN = "primary steps down"
    FREEZE = "primary stands still"
    OUTAGE = "no majority"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """In seconds from the fault: until another leads, until something is claimed."""

    fault: Fault
    elected: float
    resumed: float


class Trial:
    """Servers at work on a project of this replica set, and one run that is under way all the time."""

    def __init__(self, project: Project, nodes: ThreeNodes, *, outage: float, per_second: float = 100) -> None:
        self._project, self._nodes, self._outage = project, nodes, outage
        self._held_name = project.job("held", HELD)
        self._lock: Document = {}
        self._held: Any = None
        self.load = Load(project, per_second=per_second)
        self.recoveries: list[Recovery] = []

    async def work(self, faults: Sequence[Fault], tell: Callable[[str], None] = lambda _: None) -> list[str]:
        """Begin, let all of this happen, and let everything end; what is not as it should be."""
        for server in [self._project.process(max_concurrency=200) for _ in range(2)]:
            await server.started()
        self._held = self._project.enqueue(self._held_name)
        await until(lambda: self._project.document(self._held).get("status") == "running")
        self._lock = self._held_lock()
        with self.load:
            await until(lambda: len(self.load.acknowledged) > 20)
            for number, fault in enumerate(faults, 1):
                tell(f"{number} of {len(faults)}: {fault}, {len(self.load.acknowledged)} runs so far")
                self.recoveries.append(await self._recovery(fault))
        tell("waiting for everything to end")
        await until(lambda: self.load.unfinished() == 0, within=SETTLED)
        with suppress(AssertionError):  # history comes a moment after the end
            await until(lambda: not self.load.differences())
        return self.load.differences() + await self._held_differences()

    async def _recovery(self, fault: Fault) -> Recovery:
        moment = await self._happens(fault)
        await asyncio.to_thread(self._nodes.primary)
        elected = datetime.now(UTC)

        def look() -> datetime | None:
            with suppress(PyMongoError):  # a node stands still, or is still being found
                return self.load.claimed_after(moment)
            return None

        claimed = await until(look, within=LONGEST)
        assert claimed
        await asyncio.to_thread(self._nodes.mend)
        return Recovery(fault=fault, elected=_seconds(moment, elected), resumed=_seconds(moment, claimed))

    async def _happens(self, fault: Fault) -> datetime:
        """Returns when it had happened."""
        primary = await asyncio.to_thread(self._nodes.healthy)
        match fault:
            case Fault.KILL:
                await asyncio.to_thread(self._nodes.kill, primary)
            case Fault.STEP_DOWN:
                await asyncio.to_thread(self._nodes.step_down)
            case Fault.FREEZE:
                await asyncio.to_thread(self._nodes.freeze, primary)
            case Fault.OUTAGE:
                await asyncio.to_thread(self._nodes.lose_majority, frozen=True)
                await asyncio.sleep(self._outage)
                for node in self._nodes.nodes:
                    if node != primary:
                        self._nodes.thaw(node)
        return datetime.now(UTC)

    def _held_lock(self) -> Document:
        document = self._project.document(self._held)
        return {field: document.get(field) for field in ("status", "fence", "lockToken", "lockedBy")}

    async def _held_differences(self) -> list[str]:
        """The run that was under way has kept its lock, and ends once."""
        found = [] if (lock := self._held_lock()) == self._lock else [f"the run's lock was {self._lock}, is {lock}"]
        (self._project.root / "jobs" / "gate").touch()
        await self._project.ended(self._held)
        ends = (self._project.root / "jobs" / "ends").read_text().split()
        return found + ([] if ends == ["1"] else [f"the run under way has ended as claims {ends}"])


def _seconds(earlier: datetime, later: datetime) -> float:
    return round((later - earlier).total_seconds(), 2)
