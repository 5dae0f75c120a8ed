"""MongoDB that goes away and comes back, jobs that block or do not listen, a MongoDB without change streams."""

from __future__ import annotations

import asyncio
import signal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from jobserver import JobServer
from jobserver.errors import DatabaseError
from jobserver.store.transitions import MAX_CRASHES
from tests.own_mongo import OwnMongo, standalone
from tests.project import LEASE, Project, Records, scratch_project, until

# Gates and notes are files here: the database is away.
HELD = """
class Held(Job):
    schedule = "manual"
    concurrency = 1
    async def run(self, context, progress):
        folder = os.path.dirname(__file__)
        open(f"{folder}/{context.fence}.begun", "w").close()
        try:
            while not os.path.exists(f"{folder}/gate"):
                await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            open(f"{folder}/{context.fence}.told", "w").close()
            raise
        if os.path.exists(f"{folder}/report"):
            await progress(2, 1, "while it was away")
        open(f"{folder}/{context.fence}.ended", "w").close()
        return context.fence
"""


def logged(log: Records, event: str, **fields: Any) -> Records:
    """The records of one kind."""
    return [record for record in log if record["event"] == event and fields.items() <= record.items()]


async def begun(project: Project, fence: int = 1, what: str = "begun") -> None:
    """Wait until the run of this claim has come so far."""
    await until((project.root / "jobs" / f"{fence}.{what}").exists)


def open_gate(project: Project, gate: str = "gate") -> None:
    (project.root / "jobs" / gate).touch()


async def test_a_server_waits_for_a_mongodb_that_is_away_at_its_start_unless_told_not_to(
    own_project: Project, own_mongo: OwnMongo, log: Records
) -> None:
    name = own_project.job("noted")
    own_mongo.end()
    impatient = await JobServer.create(None, None, None, own_project.settings())
    patient = await JobServer.create(None, None, None, own_project.settings())
    starting = asyncio.create_task(patient.start())
    with pytest.raises(DatabaseError, match="no answer from mongodb://"):
        await impatient.start(wait=False)
    await impatient.shutdown()
    await until(partial(logged, log, "mongodb away", chore="starting"))
    assert not starting.done()
    await asyncio.to_thread(own_mongo.start)
    await starting
    try:
        await own_project.ran(name)
    finally:
        await patient.shutdown()
    assert patient.exit_code == 0


async def test_a_server_that_waits_for_mongodb_can_be_shut_down(own_project: Project, own_mongo: OwnMongo) -> None:
    own_mongo.end()
    server = await JobServer.create(None, None, None, own_project.settings())
    starting = asyncio.create_task(server.start())
    await asyncio.sleep(0)
    await server.shutdown()
    await starting
    assert server.exit_code == 0


async def test_a_run_that_ends_while_mongodb_stands_still_is_stored_when_it_goes_on(
    own_project: Project, own_mongo: OwnMongo
) -> None:
    name = own_project.job("held", HELD)
    async with own_project.server():
        first, second = own_project.enqueue(name), own_project.enqueue(name)
        await begun(own_project)
        own_mongo.stall()
        open_gate(own_project)
        await begun(own_project, what="ended")
        await asyncio.sleep(0.5)  # long enough for a claim that should not come
        own_mongo.go_on()
        for id_ in (first, second):
            document = await own_project.ended(id_)
            assert (document["result"], document["runCount"]) == (1, 1)
            assert "crashes" not in document
        await until(lambda: len(own_project.runs(name)) == 2)


async def test_a_run_that_ends_while_mongodb_is_down_is_stored_when_it_is_back_and_progress_does_no_harm(
    own_project: Project, own_mongo: OwnMongo, log: Records
) -> None:
    name, other = own_project.job("held", HELD), own_project.job("noted")
    async with own_project.server() as server:
        id_ = own_project.enqueue(name)
        await begun(own_project)
        await asyncio.to_thread(own_mongo.crash)
        await until(partial(logged, log, "mongodb away", chore="claiming"))
        open_gate(own_project, "report")
        open_gate(own_project)
        await begun(own_project, what="ended")
        await until(partial(logged, log, "mongodb away", chore="settling"))
        await asyncio.to_thread(own_mongo.start)
        document = await own_project.ended(id_)
        assert (document["result"], document["runCount"]) == (1, 1)
        assert not {"crashes", "failCount"} & set(document)
        await own_project.ran(other)
        own_project.edit(other, {"$set": {"concurrency": 3}})
        await until(lambda: server.jobs[other].settings.concurrency == 3)
    assert server.exit_code == 0


