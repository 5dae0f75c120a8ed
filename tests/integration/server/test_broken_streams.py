"""Collections that are dropped or renamed under load, and streams that lie: servers converge, and make little of it."""

from __future__ import annotations

import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.database import Database

from jobserver import JobServer
from jobserver.manager import watching
from jobserver.runner.pulse import restoring
from tests.network import Network
from tests.own_mongo import forgetful
from tests.project import Project, Records, scratch_project, until

pytestmark = pytest.mark.timeout(120)

Db = Database[dict[str, Any]]
STREAMS = ("jobs", "configurations")
MOST_LINES, MOST_BREAKS = 10, 3  # for each server and fault
OURS = ("pulseJobs", "jobConfigs", "jobConfigHistory", "jobRuns", "jobServers", "jobLogs.files", "jobLogs.chunks")
TICK = """
class Tick(Job):
    schedule = "* * * * * *"
    async def run(self):
        self.logger.info("tick")
"""


def indexes(db: Db) -> dict[str, set[str]]:
    """The names of all that our collections have."""
    return {name: set(db[name].index_information()) for name in OURS if name in db.list_collection_names()}


def drop(name: str) -> Callable[[Db], None]:
    return lambda db: db.drop_collection(name)


def rename(name: str) -> Callable[[Db], None]:
    def carry_out(db: Db) -> None:
        db[name].rename(f"{name}_before")

    return carry_out


def drop_everything(db: Db) -> None:
    db.client.drop_database(db.name)


FAULTS = {
    **{f"drop {name}": drop(name) for name in OURS},
    **{f"rename {name}": rename(name) for name in OURS},
    "dropDatabase": drop_everything,
}
WATCHED = {fault: each for fault, each in FAULTS.items() if fault.split()[-1] in ("pulseJobs", "jobConfigs")}
UNWATCHED = {fault: each for fault, each in FAULTS.items() if fault not in WATCHED}


def agreed(servers: list[JobServer], name: str, concurrency: int) -> bool:
    """Whether all have this setting, and not one another."""
    return all(server.jobs[name].settings.concurrency == concurrency for server in servers)


def worth_reading(log: Records, servers: int) -> None:
    """Few lines, few reconnects."""
    said = [record for record in log if record["event"] not in ("run ended", "config applied", "tick")]
    assert len(said) < MOST_LINES * servers, said
    for what in STREAMS:
        breaks = [each for each in log if each["event"] == "change stream broke" and each["what"] == what]
        assert len(breaks) <= MOST_BREAKS * servers, breaks


def ticks(project: Project, tick: str) -> set[Any]:
    """The runs of the recurring job that were completed."""
    return {run["_id"] for run in project.runs(tick, status="completed")}


@pytest.mark.parametrize(
    ("faults", "every"),
    [pytest.param(WATCHED, restoring.EVERY, id="watched"), pytest.param(UNWATCHED, 2.0, id="unwatched")],
)
async def test_what_is_dropped_or_renamed_under_load_comes_back_and_servers_agree(
    project: Project,
    log: Records,
    monkeypatch: pytest.MonkeyPatch,
    faults: dict[str, Callable[[Db], None]],
    every: float,
) -> None:
    # Of a minute, for what no stream is open for.
    monkeypatch.setattr(restoring, "EVERY", every)
    tick, noted = project.job("tick", TICK), project.job("noted", schedule="0 0 1 1 *")
    async with project.servers(2) as servers:
        await until(project.db["jobLogs.files"].find_one)
        before = indexes(project.db)
        assert set(before) == set(OURS)
        for number, (fault, carry_out) in enumerate(faults.items(), start=2):
            log.clear()
            await until(lambda: ticks(project, tick))
            carry_out(project.db)
            ran = ticks(project, tick)
            try:
                await until(lambda: project.holder(noted) and project.holder(tick), within=10)
                await until(lambda: project.config(noted) and project.config(tick), within=10)
                project.edit(noted, {"$set": {"concurrency": number}})
                await until(partial(agreed, servers, noted, number), within=10)
                await project.ran(noted)
                await until(lambda: indexes(project.db).items() >= unlogged(before).items(), within=10)
                await until(lambda ran=ran: ticks(project, tick) - ran, within=10)  # type: ignore[misc]
                worth_reading(log, len(servers))
            except AssertionError as error:
                raise AssertionError(f"after {fault}: {error}, {indexes(project.db)}") from error
            assert project.db.pulseJobs.count_documents({"type": "single"}) == 2
            assert project.db.jobConfigs.count_documents({}) == 2
    assert [server.exit_code for server in servers] == [0, 0]


