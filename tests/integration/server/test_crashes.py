"""Servers that are killed or stand still: what they held runs elsewhere, and what they then say does not count."""

from __future__ import annotations

import signal

import pytest

from jobserver import JobServer, SyncJobClient
from jobserver.runner.pulse import heartbeat
from jobserver.store.transitions import MAX_CRASHES
from tests.project import LEASE, Project, ServerProcess, until

HELD = """
class Held(Job):
    schedule = "0 0 1 1 *"
    concurrency = 3
    async def run(self, db, context):
        await note(db, run=context.run_id, attempt=context.attempt, fence=context.fence)
        await at_gate(db)
        return os.getpid()
"""
HELD_IN_THREAD = """
class Held(Job):
    schedule = "manual"
    def run(self, db, context):
        note(db, run=context.run_id)
        at_gate_in_thread(db, str(os.getpid()))
        note(db, ended=context.run_id)
        return os.getpid()
"""
REPORTS = """
class Reports(Job):
    schedule = "manual"
    async def run(self, db, context, progress):
        await note(db, run=context.run_id)
        try:
            while await db.gates.find_one({"_id": str(os.getpid())}) is None:
                await progress(100, 1, str(os.getpid()))
                await asyncio.sleep(0.02)
        except BaseException as error:
            await note(db, ended=context.run_id, error=type(error).__name__)
            raise
        return os.getpid()
"""
FENCED = """
class Fenced(Job):
    schedule = "manual"
    lock_lifetime = "5 seconds"
    async def run(self, db, context):
        await note(db, job=context.job_id, fence=context.fence)
        await at_gate(db)
        return context.fence
"""
DEADLY = """
class Deadly(Job):
    schedule = "manual"
    retry = Retry(attempts=5, delay=0)
    async def run(self, db, context):
        await note(db, run=context.run_id, attempt=context.attempt)
        os.kill(os.getpid(), signal.SIGKILL)
"""
REASONS = (
    "another claim holds the document, or it was removed",  # heard by the run itself, when it reported progress
    "other servers have declared this one dead",  # heard by the heartbeat
    "the lease could not be renewed in time",
)


async def two_servers(project: Project) -> tuple[ServerProcess, ServerProcess]:
    """Two processes with a short lease, started."""
    first, second = project.process(lease=LEASE * 1000), project.process(lease=LEASE * 1000)
    return await first.started(), await second.started()


async def test_what_a_killed_server_ran_is_run_again_by_the_other_and_counts_as_a_crash(project: Project) -> None:
    name = project.job("held", HELD)
    killed, survivor = await two_servers(project)
    ids = [project.enqueue(name) for _ in range(5)] + [project.make_due(name)["_id"]]
    begun = await until(lambda: notes if len(notes := project.notes()) == 6 else [])
    lost = {note["run"].split(":")[0] for note in begun if note["pid"] == killed.pid}
    assert len(lost) == 3
    killed.kill()
    project.open()
    for id_ in ids:
        document = await project.ended(id_)
        assert document["result"] == survivor.pid
        assert document["runCount"] == document["fence"] == (2 if str(id_) in lost else 1)
        assert "failCount" not in document
        assert "crashes" not in document
    runs = await until(lambda: found if len(found := project.runs(name)) == 9 else [])
    assert {run["attempt"] for run in runs} == {1}
    crashed = [run for run in runs if run["status"] == "failed"]
    assert {str(run["jobId"]) for run in crashed} == lost
    assert all(run["server"] == killed.id and "died" in run["error"] for run in crashed)
    assert project.holder(name)["nextRunAt"] > project.now()
    assert project.db.jobServers.find_one({"_id": killed.id}) is None


async def test_a_chain_goes_on_after_the_server_that_ran_a_link_was_killed(project: Project) -> None:
    held, noted = project.job("held", HELD), project.job("noted")
    killed = await project.process(lease=LEASE * 1000).started()
    client = SyncJobClient(project.db)
    first = client.schedule(noted)
    second = client.schedule(held, start_after=first)
    third = client.schedule(noted, start_after=second)
    await until(lambda: project.document(second.id)["status"] == "running")
    killed.kill()
    project.open()
    survivor = await project.process(lease=LEASE * 1000).started()
    await project.ended(third.id)
    document = project.document(second.id)
    assert (document["result"], document["fence"], document["runCount"]) == (survivor.pid, 2, 2)
    assert project.document(third.id)["runCount"] == 1


