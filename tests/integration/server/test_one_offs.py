"""One-off jobs: at most once ever by their name, by whoever was asked, wherever it runs."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from pymongo import AsyncMongoClient

from jobserver import JobClient, JobServer, SyncJobClient
from jobserver.errors import (
    AlreadyAdded,
    CompletionTimeout,
    DataError,
    DefinitionError,
    JobServerError,
    NameTaken,
    NotStarted,
    UnknownJob,
)
from jobserver.runner.pulse.one_offs import OneOffs
from tests.project import Project, until


def notes_it(db: Any, data: Any, context: Any) -> str:
    db.notes.insert_one({"job": context.name, "data": data, "pid": os.getpid()})
    return "noted"


def fails_at_first(db: Any, context: Any) -> None:
    db.notes.insert_one({"job": context.name})
    if db.notes.count_documents({"job": context.name}) == 1:
        raise ValueError("not yet")


def fails() -> None:
    raise ValueError("broken on purpose")


def one_off(project: Project, name: str) -> dict[str, Any]:
    return project.jobs.find_one({"name": name, "oneOff": True}) or {}


def written(folder: Path, source: str) -> Path:
    path = folder / "once.py"
    path.write_text(dedent(source))
    return path


async def finished(*arguments: object) -> subprocess.CompletedProcess[str]:
    """A Python program that has run to its end."""
    command = [sys.executable, *map(str, arguments)]
    return await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=90, check=False)


NOTING = """
    import os

    def run(db, data, context):
        db.notes.insert_one({"job": context.name, "data": data, "pid": os.getpid()})
        return {"pid": os.getpid()}
