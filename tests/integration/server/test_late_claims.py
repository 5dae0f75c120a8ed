"""Claims that MongoDB carries out when whoever sent them has been told to end: they leave no lock behind."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobserver.store.claims import LONGEST_CLAIM
from tests.network import Network
from tests.own_mongo import OwnMongo
from tests.project import Document, Project

pytestmark = pytest.mark.timeout(90)

HELD_FOR = 2_000  # milliseconds, of the 2,500 after which MongoDB itself ends a claim


@pytest.fixture
def own_mongo(mongo_folder: Path) -> Iterator[OwnMongo]:
    """A mongod that only this test has, and that can be made to hold commands."""
    mongo = OwnMongo(mongo_folder, extra_args=("--setParameter", "enableTestCommands=1"))
    try:
        yield mongo
    finally:
        mongo.end()


class Held:
    """The next claims stand still in MongoDB."""

    def __init__(self, project: Project, *, times: int) -> None:
        self._admin, self._times = project.client.admin, times
        data = {
            "failCommands": ["findAndModify", "update"],
            "appName": "jobserver",
            "blockConnection": True,
            "blockTimeMS": HELD_FOR,
        }
        mode = {"times": times}
        self._before = self._admin.command({"configureFailPoint": "failCommand", "mode": mode, "data": data})["count"]

    async def are_under_way(self) -> None:
        entered = {"timesEntered": self._before + self._times, "maxTimeMS": 20_000}
        await asyncio.to_thread(self._admin.command, {"waitForFailPoint": "failCommand", **entered})

    async def are_over(self) -> None:
        """Switching it off waits for what is held; and MongoDB itself ends what takes longer."""
        await asyncio.to_thread(self._admin.command, {"configureFailPoint": "failCommand", "mode": "off"})
        await asyncio.sleep(LONGEST_CLAIM - HELD_FOR / 1000)


def enqueue(project: Project, name: str, count: int) -> list[Any]:
    """Queued by one command, so that they are claimed by one."""
    plain: Document = {"name": name, "type": "normal", "status": "queued", "priority": 0, "nextRunAt": project.now()}
    return project.jobs.insert_many([{**plain, "data": {}} for _ in range(count)]).inserted_ids


def locks(project: Project) -> list[Document]:
    return list(project.jobs.find({"lockedAt": {"$exists": True}}))


async def test_a_server_that_ends_waits_for_a_claim_whose_connection_broke(
    own_project: Project, own_mongo: OwnMongo
) -> None:
    name = own_project.job("noted")
    with Network.start(own_mongo.uri) as network:
        way = network.way()
        server = await own_project.process(uri=way.uri, process_every="3 seconds").started()
        held = Held(own_project, times=1)
        ids = enqueue(own_project, name, 5)  # several: such an update is not repeated by the driver
        await held.are_under_way()
        server.send(signal.SIGTERM)
        await server.says("server stopping")
        way.reset()
        assert await server.exit_code() == 0
    await held.are_over()
    assert locks(own_project) == []
    assert own_project.db.jobServers.count_documents({}) == 0
    assert {own_project.document(id_)["status"] for id_ in ids} == {"queued"}


async def test_workers_that_a_third_signal_kills_in_the_middle_of_a_claim_leave_no_lock_and_no_crash(
    own_project: Project,
) -> None:
    name = own_project.job("noted")
    server = await own_project.process(workers=2, process_every="3 seconds").started()
    held = Held(own_project, times=2)
    ids = enqueue(own_project, name, 2)
    await held.are_under_way()
    for _ in range(3):
        server.send(signal.SIGTERM)
        await asyncio.sleep(0.1)  # of two that come at once a process may hear one
    assert await server.exit_code() == 137
    await held.are_over()
    assert locks(own_project) == []
    assert own_project.db.jobServers.count_documents({}) == 0
    claimed = [own_project.document(id_) for id_ in ids]
    assert [document.get("crashes") for document in claimed] == [None, None]
    assert any("lockedAt" in document or document.get("fence") for document in claimed), "no claim came through"