async def test_the_third_crash_makes_a_job_poison_and_the_rest_go_on(project: Project) -> None:
    name, other = project.job("deadly", DEADLY), project.job("noted")
    id_ = project.enqueue(name)
    for _ in range(MAX_CRASHES):
        process = project.process(lease=1000)
        assert await process.exit_code() == -signal.SIGKILL
    await project.process(lease=1000).started()
    document = await project.ended(id_, "failed")
    assert document["poison"] is True
    assert document["crashes"] == MAX_CRASHES
    assert document["failCount"] == 1
    assert "3 crashes" in document["lastError"]
    assert "nextRunAt" not in document
    assert [note["attempt"] for note in project.notes()] == [1, 1, 1]
    await until(lambda: len(project.runs(name, status="failed")) == MAX_CRASHES)
    await project.ran(other)


async def test_a_server_that_stood_still_past_its_lease_stores_nothing_and_is_told_that_it_lost_its_lock(
    project: Project,
) -> None:
    name = project.job("reports", REPORTS)
    stalled = await project.process(lease=LEASE * 1000).started()
    id_ = project.enqueue(name)
    await until(project.notes)
    other = await project.process(lease=LEASE * 1000).started()
    stalled.send(signal.SIGSTOP)
    await until(lambda: project.document(id_).get("progressData", {}).get("message") == str(other.pid))
    project.open(str(other.pid))
    settled = await project.ended(id_)
    stalled.send(signal.SIGCONT)
    (ended,) = await until(lambda: project.notes(pid=stalled.pid, ended=f"{id_}:1"))
    assert ended["error"] in ("LockLost", "CancelledError")
    told = await stalled.says("run ended", run=f"{id_}:1")
    assert told["status"] == "given back"
    assert told["reason"] in REASONS
    assert project.document(id_) == settled
    assert settled["result"] == other.pid
    assert settled["progressData"]["message"] == str(other.pid)
    assert [(run["_id"], run["status"]) for run in project.runs(name)] == [
        (f"{id_}:1", "failed"),
        (f"{id_}:2", "completed"),
    ]


async def test_the_word_of_a_thread_that_outlived_its_lease_does_not_count(project: Project) -> None:
    name = project.job("held", HELD_IN_THREAD)
    stalled = await project.process(lease=LEASE * 1000).started()
    id_ = project.enqueue(name)
    await until(project.notes)
    other = await project.process(lease=LEASE * 1000).started()
    stalled.send(signal.SIGSTOP)
    await until(lambda: project.notes(pid=other.pid))
    project.open(str(other.pid))
    settled = await project.ended(id_)
    stalled.send(signal.SIGCONT)
    project.open(str(stalled.pid))
    await until(lambda: project.notes(pid=stalled.pid, ended=f"{id_}:1"))
    await stalled.says("run ended", run=f"{id_}:1", status="lock lost")
    assert project.document(id_) == settled
    assert settled["result"] == other.pid


async def test_a_server_that_stood_still_past_its_lease_works_on(project: Project) -> None:
    name = project.job("noted")
    stalled, other = await two_servers(project)
    stalled.send(signal.SIGSTOP)
    await until(lambda: project.db.jobServers.find_one({"_id": stalled.id, "leaseUntil": {"$lt": project.now()}}))
    stalled.send(signal.SIGCONT)
    other.kill()
    await project.ran(name)
    assert [note["pid"] for note in project.notes()] == [stalled.pid]


async def test_servers_that_go_by_the_same_id_store_no_end_twice(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No id is given twice; were it so, the token of each claim would still tell them apart."""
    monkeypatch.setattr(heartbeat, "new_server_id", lambda: "twin")
    name = project.job("fenced", FENCED)
    async with project.server(lease=LEASE * 1000):
        ids = [project.enqueue(name) for _ in range(5)]
        await until(lambda: len(project.notes(fence=1)) == len(ids))
        twin = await JobServer.create(None, None, None, project.settings(lease=LEASE * 1000, shutdown_grace=0))
        await twin.start()
        await twin.shutdown()  # gives back, and signs off, what the other one holds
        await until(lambda: {each["job"] for each in project.notes(fence={"$gt": 1})} == set(ids))
        project.open()
        ended = [await project.ended(id_) for id_ in ids]
    for document in ended:
        assert document["result"] == document["fence"] > 1
        assert document["finishedCount"] == 1
    done = [run["_id"] for run in project.runs(name, status="completed")]
    assert sorted(done) == sorted(f"{each['_id']}:{each['fence']}" for each in ended)
