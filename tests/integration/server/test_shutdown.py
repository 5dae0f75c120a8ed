"""SIGTERM to a server that idles, works, or works for too long: nothing stays locked, nothing is lost."""

from __future__ import annotations

import asyncio
import signal
import threading
from typing import Any

import pytest

from jobserver import JobServer
from jobserver.runner.pulse.heartbeat import Heartbeat
from tests.project import Project, Records, ServerProcess, until

ASYNC = """
class Held(Job):
    schedule = "0 0 1 1 *"
    async def run(self, db, context):
        try:
            await note(db, run=context.run_id, attempt=context.attempt)
            await at_gate(db)
        except asyncio.CancelledError:
            await note(db, told=context.run_id, cancelled=bool(context.cancelled))
            raise
        return os.getpid()
"""
THREAD = """
class Held(Job):
    schedule = "0 0 1 1 *"
    def run(self, db, context):
        note(db, run=context.run_id, attempt=context.attempt)
        at_gate_in_thread(db, stop=context.cancelled.is_set)
        if context.cancelled:
            note(db, told=context.run_id, cancelled=True)
            raise JobCancelled("told to stop")
        return os.getpid()
"""
DEAF = """
class Held(Job):
    schedule = "0 0 1 1 *"
    async def run(self, db, context):
        await note(db, run=context.run_id, attempt=context.attempt)
        while await db.gates.find_one({"_id": "gate"}) is None:
            try:
                await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                await note(db, told=context.run_id)
        return os.getpid()
"""
DEAF_THREAD = """
class Held(Job):
    schedule = "0 0 1 1 *"
    def run(self, db, context):
        note(db, run=context.run_id, attempt=context.attempt)
        at_gate_in_thread(db)
        return os.getpid()
"""
KINDS = pytest.mark.parametrize("source", [ASYNC, THREAD], ids=["coroutine", "thread"])


async def busy_server(
    project: Project, source: str, *, runs: int = 2, **runner: Any
) -> tuple[ServerProcess, list[Any]]:
    """A server that runs the recurring document and some more, and their ids."""
    name = project.job("held", source)
    process = await project.process(**runner).started()
    ids = [project.make_due(name)["_id"], *(project.enqueue(name) for _ in range(runs - 1))]
    await until(lambda: len(project.notes()) == runs)
    return process, ids