"""

BOTH = pytest.mark.parametrize("offloaded", [True, False], ids=["offloaded", "inline"])


@BOTH
async def test_it_throws_if_the_name_is_not_provided(project: Project, offloaded: bool) -> None:
    async with project.server() as server:
        with pytest.raises(DataError, match="a one-off job needs a name"):
            await server.add_one_off_job(job=notes_it, offloaded=offloaded)


@BOTH
async def test_it_adds_a_job_to_the_queue_when_it_is_a_unique_one(project: Project, offloaded: bool) -> None:
    async with project.server() as server:
        await server.add_one_off_job(name="once", job=notes_it, data={"x": 1}, offloaded=offloaded)
        ended = await server.await_completion("once", timeout=20)
        assert (ended.state, ended.result, ended.error) == ("finished", "noted", None)
        assert None not in (moments := [ended.created_at, ended.started_at, ended.finished_at])
        assert moments == sorted(moments, key=str)
        (note,) = project.notes(job="once")
        assert (note["data"], note["pid"] == os.getpid()) == ({"x": 1}, not offloaded)


@BOTH
async def test_it_does_not_add_a_job_to_the_queue_when_it_already_exists(project: Project, offloaded: bool) -> None:
    async with project.server() as server:
        await server.add_one_off_job(name="once", job=notes_it, offloaded=offloaded)
        await server.await_completion("once", timeout=20)
        with pytest.raises(AlreadyAdded, match=r"'once' was added already, it is finished since .* UTC"):
            await server.add_one_off_job(name="once", job=notes_it, offloaded=offloaded)
        assert len(project.notes(job="once")) == 1


@BOTH
async def test_it_does_not_add_a_job_that_is_still_queued(project: Project, offloaded: bool) -> None:
    async with project.server() as server:
        added = [server.add_one_off_job(name="once", job=notes_it, offloaded=offloaded) for _ in range(8)]
        answers = await asyncio.gather(*added, return_exceptions=True)
        assert [answer for answer in answers if not isinstance(answer, AlreadyAdded)] == ["once"]
        await server.await_completion("once", timeout=20)
        assert len(project.notes(job="once")) == 1


@BOTH
async def test_it_sets_a_failed_state_on_a_job(project: Project, offloaded: bool) -> None:
    async with project.server() as server:
        await server.add_one_off_job(name="once", job=fails, offloaded=offloaded)
        ended = await server.await_completion("once", timeout=20)
        assert (ended.state, ended.error) == ("failed", "broken on purpose")
        assert not await server.has_executed_successfully("once")
        assert not await server.has_finished("once")


@BOTH
async def test_it_adds_a_job_to_the_queue_after_failing(project: Project, offloaded: bool) -> None:
    async with project.server() as server:
        await server.add_one_off_job(name="once", job=fails_at_first, offloaded=offloaded)
        assert (await server.await_completion("once", timeout=20)).state == "failed"
        await server.add_one_off_job(name="once", job=fails_at_first, offloaded=offloaded)
        ended = await server.await_completion("once", timeout=20)
        assert (ended.state, ended.error) == ("finished", None)


async def test_it_can_be_checked_whether_a_job_has_ever_been_executed(project: Project) -> None:
    async with project.server() as server:
        assert not await server.has_executed_successfully("once")
        await server.add_one_off_job(name="once", job=notes_it, offloaded=False)
        assert await server.has_executed_successfully("once")
        await server.await_completion("once", timeout=20)
        assert await server.has_executed_successfully("once")
        assert await server.has_finished("once")


async def test_it_can_wait_for_job_completion_from_another_process(project: Project, tmp_path: Path) -> None:
    script = "import sys; from pymongo import MongoClient; from jobserver import SyncJobClient\n" + dedent("""
        with MongoClient(sys.argv[1]) as client:
            jobs = SyncJobClient(client[sys.argv[2]])
            jobs.add_one_off_job(name="once", job=sys.argv[3], data={"from": "afar"})
            print(jobs.await_completion("once", timeout=30).state, jobs.has_finished("once"))
    """)
    path = written(tmp_path, NOTING)
    async with project.server():
        done = await finished("-c", script, project.uri, project.name, path)
        assert done.stdout == "finished True\n", done.stderr
        assert [each["data"] for each in project.notes(job="once")] == [{"from": "afar"}]


async def test_waiting_too_long_raises_a_timeout_and_an_unknown_name_raises_with_a_suggestion(project: Project) -> None:
    async with project.server() as server:
        never = asyncio.Event()
        await server.add_one_off_job(name="once", job=never.wait, offloaded=False)
        with pytest.raises(TimeoutError, match="'once' is still") as caught:
            await server.await_completion("once", timeout=0.1)
        assert isinstance(caught.value, CompletionTimeout)
        with pytest.raises(UnknownJob, match="did you mean 'once'"):
            await server.await_completion("onse")
        never.set()
        await server.await_completion("once", timeout=20)


async def test_one_offs_refuse_a_moment_and_data_that_cannot_be_stored(project: Project) -> None:
    async with project.server() as server:
        with pytest.raises(DataError, match="one-off jobs run at once"):
            await server.add_one_off_job(name="once", job=notes_it, at="every hour")
        with pytest.raises(DataError, match="inner"):
            await server.add_one_off_job(name="once", job=notes_it, data={"inner": object()})
        assert one_off(project, "once") == {}


async def test_before_the_start_nothing_can_be_read_and_what_is_added_runs_at_the_start(project: Project) -> None:
    server = await JobServer.create(config=project.settings())
    with pytest.raises(NotStarted):
        await server.has_finished("once")
    await server.add_one_off_job(name="once", job=notes_it, offloaded=False)
    try:
        await server.start()
        assert (await server.await_completion("once", timeout=20)).state == "finished"
    finally:
        await server.shutdown()
    again = await JobServer.create(config=project.settings())
    await again.add_one_off_job(name="once", job=notes_it, offloaded=False)  # as every start of a program does
    try:
        await again.start()
    finally:
        await again.shutdown()
    assert len(project.notes(job="once")) == 1


async def test_a_document_is_never_removed_by_retention_however_it_ended(project: Project) -> None:
    async with project.server(retention="1 second", failed_retention="1 second") as server:
        await server.add_one_off_job(name="good", job=notes_it, offloaded=False)
        await server.add_one_off_job(name="silent", job=lambda: None, offloaded=False)
        await server.add_one_off_job(name="bad", job=fails, offloaded=False)
        for name in ("good", "silent", "bad"):
            await server.await_completion(name, timeout=20)
            assert "expireAt" not in one_off(project, name)


async def test_the_name_of_a_job_that_a_file_brings_is_refused_for_other_code(project: Project) -> None:
    name = project.job("report")
    async with project.server() as server:
        with pytest.raises(NameTaken, match=r"report\.py"):
            await server.add_one_off_job(name=name, job=notes_it)


async def test_a_job_cannot_take_the_name_of_a_one_off_that_has_not_ended(project: Project, tmp_path: Path) -> None:
    SyncJobClient(project.db).add_one_off_job(name="once", job=tmp_path / "absent.py")
    async with project.server() as server:
        with pytest.raises(NameTaken, match="a one-off that is queued"):
            await server.add_job(name="once", job=notes_it)


async def test_a_job_that_a_file_brings_runs_once_by_its_own_name_or_by_another(project: Project) -> None:
    name = project.job("migrate")
    async with project.server() as server, AsyncMongoClient(project.uri) as mongo:
        jobs = JobClient(mongo[project.name])
        await jobs.add_one_off_job(name=name, data={"n": 1})
        await jobs.add_one_off_job(name="second", job=name, data={"n": 2})
        assert (await jobs.await_completion(name, timeout=20)).state == "finished"
        assert (await server.await_completion("second", timeout=20)).state == "finished"
        with pytest.raises(AlreadyAdded):
            await server.add_one_off_job(name=name)
        with pytest.raises(UnknownJob, match="did you mean 'api:migrate'"):
            await jobs.add_one_off_job(name="api:migrat")
        assert sorted(each["data"]["n"] for each in project.notes()) == [1, 2]


async def test_a_client_refuses_a_function(project: Project) -> None:
    jobs = SyncJobClient(project.db)
    with pytest.raises(DefinitionError, match="a client hands no code over"):
        jobs.add_one_off_job(name="once", job=notes_it)  # type: ignore[arg-type]


async def test_any_server_runs_what_the_document_says_how_to_run(project: Project, tmp_path: Path) -> None:
    path = written(tmp_path, NOTING)
    SyncJobClient(project.db).add_one_off_job(name="once", job=path)  # while there is no server at all
    assert one_off(project, "once")["handler"] == {"kind": "file", "path": str(path)}
    async with project.server() as server:
        ended = await server.await_completion("once", timeout=20)
        assert ended.result["pid"] != os.getpid()
        await until(lambda: "once" not in server.jobs)
        assert project.config("once") == {}


async def test_one_that_a_dead_server_left_running_is_run_by_another(project: Project, tmp_path: Path) -> None:
    path = written(
        tmp_path,
        """
        import time

        def run(db):
            db.notes.insert_one({"job": "once"})
            while db.gates.find_one({"_id": "gate"}) is None:
                time.sleep(0.01)
        """,
    )
    jobs = SyncJobClient(project.db)
    first = await project.process(lease="2 seconds").started()
    jobs.add_one_off_job(name="once", job=path)
    await until(lambda: project.notes(job="once"))
    first.kill()
    project.open()
    async with project.server(lease="2 seconds") as server:
        assert (await server.await_completion("once", timeout=30)).state == "finished"
    assert len(project.notes(job="once")) == 2
    assert one_off(project, "once")["runCount"] == 2


PROGRAM = """
import asyncio, os, sys
from jobserver import JobServer

