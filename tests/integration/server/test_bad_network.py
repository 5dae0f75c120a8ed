"""Servers on a network that loses replies, delays what is given up, and lets connections hang."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest

from tests.failover.load import Load
from tests.network import Network
from tests.project import LEASE, Project, until
from tests.stores import FAR_AHEAD

pytestmark = pytest.mark.timeout(60)

SEED = 20261121
LATE = {"status": "running", "lockToken": "late", "lockUntil": FAR_AHEAD, "fence": 1, "attempt": 1, "runCount": 1}
LONG_ENOUGH = 6000  # milliseconds of a lease of which a second may be lost
GATED = """
class Gated(Job):
    schedule = "manual"
    concurrency = 100
    async def run(self, db, context):
        await at_gate(db)
        return context.attempt
"""


@pytest.fixture(scope="module")
def network(mongo_uri: str) -> Iterator[Network]:
    with Network.start(mongo_uri, seed=SEED) as network:
        yield network


async def test_each_run_ends_once_where_a_share_of_all_replies_and_requests_is_lost(
    project: Project, network: Network
) -> None:
    servers, client = network.way(), network.way()
    load = Load(project, per_second=100, uri=client.uri)
    await project.process(uri=servers.uri, max_concurrency=100).started()
    for way, commands in ((servers, ("update", "findAndModify")), (client, ("insert",))):
        for command in commands:
            way.lose_reply(command, of="pulseJobs", times=math.inf, share=0.05)
            way.lose_request(command, of="pulseJobs", times=math.inf, share=0.05)
    servers.lose_request("insert", of="jobRuns", nth=2, times=3)
    with load:
        await until(lambda: len(load.acknowledged) >= 80)
    await until(lambda: load.unfinished() == 0)
    network.heal()
    await until(lambda: not load.differences())
    assert servers.lost.count("insert") == 3
    assert {"update", "findAndModify"} & set(servers.lost)
    assert "insert" in client.lost, f"with seed {SEED}"


async def test_a_renewal_whose_connection_hangs_is_made_on_another_before_the_lease_is_over(
    project: Project, network: Network
) -> None:
    name, way = project.job("gated", GATED), network.way()
    server = await project.process(uri=way.uri, lease=LONG_ENOUGH).started()
    id_ = project.enqueue(name)
    await until(lambda: project.document(id_).get("status") == "running")
    way.lose_reply("findAndModify", of="jobServers", hang=True)
    await until(lambda: way.lost)
    hung_at = project.now()
    await until(lambda: project.db.jobServers.find_one({"_id": server.id, "heartbeatAt": {"$gt": hung_at}}))
    project.open()
    document = await project.ended(id_)
    assert document["fence"] == 1
    assert server.records("lock lost") == []


async def test_what_a_claim_locks_after_it_was_given_up_is_given_back(project: Project, network: Network) -> None:
    """Its server has looked it up in vain. What is locked now is of nobody, under the name of one that lives."""
    name = project.job("gated", GATED)
    server = await project.process(lease=LEASE * 1000).started()
    under_way = project.enqueue(name)
    await until(lambda: project.document(under_way).get("status") == "running")
    late = project.enqueue(name, **LATE, lockedBy=server.id, lockedAt=(now := project.now()), lastRunAt=now)
    await until(lambda: project.document(late)["fence"] == 2)
    assert project.document(under_way)["fence"] == 1
    project.open()
    assert [(await project.ended(id_))["result"] for id_ in (late, under_way)] == [1, 1]
    assert project.document(late)["runCount"] == 1
    assert server.records("locks given back")[0]["count"] == 1


@pytest.mark.parametrize(("command", "collection"), [("createIndexes", "pulseJobs"), ("findAndModify", "jobServers")])
async def test_a_server_whose_first_commands_get_no_reply_begins_all_the_same(
    project: Project, network: Network, command: str, collection: str
) -> None:
    name, way = project.job("gated", GATED), network.way()
    way.lose_reply(command, of=collection, times=2)  # the driver asks a second time by itself where it may
    await project.process(uri=way.uri).started()
    assert way.lost == [command] * 2
    project.open()
    await project.ran(name)
