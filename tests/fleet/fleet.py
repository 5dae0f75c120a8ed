"""A fleet at work: servers as processes, some killed on the way and started again, some standing still for a while."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from tests.fleet.check import SECOND, Expected, Verdict, check
from tests.fleet.history import read_history
from tests.fleet.work import holders, schedule_tasks, write_jobs
from tests.project import Project, ServerProcess, until

Tell = Callable[[str], None]

TASKS_SHARE = 4  # one document in so many is a task
LONG_START = 120.0  # seconds in which every server runs, also where other work fills the machine
HOLDS_WITHIN = 10.0  # seconds in which a server that is to be killed has claimed something


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How large, how long (`seconds`), and how soon a killed server is found dead (`lease`).

    `kills` servers get SIGKILL; `stalls` others stand still until what they held was taken from them.
    """

    servers: int
    jobs: int
    seconds: int
    kills: int
    stalls: int
    lease: timedelta = timedelta(seconds=30)
    back_after: float = 5.0  # seconds between a kill and the start of another in its place

    @property
    def tasks(self) -> int:
        """How many of the jobs are tasks."""
        return self.jobs // TASKS_SHARE

    @property
    def patience(self) -> float:
        """Seconds for all that was due to be run or recorded: a lease, its grace, and a busy machine."""
        return 2 * self.lease.total_seconds() + 30


class Fleet:
    """Lives for one proof."""

    def __init__(self, project: Project, plan: Plan, tell: Tell) -> None:
        self._project, self._plan, self._tell = project, plan, tell
        self._servers: list[ServerProcess] = []
        self._killed: set[int] = set()

    async def prove(self) -> Verdict:
        """Let it work for as long as planned, and judge what it leaves behind."""
        plan, project = self._plan, self._project
        await asyncio.to_thread(write_jobs, project, plan.jobs - plan.tasks)
        await self._start()
        begin = _next_second(project.now()) + SECOND
        tasks = await asyncio.to_thread(schedule_tasks, project, plan.tasks, start=begin)
        expected = [*await asyncio.to_thread(holders, project, begin=begin), *tasks]
        assert len(expected) == plan.jobs, f"{len(expected)} documents were made"
        end = begin + plan.seconds * SECOND
        await asyncio.gather(self._watch(begin, end), self._kill_some(), self._stall_some())
        await until(lambda: not self._owed(end), within=plan.patience)
        await self._stop()
        self._tell("judging")
        history = await asyncio.to_thread(read_history, project.db, killed=frozenset(self._killed))
        return check([_until(each, end) for each in expected], history)

    async def _start(self) -> None:
        self._tell(f"starting {self._plan.servers} servers")
        self._servers = [self._server() for _ in range(self._plan.servers)]
        for server in self._servers:
            await server.started(within=LONG_START)
        classes = self._plan.jobs - self._plan.tasks
        await until(lambda: self._project.jobs.count_documents({"type": "single"}) == classes)

    def _server(self) -> ServerProcess:
        lease = int(self._plan.lease / timedelta(milliseconds=1))
        return self._project.process(lease=lease, max_concurrency=200, process_every=1000)

    async def _watch(self, begin: datetime, end: datetime) -> None:
        """Says how it goes until the time is over."""
        while (now := await asyncio.to_thread(self._project.now)) < end:
            runs = await asyncio.to_thread(self._project.db.jobRuns.estimated_document_count)
            passed = max(0.0, (now - begin).total_seconds())
            self._tell(f"{passed:4.0f} of {self._plan.seconds} s, {runs} entries, {len(self._killed)} killed")
            await asyncio.sleep(min(1.0, (end - now).total_seconds()))

    async def _kill_some(self) -> None:
        """Spread over the time; each while it holds locks, and each another one."""
        for number in range(self._plan.kills):
            await asyncio.sleep(self._plan.seconds / (self._plan.kills + 1))
            server = self._servers[number]
            await self._freeze(server)
            self._killed.add(server.pid)
            server.kill()
            asyncio.get_running_loop().call_later(self._plan.back_after, self._replace, number)

    async def _stall_some(self) -> None:
        """The same with the servers after those: each wakes up when the others have its work."""
        for number in range(self._plan.stalls):
            await asyncio.sleep(self._plan.seconds / (self._plan.stalls + 1))
            server = self._servers[self._plan.kills + number]
            await self._freeze(server)
            await until(partial(self._holds_nothing, server), within=self._plan.patience)
            server.send(signal.SIGCONT)

    async def _freeze(self, server: ServerProcess) -> None:
        """Stop it at a moment when it holds a lock."""
        while True:
            await until(lambda: not self._holds_nothing(server), within=HOLDS_WITHIN)
            server.send(signal.SIGSTOP)
            if not self._holds_nothing(server):
                return
            server.send(signal.SIGCONT)

    def _replace(self, number: int) -> None:
        self._servers[number] = self._server()

    def _holds_nothing(self, server: ServerProcess) -> bool:
        ids = self._project.db.jobServers.distinct("_id", {"pid": server.pid})
        return self._project.jobs.find_one({"lockedAt": {"$exists": True}, "lockedBy": {"$in": ids}}) is None

    def _owed(self, end: datetime) -> bool:
        """Whether a moment up to the end may still come to something."""
        due: dict[str, Any] = {"nextRunAt": {"$lte": end}}
        return self._project.jobs.find_one({"$or": [due, {"scheduledFor": {"$lte": end}}]}) is not None

    async def _stop(self) -> None:
        self._tell("stopping")
        for server in self._servers:
            await server.started(within=LONG_START)
            server.send(signal.SIGTERM)
        codes = [await server.exit_code(within=60.0) for server in self._servers]
        assert codes == [0] * len(codes), f"servers ended with {codes}"


def _next_second(moment: datetime) -> datetime:
    return moment.replace(microsecond=0) + SECOND


def _until(expected: Expected, end: datetime) -> Expected:
    """With the last moment that is not after the end."""
    return replace(expected, last=expected.first + (end - expected.first) // SECOND * SECOND)