def left_behind(before: list[threading.Thread]) -> list[str]:
    """Tasks and threads that a server has left running."""
    tasks = [task.get_name() for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    threads = [thread.name for thread in threading.enumerate() if thread not in before]
    return tasks + [name for name in threads if not name.startswith(("asyncio_", "pymongo_"))]


def nothing_is_locked(project: Project) -> bool:
    """Whether nothing is locked and no server is registered."""
    return not project.jobs.find_one({"lockedAt": {"$exists": True}}) and not project.db.jobServers.find_one()


async def test_an_idle_server_ends_without_its_grace_period_and_with_exit_code_0(project: Project) -> None:
    project.job("noted", schedule="0 0 1 1 *")
    process = await project.process(shutdown_grace="10 minutes").started()
    process.send(signal.SIGTERM)
    assert await process.exit_code() == 0
    assert nothing_is_locked(project)


async def test_a_server_without_jobs_runs_and_ends(project: Project) -> None:
    process = await project.process().started()
    assert (await process.says("server started"))["jobs"] == 0
    process.send(signal.SIGTERM)
    assert await process.exit_code() == 0


@KINDS
async def test_runs_may_end_within_the_grace_period_and_nothing_new_begins(project: Project, source: str) -> None:
    process, ids = await busy_server(project, source, shutdown_grace="20 seconds")
    process.send(signal.SIGTERM)
    await process.says("waiting for runs")
    waiting = project.enqueue("api:held")
    project.open()
    assert await process.exit_code() == 0
    for id_ in ids:
        document = project.document(id_)
        assert document["status"] == "completed"
        assert document["result"] == process.pid
    assert project.document(waiting)["status"] == "queued"
    assert "runCount" not in project.document(waiting)
    assert nothing_is_locked(project)


@KINDS
async def test_runs_that_take_longer_are_told_given_back_uncounted_and_run_elsewhere(
    project: Project, source: str
) -> None:
    process, ids = await busy_server(project, source, shutdown_grace=100)
    process.send(signal.SIGTERM)
    assert await process.exit_code() == 0
    assert nothing_is_locked(project)
    assert len(project.notes(cancelled=True)) == 2
    for id_ in ids:
        document = project.document(id_)
        assert document["status"] == "queued"
        assert document["attempt"] == document["runCount"] == 0
        assert document["nextRunAt"] <= project.now()
        assert not {"failCount", "crashes", "lastError"} & set(document)
    assert project.runs("api:held") == []
    project.open()
    other = await project.process().started()
    for id_ in ids:
        document = await project.ended(id_)
        assert document["result"] == other.pid
        assert document["runCount"] == 1
    assert {note["attempt"] for note in project.notes(attempt={"$exists": True})} == {1}


@pytest.mark.parametrize("source", [DEAF, DEAF_THREAD], ids=["coroutine", "thread"])
async def test_runs_that_do_not_listen_are_given_up_and_given_back(project: Project, source: str) -> None:
    process, ids = await busy_server(project, source, shutdown_grace=0)
    process.send(signal.SIGTERM)
    assert await process.exit_code() == 0
    assert nothing_is_locked(project)
    assert {project.document(id_)["status"] for id_ in ids} == {"queued"}


async def test_a_second_signal_ends_the_grace_period_and_the_exit_code_says_so(project: Project) -> None:
    process, ids = await busy_server(project, ASYNC, shutdown_grace="10 minutes")
    process.send(signal.SIGTERM)
    await process.says("waiting for runs")
    process.send(signal.SIGTERM)
    assert await process.exit_code() == 130
    assert nothing_is_locked(project)
    assert {project.document(id_)["status"] for id_ in ids} == {"queued"}


async def test_quit_ends_it_at_once_and_shows_where_every_thread_stands(project: Project) -> None:
    process, ids = await busy_server(project, DEAF_THREAD, shutdown_grace="10 minutes")
    process.send(signal.SIGQUIT)
    assert await process.exit_code() == 131
    assert nothing_is_locked(project)
    assert {project.document(id_)["status"] for id_ in ids} == {"queued"}
    assert "at_gate_in_thread(db)" in process.text()


async def test_a_job_that_holds_the_event_loop_does_not_keep_a_server_that_is_told_to_end(project: Project) -> None:
    source = """
class Held(Job):
    schedule = "0 0 1 1 *"
    async def run(self, db, context):
        await note(db, run=context.run_id)
        open(f"{os.path.dirname(__file__)}/held", "w").close()  # from here on nothing is awaited
        time.sleep(600)  # this very line
"""
    process, _ = await busy_server(project, source, runs=1, shutdown_grace=0)
    await until((project.root / "jobs" / "held").exists)
    process.send(signal.SIGTERM)
    assert await process.exit_code() == 69
    assert "this very line" in process.text()


async def test_what_a_server_gives_back_begins_elsewhere_at_once(project: Project) -> None:
    seldom = {"process_every": "1 hour"}  # nobody finds it by looking
    name = project.job("held", ASYNC)
    first = await project.process(shutdown_grace=0, **seldom).started()
    id_ = project.enqueue(name)
    await until(lambda: project.notes(run={"$exists": True}))
    async with project.server(**seldom):
        first.send(signal.SIGTERM)
        await until(lambda: len(project.notes(run={"$exists": True})) == 2)
        project.open()
        await project.ended(id_, "completed")


async def test_a_thread_that_a_job_has_left_behind_does_not_keep_its_server(project: Project) -> None:
    source = """
class Leaves(Job):
    schedule = "manual"
    def run(self):
        threading.Thread(target=time.sleep, args=(600,)).start()
"""
    name = project.job("leaves", source)
    process = await project.process().started()
    await project.ran(name)
    process.send(signal.SIGTERM)
    assert await process.exit_code() == 0


async def test_a_signal_while_the_server_starts_ends_it_in_order(project: Project) -> None:
    project.job("noted", schedule="0 0 1 1 *")
    process = project.process()
    await until(project.db.jobServers.find_one)
    process.send(signal.SIGTERM)
    assert await process.exit_code() == 0
    assert nothing_is_locked(project)


async def test_a_shutdown_while_the_server_starts_leaves_nothing_behind_whenever_it_comes(project: Project) -> None:
    before = threading.enumerate()
    project.job("noted", schedule="0 0 1 1 *")
    for turns in (1, 5, 20, 60, 150, 400):
        server = await JobServer.create(None, None, None, project.settings())
        starting = asyncio.create_task(server.start())
        for _ in range(turns):
            await asyncio.sleep(0.001)
        await server.shutdown()
        await starting
        assert server.exit_code == 0
        assert nothing_is_locked(project)
        assert left_behind(before) == []


async def test_two_signals_while_the_server_registers_leave_nothing_behind(project: Project) -> None:
    before = threading.enumerate()
    project.job("noted", schedule="0 0 1 1 *")
    server = await JobServer.create(None, None, None, project.settings())
    registered, go_on = threading.Event(), threading.Event()
    register = Heartbeat.register

    def slowly(heartbeat: Heartbeat) -> None:
        register(heartbeat)
        registered.set()
        go_on.wait()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Heartbeat, "register", slowly)
        starting = asyncio.create_task(server.start())
        await until(registered.is_set)
        ending = asyncio.create_task(server.shutdown())
        hurried = asyncio.create_task(server.shutdown(hurry=True))
        await asyncio.sleep(0.05)  # what they can do now they have done
        go_on.set()
        await asyncio.gather(starting, ending, hurried)
    assert nothing_is_locked(project)
    assert left_behind(before) == []