async def test_runs_are_stopped_before_a_lease_that_cannot_be_renewed_is_over_and_run_again_later(
    own_project: Project, own_mongo: OwnMongo
) -> None:
    name = own_project.job("held", HELD)
    async with own_project.server(lease=LEASE * 1000):
        id_ = own_project.enqueue(name)
        await begun(own_project)
        own_mongo.stall()
        try:
            await begun(own_project, what="told")
        finally:
            own_mongo.go_on()
        open_gate(own_project)
        document = await own_project.ended(id_)
        assert document["result"] == document["fence"] > 1
        assert document["finishedCount"] == 1


async def test_a_job_that_blocks_the_event_loop_keeps_its_lease_and_is_named_with_its_line(
    project: Project, log: Records
) -> None:
    source = """
class Blocks(Job):
    schedule = "manual"
    async def run(self):
        time.sleep(3)  # this very line
        return "done"
"""
    name = project.job("blocks", source)
    reaper = await project.process(lease=LEASE * 1000).started()
    project.edit(name, {"$set": {"concurrency": 0}})  # on the process too, until the server here has claimed
    await until(lambda: project.history(name)[-1]["values"].get("concurrency") == 0)
    async with project.server(lease=LEASE * 1000):
        reaper.send(signal.SIGSTOP)
        id_ = project.enqueue(name)
        project.edit(name, {"$unset": {"concurrency": ""}})
        await until(lambda: "lockToken" in project.document(id_) or "result" in project.document(id_))
        reaper.send(signal.SIGCONT)
        document = await project.ended(id_)
    assert (document["result"], document["runCount"], document["fence"]) == ("done", 1, 1)
    assert "lastCrashAt" not in document
    (warning,) = logged(log, "event loop blocked")
    assert warning["job"].startswith(name)
    path, line = warning["where"].split(" in ")[0].rsplit(":", 1)
    assert "this very line" in Path(path).read_text().splitlines()[int(line) - 1]


async def test_a_coroutine_that_never_listens_is_taken_for_poison_and_the_rest_go_on(project: Project) -> None:
    source = """
class Deaf(Job):
    schedule = "manual"
    lock_lifetime = "1 second"
    async def run(self, db, context):
        await note(db, run=context.run_id)
        while await db.gates.find_one({"_id": "gate"}) is None:
            try:
                await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                pass
        return "too late"
"""
    name, other = project.job("deaf", source), project.job("noted")
    async with project.server(lease=LEASE * 1000, shutdown_grace=0):
        id_ = project.enqueue(name)
        document = await project.ended(id_, "failed")
        assert document["poison"] is True
        assert len(project.notes(run={"$exists": True})) == MAX_CRASHES
        await project.ran(other)
        project.open()
        await project.ran(other)
        assert project.document(id_) == document


async def test_a_mongodb_without_change_streams_is_polled_and_the_log_says_so_once(
    tmp_path: Path, log: Records
) -> None:
    with (
        standalone(tmp_path / "standalone") as uri,
        MongoClient[dict[str, Any]](uri, tz_aware=True) as client,
        scratch_project(tmp_path / "project", client, uri) as project,
    ):
        name = project.job("noted", schedule="0 0 1 1 *")
        async with project.server() as server:
            project.make_due(name)
            await until(lambda: project.runs(name, status="completed"))
            for concurrency in (3, 4):
                project.edit(name, {"$set": {"concurrency": concurrency}})
                await until(partial(has_concurrency, server, name, concurrency))
            await project.ran(name)
    for what in ("jobs", "configurations"):
        assert len(logged(log, "no change streams", what=what)) == 1


def has_concurrency(server: JobServer, name: str, concurrency: int) -> bool:
    return bool(server.jobs[name].settings.concurrency == concurrency)