def unlogged(found: dict[str, set[str]]) -> dict[str, set[str]]:
    """Without the logs: their indexes come back with the next log after a minute."""
    return {name: each for name, each in found.items() if not name.startswith("jobLogs")}


@pytest.mark.parametrize(
    ("look", "within"),
    [
        pytest.param(2.0, 10.0, id="by the look at everything"),
        pytest.param(watching.FULL_LOOK, 75.0, id="as it is"),  # the connection is given up before, after half a minute
    ],
)
async def test_a_stream_that_falls_silent_is_made_up_for(
    project: Project, monkeypatch: pytest.MonkeyPatch, look: float, within: float
) -> None:
    monkeypatch.setattr(watching, "FULL_LOOK", look)
    name = project.job("noted", schedule="0 0 1 1 *")
    with Network.start(project.uri) as network:
        way = network.way()
        settings = project.settings()
        settings["mongodb"]["uri"] = way.uri
        server = await JobServer.create(None, None, None, settings)
        try:
            await server.start()
            way.lose_reply("getMore", times=float("inf"), hang=True)
            project.edit(name, {"$set": {"concurrency": 2}})  # wakes the streams, whose next question is not answered
            await until(lambda: way.lost)
            project.edit(name, {"$set": {"concurrency": 7}})
            await until(partial(agreed, [server], name, 7), within=within)
            await project.ran(name)
        finally:
            way.heal()
            await server.shutdown()
    assert server.exit_code == 0


async def test_a_server_that_slept_while_the_oplog_rolled_over_converges(tmp_path: Path) -> None:
    with (
        forgetful(tmp_path / "mongo") as uri,
        MongoClient[dict[str, Any]](uri, tz_aware=True) as client,
        scratch_project(tmp_path / "project", client, uri) as project,
    ):
        name = project.job("noted", schedule="0 0 1 1 *")
        server = await project.process(lease="5 minutes").started()
        server.send(signal.SIGSTOP)
        await until(lambda: not streams_read_on(client), within=30)
        asleep_at = newest_in_oplog(client)
        project.edit(name, {"$set": {"concurrency": 7}})
        await until(lambda: rolled_over(project.db, asleep_at), within=60)
        server.send(signal.SIGCONT)
        await server.says("config applied", name=name, within=10)
        project.edit(name, {"$set": {"concurrency": 8}})
        await until(lambda: len(server.records("config applied")) == 2, within=10)
        await project.ran(name)
        assert 1 <= len(server.records("change stream broke")) <= MOST_BREAKS * len(STREAMS)
        server.send(signal.SIGTERM)
        assert await server.exit_code() == 0


def streams_read_on(client: MongoClient[dict[str, Any]]) -> bool:
    """Whether MongoDB still goes through its oplog for a stream, as it does for some seconds after it was asked."""
    return bool(client.admin.command("currentOp", op="getmore")["inprog"])


def newest_in_oplog(client: MongoClient[dict[str, Any]]) -> Any:
    newest = client.local["oplog.rs"].find().sort("$natural", -1).limit(1).next()
    return newest["ts"]


def rolled_over(db: Db, moment: Any) -> bool:
    """Write until what was the newest entry then is gone from the oplog."""
    db.filling.insert_many([{"data": "x" * 100_000} for _ in range(200)])
    db.filling.delete_many({})
    oldest = db.client.local["oplog.rs"].find().sort("$natural", 1).limit(1).next()
    return bool(oldest["ts"] > moment)
