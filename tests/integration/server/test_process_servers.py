"""Servers of process runs that are killed, stand still or shut down: nothing that they have started outlives them."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress

import psutil

from tests.project import LEASE, Project, until

HELD = """
class Held(Job):
    schedule = "manual"
    execution = "process"
    concurrency = 200
    def run(self, db, context):
        import subprocess
        if context.attempt == 1 and {children}:
            subprocess.Popen(["sleep", "600"], start_new_session=True)
        note(db, run=context.run_id, server=context.server)
        at_gate_in_thread(db, stop=lambda: context.cancelled)
        return os.getpid()
"""
BUSY = """
class Busy(Job):
    schedule = "manual"
    execution = "process"
    def run(self, db, context):
        while True:
            db.beats.insert_one({"run": context.run_id, "pid": os.getpid()})
            time.sleep(0.02)
            if db.gates.find_one({"_id": context.server}):
                return os.getpid()
"""


def living(processes: list[psutil.Process]) -> list[psutil.Process]:
    left = []
    for each in processes:
        with suppress(psutil.NoSuchProcess):
            if each.status() != psutil.STATUS_ZOMBIE:
                left.append(each)
    return left


def below(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


async def test_a_killed_server_leaves_no_process_behind(project: Project) -> None:
    name = project.job("held", HELD.format(children=True))
    server = await project.process(max_concurrency=100).started()
    for _ in range(20):
        project.enqueue(name)
    await until(lambda: len(project.notes()) == 20, within=60)
    started = below(server.pid)
    assert len([each for each in started if each.name() == "sleep"]) == 20
    server.kill()
    await until(lambda: not living(started))


async def test_a_server_that_stands_still_past_its_lease_keeps_no_run_alive(project: Project) -> None:
    name = project.job("busy", BUSY)
    standing = await project.process(lease=LEASE * 1000).started()
    id_ = project.enqueue(name)
    first = await until(project.db.beats.find_one)
    (run,) = [each for each in below(standing.pid) if each.pid == first["pid"]]
    other = await project.process(lease=LEASE * 1000).started()
    standing.send(signal.SIGSTOP)
    try:
        await until(lambda: not living([run]))
        second = await until(lambda: project.db.beats.find_one({"run": {"$ne": first["run"]}}))
        # What was still alive when the other began would have written after it did.
        assert project.db.beats.count_documents({"run": first["run"], "_id": {"$gt": second["_id"]}}) == 0
    finally:
        standing.send(signal.SIGCONT)
    project.open(other.id)
    document = await project.ended(id_)
    assert (document["result"], document["fence"]) == (second["pid"], 2)
    assert (await project.ran(project.job("noted"))) is not None


async def test_a_machine_that_stands_still_past_the_lease_never_goes_on_with_a_run(project: Project) -> None:
    name = project.job("held", HELD.format(children=True))
    standing = await project.process(lease=LEASE * 1000).started()
    project.enqueue(name)
    await until(project.notes)
    everything = below(standing.pid)
    (child,) = [each for each in everything if each.name() == "sleep"]
    run = child.parent()
    assert run is not None
    keeper = run.parent()
    assert keeper is not None
    everything += [psutil.Process(standing.pid)]
    for each in everything:
        each.suspend()
    try:
        # Nobody here could end it, and when the machine goes on the run might be first: so the kernel has.
        await until(lambda: not living([run, keeper]))
        assert living([child])  # does not know of leases, and whose it was is the first thing that is looked at
    finally:
        for each in living(everything):
            each.resume()
    await until(lambda: not living([child]))
    name = project.job("noted")
    assert (await project.ran(name)) is not None


async def test_what_a_killed_keeper_leaves_behind_is_ended_and_other_runs_go_on(project: Project) -> None:
    name = project.job("held", HELD.format(children=True))
    async with project.server():
        ids = [project.enqueue(name) for _ in range(2)]
        await until(lambda: len(project.notes()) == 2)
        victim, spared = (each for each in below(os.getpid()) if each.name() == "sleep")
        run, keeper, *_ = victim.parents()
        keeper.kill()
        await until(lambda: not living([victim, run]))
        await until(lambda: sorted(project.document(id_)["status"] for id_ in ids) == ["failed", "running"])
        assert living([spared])


async def test_a_shutdown_gives_process_runs_back_and_ends_them(project: Project) -> None:
    name = project.job("held", HELD.format(children=True))
    server = await project.process(shutdown_grace="100 milliseconds").started()
    id_ = project.enqueue(name)
    await until(project.notes)
    started = below(server.pid)
    server.send(signal.SIGTERM)
    assert await server.exit_code() == 0
    assert not living(started)
    document = project.document(id_)
    assert (document["status"], "lockedAt" in document) in (("queued", False), ("completed", False))


async def test_a_run_whose_document_is_taken_away_is_ended(project: Project) -> None:
    name = project.job("busy", BUSY)
    async with project.server(lease=LEASE * 1000):
        id_ = project.enqueue(name)
        beat = await until(project.db.beats.find_one)
        run = psutil.Process(beat["pid"])
        project.jobs.delete_one({"_id": id_})
        await until(lambda: not living([run]))


async def test_a_longest_time_ends_a_process_run_with_all_that_it_has_started(project: Project) -> None:
    source = """
class Long(Job):
    schedule = "manual"
    execution = "process"
    max_execution_time = "4 seconds"
    def run(self, db):
        import subprocess
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        note(db, child=subprocess.Popen(["sleep", "600"], start_new_session=True).pid)
        while True:
            time.sleep(1)
"""
    name = project.job("long", source)
    async with project.server(cancel_grace="500 milliseconds"):
        document = await project.ended(project.enqueue(name), "failed")
        assert "max_execution_time" in document["lastError"]
        (child,) = [note["child"] for note in project.notes()]
        assert not psutil.pid_exists(child)


async def test_a_job_is_moved_into_a_process_by_its_configuration(project: Project) -> None:
    name = project.job(
        "where", "class Where(Job):\n    schedule = 'manual'\n    def run(self):\n        return os.getpid()\n"
    )
    async with project.server():
        here = psutil.Process().pid
        assert (await project.ran(name))["result"] == here
        project.edit(name, {"$set": {"execution": "process"}})
        async with asyncio.timeout(20):
            while (await project.ran(name))["result"] == here:
                await asyncio.sleep(0.01)
