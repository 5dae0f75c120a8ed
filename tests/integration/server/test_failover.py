"""A real replica set of three that breaks under servers at work: nothing is lost, nothing ends twice, runs go on."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from bson import ObjectId
from pymongo import MongoClient, WriteConcern
from pymongo.errors import PyMongoError

from jobserver.store.servers import LEASE as REAL_LEASE
from tests.failover.load import Load
from tests.network import Network
from tests.project import LEASE, Document, Project, scratch_project, until
from tests.replica_set import ThreeNodes

pytestmark = pytest.mark.timeout(120)

IMPATIENT: Document = {"connectTimeoutMS": 500, "socketTimeoutMS": 1000, "heartbeatFrequencyMS": 500}
OUTAGE = 13.5  # seconds without a majority; with the election after it still less than 15
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
                ends.write(f"{context.fence} {time.time_ns()}\\n")
        return context.fence
"""
BEGINS = """
class Begins(Job):
    schedule = "manual"
    concurrency = 100
    async def run(self, context):
        with open(os.path.dirname(__file__) + "/begins", "a") as begins:
            begins.write(f"{context.run_id} {context.fence} {time.time_ns()}\\n")
"""


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ThreeNodes]:
    with ThreeNodes.start(tmp_path_factory.mktemp("set")) as nodes:
        yield nodes


@pytest.fixture(scope="module")
def set_client(nodes: ThreeNodes) -> Iterator[MongoClient[Document]]:
    """Which does not wait long for a node that stands still."""
    with MongoClient[Document](nodes.uri, tz_aware=True, **IMPATIENT) as client:
        yield client


@pytest.fixture
def project(tmp_path: Path, nodes: ThreeNodes, set_client: MongoClient[Document]) -> Iterator[Project]:
    """On the replica set, which is healthy before and after."""
    with scratch_project(tmp_path / "project", set_client, nodes.uri) as project:
        yield project
        nodes.mend()


async def held_run(project: Project, name: str) -> tuple[Any, Document]:
    """The id of a document whose run is under way until `open_gate`, and its lock."""
    id_ = project.enqueue(name)
    await until(lambda: project.document(id_).get("status") == "running")
    return id_, lock_of(project, id_)


def lock_of(project: Project, id_: Any) -> Document:
    document = project.document(id_)
    return {field: document.get(field) for field in ("status", "fence", "lockToken", "lockedBy")}


def open_gate(project: Project) -> None:
    (project.root / "jobs" / "gate").touch()


def lines(project: Project, name: str) -> list[list[str]]:
    """What runs have noted on disk."""
    path = project.root / "jobs" / name
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


async def resumed(project: Project, load: Load) -> None:
    """Something is claimed after this moment."""
    moment = datetime.now(UTC)

    def look() -> datetime | None:
        with suppress(PyMongoError):  # a node stands still, or none leads yet
            return load.claimed_after(moment)
        return None

    await until(look, within=30)


async def test_nothing_is_lost_and_nothing_ends_twice_while_primaries_are_killed_step_down_and_freeze(
    project: Project, nodes: ThreeNodes
) -> None:
    name = project.job("held", HELD)
    load = Load(project, per_second=100)
    for server in [project.process(max_concurrency=200) for _ in range(2)]:
        await server.started()
    id_, lock = await held_run(project, name)
    with load:
        await until(lambda: len(load.acknowledged) > 20)
        nodes.kill(await asyncio.to_thread(nodes.primary))
        await resumed(project, load)
        await asyncio.to_thread(nodes.mend)
        await asyncio.to_thread(nodes.step_down)
        await resumed(project, load)
        nodes.freeze(await asyncio.to_thread(nodes.healthy))
        await resumed(project, load)
        await asyncio.to_thread(nodes.mend)
    await until(lambda: load.unfinished() == 0)
    await until(lambda: not load.differences())
    assert lock_of(project, id_) == lock
    open_gate(project)
    assert (await project.ended(id_))["result"] == lock["fence"] == 1
    assert [fence for fence, _ in lines(project, "ends")] == ["1"]


async def renewal_is_near(project: Project, server: str) -> None:
    """The worst moment for an outage: the last renewal is as old as it ever gets."""
    lease = project.db.jobServers.find_one({"_id": server})
    assert lease
    await until(lambda: project.db.jobServers.find_one({"_id": server, "heartbeatAt": {"$gt": lease["heartbeatAt"]}}))
    renewed = await until(lambda: project.db.jobServers.find_one({"_id": server}))
    every = REAL_LEASE / 6
    await until(lambda: project.now() - renewed["heartbeatAt"] > every - timedelta(milliseconds=500))


async def test_without_a_majority_nothing_is_begun_and_a_run_keeps_its_lock_for_a_quarter_of_a_minute(
    project: Project, nodes: ThreeNodes
) -> None:
    name, begins = project.job("held", HELD), project.job("begins", BEGINS)
    server = await project.process(max_concurrency=200).started()
    id_, lock = await held_run(project, name)
    await project.ran(begins)
    await renewal_is_near(project, server.id)
    primary = await asyncio.to_thread(nodes.lose_majority, frozen=True)
    over = asyncio.get_running_loop().time() + OUTAGE
    alone = nodes.direct(primary)[project.name].get_collection("pulseJobs", write_concern=WriteConcern(1))
    asked = [ObjectId() for _ in range(50)]
    alone.insert_many([due(project, each, begins) for each in asked])
    # It is locked there, and no majority knows of it.
    await until(lambda: alone.find_one({"_id": {"$in": asked}, "lockToken": {"$exists": True}}))
    while asyncio.get_running_loop().time() < over:
        assert len(lines(project, "begins")) == 1
        await asyncio.sleep(0.1)
    await asyncio.to_thread(nodes.mend)
    for each in asked:
        assert (await project.ended(each))["fence"] == 1
    assert len(lines(project, "begins")) == 1 + len(asked)
    assert lock_of(project, id_) == lock
    assert server.records("lock lost") == []
    open_gate(project)
    assert (await project.ended(id_))["result"] == 1


def due(project: Project, id_: ObjectId, name: str) -> Document:
    return {
        "_id": id_,
        "name": name,
        "type": "normal",
        "priority": 0,
        "status": "queued",
        "nextRunAt": id_.generation_time,
    }


async def test_a_server_in_a_black_hole_ends_its_run_before_another_begins_it_and_its_word_counts_no_more(
    project: Project, nodes: ThreeNodes
) -> None:
    name = project.job("held", HELD)
    with Network.start(nodes.uri) as network:
        way = network.way()
        await project.process(uri=way.uri, lease=LEASE * 1000).started()
        id_, _ = await held_run(project, name)
        survivor = await project.process(lease=LEASE * 1000).started()
        way.black_hole()
        await until(lambda: project.document(id_)["fence"] == 2 and lock_of(project, id_)["lockedBy"] == survivor.id)
        assert [fence for fence, _ in lines(project, "ends")] == ["1"]
        way.heal()
        assert project.document(id_)["lockedBy"] == survivor.id
        open_gate(project)
        assert (await project.ended(id_))["result"] == 2
        await project.ran(name)
        await until(lambda: len(project.db.jobServers.distinct("_id")) == 2)