def work(db, context):
    db.notes.insert_one({"job": context.name, "pid": os.getpid()})
    if len(sys.argv) > 2:
        import time
        time.sleep(60)

async def main():
    server = await JobServer.create(config=sys.argv[1])
    await server.start()
    await server.add_one_off_job(name="once", job=work, offloaded=False)
    print((await server.await_completion("once")).state, flush=True)
    await server.shutdown()

asyncio.run(main())
"""


async def test_a_function_left_over_by_a_program_that_died_runs_when_the_program_adds_it_again(
    project: Project, tmp_path: Path
) -> None:
    config, program = tmp_path / "config.yaml", tmp_path / "program.py"
    config.write_text(json.dumps(project.settings(lease="2 seconds")))
    program.write_text(PROGRAM)
    with subprocess.Popen([sys.executable, str(program), str(config), "hang"], stdout=subprocess.DEVNULL) as died:
        await until(lambda: project.notes(job="once"))
        died.send_signal(signal.SIGKILL)
    done = await finished(program, config)
    assert "finished" in done.stdout.splitlines(), (done.stdout, done.stderr)
    assert [each["pid"] for each in project.notes(job="once")][1:] != []
    refused = await finished(program, config)
    assert "AlreadyAdded" in refused.stderr
    assert len(project.notes(job="once")) == 2


async def test_many_servers_and_clients_add_the_same_names_at_once_and_each_runs_once(
    project: Project, tmp_path: Path
) -> None:
    names = [f"once-{number}" for number in range(25)]

    async def add(adder: Any, name: str) -> bool:
        try:
            await adder.add_one_off_job(name=name, job=notes_it, offloaded=False)
        except AlreadyAdded:
            return False
        return True

    async with project.servers(3) as servers:
        await asyncio.gather(*(add(server, name) for name in names for server in servers for _ in range(3)))
        for name in names:
            assert (await servers[0].await_completion(name, timeout=30)).state == "finished"
        assert sorted(each["job"] for each in project.notes()) == sorted(names)


async def test_a_cancelled_one_may_be_added_again(project: Project, tmp_path: Path) -> None:
    path = written(tmp_path, NOTING)
    jobs = SyncJobClient(project.db)
    added = jobs.add_one_off_job(name="once", job=path)
    jobs.cancel(added.id)
    assert jobs.one_off("once").state == "cancelled"
    assert "expireAt" not in one_off(project, "once")
    assert not jobs.has_executed_successfully("once")
    jobs.add_one_off_job(name="once", job=path)
    async with project.server() as server:
        assert (await server.await_completion("once", timeout=20)).state == "finished"


async def test_a_file_that_is_not_there_is_left_to_another_server_and_said_once(
    project: Project, tmp_path: Path, log: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    looks, look = [], OneOffs._step

    async def counted(one_offs: OneOffs) -> None:
        looks.append(await look(one_offs))

    monkeypatch.setattr(OneOffs, "_step", counted)
    monkeypatch.setattr("jobserver.runner.pulse.one_offs.LOOK_EVERY", timedelta(milliseconds=50))
    SyncJobClient(project.db).add_one_off_job(name="once", job=tmp_path / "absent.py")
    async with project.server() as server:
        await until(lambda: [each for each in log if each["event"] == "one-off not taken on"])
        seen = len(looks)
        await until(lambda: len(looks) > seen + 3)
        assert len([each for each in log if each["event"] == "one-off not taken on"]) == 1
        assert (await server.one_off("once")).state == "queued"
        with pytest.raises(JobServerError, match="no such file"):
            await server.add_one_off_job(name="other", job=tmp_path / "absent.py")


@pytest.mark.parametrize(
    "torn",
    [
        {"handler": {"kind": "file", "path": "nul\0.py"}},
        {"handler": {"kind": "file", "path": "x" * 5_000 + ".py"}},
        {"handler": [{"kind": "file", "path": "x.py"}]},
        {"handler": {"kind": "function", "module": 5, "name": None}},
        {"handler": {"kind": "file", "path": "x.py"}, "name": {"no": "text"}},
    ],
    ids=["a path with NUL", "a path too long", "a list", "no words", "a name that is no text"],
)
async def test_what_a_hand_has_torn_does_not_keep_others_from_running(
    project: Project, tmp_path: Path, torn: dict[str, Any]
) -> None:
    path = written(tmp_path, NOTING)
    project.jobs.insert_one({"name": "torn", "oneOff": True, "nextRunAt": project.now(), **torn})
    async with project.server():
        SyncJobClient(project.db).add_one_off_job(name="whole", job=path)
        await until(lambda: one_off(project, "whole").get("status") == "completed")


async def test_many_that_only_another_server_can_run_do_not_stand_before_those_that_this_one_can(
    project: Project, tmp_path: Path
) -> None:
    path, elsewhere = written(tmp_path, NOTING), {"kind": "file", "path": str(tmp_path / "elsewhere.py")}
    due = {"oneOff": True, "nextRunAt": project.now(), "handler": elsewhere}
    project.jobs.insert_many([{"name": f"elsewhere-{n}", **due} for n in range(60)])
    SyncJobClient(project.db).add_one_off_job(name="here", job=path)
    async with project.server():
        await until(lambda: one_off(project, "here").get("status") == "completed")