async def test_a_server_that_has_ended_leaves_no_task_and_no_thread_behind(project: Project) -> None:
    before = threading.enumerate()
    in_loop, in_thread = project.job("noted"), project.job("threaded", DEAF_THREAD)
    async with project.server():
        await project.ran(in_loop)
        project.open()
        await project.ran(in_thread)
    assert left_behind(before) == []


async def test_starting_and_shutting_down_twice_is_harmless(project: Project) -> None:
    name = project.job("noted")
    async with project.server() as server:
        await asyncio.gather(server.start(), server.start())
        assert project.db.jobServers.count_documents({}) == 1
        await project.ran(name)
        await asyncio.gather(server.shutdown(), server.shutdown())
        await server.shutdown()
        await server.wait()
        assert server.exit_code == 0
        assert nothing_is_locked(project)
        await server.start()
        assert nothing_is_locked(project)


async def test_a_server_that_never_started_can_be_shut_down(project: Project) -> None:
    server = await JobServer.create(None, None, None, project.settings())
    await server.shutdown()
    await server.wait()
    assert server.exit_code == 0
    assert server.jobs == {}
    assert server.mongodb_uri is None


async def test_hurrying_a_shutdown_in_code_ends_its_grace_period(project: Project, log: Records) -> None:
    name = project.job("held", ASYNC)
    async with project.server(shutdown_grace="10 minutes") as server:
        id_ = project.enqueue(name)
        await until(project.notes)
        ending = asyncio.create_task(server.shutdown())
        await until(lambda: [record for record in log if record["event"] == "waiting for runs"])
        await server.shutdown(hurry=True)
        await ending
        assert project.document(id_)["status"] == "queued"
        assert nothing_is_locked(project)


async def test_a_shutdown_in_code_that_hurries_from_the_first_has_no_grace_period(project: Project) -> None:
    name = project.job("held", ASYNC)
    async with project.server(shutdown_grace="10 minutes") as server:
        id_ = project.enqueue(name)
        await until(project.notes)
        async with asyncio.timeout(60):
            await server.shutdown(hurry=True)
        assert project.document(id_)["status"] == "queued"
        assert nothing_is_locked(project)


async def test_a_keyboard_interrupt_in_an_embedding_program_leaves_no_lock_behind(project: Project) -> None:
    name = project.job("held", ASYNC)
    async with project.server(shutdown_grace=100) as server:
        id_ = project.enqueue(name)
        await until(project.notes)

        async def program() -> None:
            try:
                await server.wait()
            finally:
                await server.shutdown()

        embedding = asyncio.create_task(program())
        await asyncio.sleep(0)
        embedding.cancel()  # what asyncio.run does on Ctrl-C
        with pytest.raises(asyncio.CancelledError):
            await embedding
        assert project.document(id_)["status"] == "queued"
        assert nothing_is_locked(project)
