"""A real replica set of three that breaks under servers at work: nothing is lost, nothing ends twice, runs go on."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from bson import ObjectId
from pymongo import MongoClient, WriteConcern

from jobserver.errors import DatabaseError
from jobserver.runner.pulse.heartbeat import EVERY
from tests.failover.trial import HELD, IMPATIENT, Fault, Trial
from tests.network import Network
from tests.project import LEASE, Document, Project, scratch_project, until
from tests.replica_set import ThreeNodes
from tests.stores import LONG_AGO, Store, Workplace, claim, completed, lane

pytestmark = pytest.mark.timeout(120)

WHOLE = timedelta(seconds=12)  # a lease, of which an outage may take half
OUTAGE = 5.0  # seconds without a majority; the election comes after it
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


async def test_nothing_is_lost_and_nothing_ends_twice_when_a_primary_is_killed_and_the_next_steps_down(
    project: Project, nodes: ThreeNodes
) -> None:
    trial = Trial(project, nodes, outage=0)
    assert await trial.work([Fault.KILL, Fault.STEP_DOWN]) == []
    assert [each.fault for each in trial.recoveries] == [Fault.KILL, Fault.STEP_DOWN]


async def renewal_is_near(project: Project, server: str) -> None:
    """The worst moment for an outage: the last renewal is as old as it ever gets."""
    lease = project.db.jobServers.find_one({"_id": server})
    assert lease
    await until(lambda: project.db.jobServers.find_one({"_id": server, "heartbeatAt": {"$gt": lease["heartbeatAt"]}}))
    renewed = await until(lambda: project.db.jobServers.find_one({"_id": server}))
    await until(lambda: project.now() - renewed["heartbeatAt"] > WHOLE * (EVERY * 0.9))


async def test_without_a_majority_nothing_is_begun_and_a_run_keeps_its_lock_for_half_a_lease(
    project: Project, nodes: ThreeNodes
) -> None:
    name, begins = project.job("held", HELD), project.job("begins", BEGINS)
    server = await project.process(max_concurrency=200, lease=int(WHOLE / timedelta(milliseconds=1))).started()
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
        assert [fence for (fence,) in lines(project, "ends")] == ["1"]
        way.heal()
        assert project.document(id_)["lockedBy"] == survivor.id
        open_gate(project)
        assert (await project.ended(id_))["result"] == 2
        await project.ran(name)
        await until(lambda: len(project.db.jobServers.distinct("_id")) == 2)


async def work_until(over: asyncio.Event, store: Store, work: str) -> tuple[list[str], list[Any]]:
    """What was acknowledged: the ids of what was asked for, and those whose runs were ended."""
    asked, ended = [], []
    with suppress(DatabaseError):
        while not over.is_set():
            document = {"_id": f"{work} {len(asked)}", "name": work, "nextRunAt": LONG_AGO}
            await store.insert(document)
            asked.append(document["_id"])
            for job in await claim(store, lane(work)):  # what a rollback has brought back comes once more
                assert await store.settle([completed(job)]) == []
                ended.append(job.id)
    return asked, ended


async def test_what_was_acknowledged_outlives_the_rollback_of_a_lone_primary_and_would_not_without_a_majority(
    nodes: ThreeNodes, set_client: MongoClient[Document]
) -> None:
    place = Workplace(nodes.uri, set_client[f"test_{uuid4().hex}"])
    async with place.store() as ours, place.store(instead=WriteConcern(1)) as alone:
        over = asyncio.Event()
        working = [asyncio.create_task(work_until(over, *who)) for who in ((ours, "ours"), (alone, "alone"))]
        await until(lambda: place.jobs.count_documents({"name": "ours", "status": "completed"}) > 10)
        primary = await asyncio.to_thread(nodes.lose_majority)
        await until(lambda: nodes.direct(primary).admin.command("hello")["secondary"])
        over.set()
        nodes.freeze(primary)
        for node in nodes.nodes:
            if node != primary:
                await asyncio.to_thread(nodes.restart, node)
        assert await asyncio.to_thread(nodes.primary) != primary
        await asyncio.to_thread(nodes.mend)
        (asked, ended), (asked_alone, ended_alone) = await asyncio.gather(*working)
    assert len(ended) > 10
    assert set(asked) <= set(place.jobs.distinct("_id"))
    assert set(ended) <= set(place.jobs.distinct("_id", {"status": "completed"}))
    assert set(asked_alone) - set(place.jobs.distinct("_id"))
    assert set(ended_alone) - set(place.jobs.distinct("_id", {"status": "completed"}))
    set_client.drop_database(place.db.name)
