"""Functions and paths that a program hands to its server: in a process or in turn, now, later, again and again."""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from jobserver import JobServer
from jobserver.errors import AlreadyAdded, DataError, DefinitionError, NameTaken, NotAdded, ScheduleError, UnknownJob
from tests.project import Project, until


async def note_data(db: Any, data: Any, context: Any) -> None:
    await db.notes.insert_one({"job": context.name, "data": data, "pid": os.getpid()})


def note_plainly(db: Any, data: Any, context: Any) -> None:
    db.notes.insert_one({"job": context.name, "data": data, "pid": os.getpid()})


def fails() -> None:
    raise ValueError("broken on purpose")


def posts(context: Any) -> None:
    context.post({"half": 50})


def completed(project: Project, name: str, count: int = 1) -> Any:
    return lambda: len(project.runs(name, status="completed")) >= count


async def test_it_adds_a_job_to_the_inline_queue(project: Project) -> None:
    async with project.server() as server:
        ran: list[Any] = []

        def hears(data: Any) -> None:
            ran.append(data)

        await server.add_job(name="hello", job=hears, data={"to": "all"}, offloaded=False)
        await until(completed(project, "hello"))
        assert ran == [{"to": "all"}]


async def test_inline_jobs_run_one_at_a_time_first_in_first_out_across_names(project: Project) -> None:
    async with project.server() as server:
        events: list[str] = []
        all_are_added = asyncio.Event()

        def one(name: str) -> Any:
            async def run() -> None:
                await all_are_added.wait()
                events.append(f"{name} begins")
                await asyncio.sleep(0)
                events.append(f"{name} ends")

            return run

        order = ["b", "a", "c", "a", "b", "c", "a"]
        for index, name in enumerate(order):
            await server.add_job(name=name, job=one(f"{name}{index}"), offloaded=False)
        all_are_added.set()
        await until(lambda: len(events) == 2 * len(order))
        expected = [f"{name}{index} {step}" for index, name in enumerate(order) for step in ("begins", "ends")]
        assert events == expected


async def test_a_failed_inline_job_is_handled_gracefully_and_the_next_one_runs(project: Project) -> None:
    async with project.server() as server:
        await server.add_job(name="bad", job=fails, offloaded=False)
        await server.add_job(name="good", job=note_plainly, offloaded=False)
        await until(completed(project, "good"))
        (failed,) = project.runs("bad")
        assert (failed["status"], failed["error"]) == ("failed", "broken on purpose")


async def test_it_fails_to_schedule_for_an_invalid_scheduling_expression(project: Project) -> None:
    async with project.server() as server:
        with pytest.raises(ScheduleError, match=r"^at: "):
            await server.add_job(name="never", job=note_plainly, at="every now and then")
        assert "never" not in server.jobs
        assert project.config("never") == {}


async def test_it_fails_to_schedule_a_function_without_a_name(project: Project) -> None:
    async with project.server() as server:
        with pytest.raises(DefinitionError, match="a function needs a name"):
            await server.add_job(job=note_plainly, at="every 5 minutes")


async def test_a_path_takes_the_stem_of_its_file_as_its_name(project: Project, tmp_path: Path) -> None:
    path = tmp_path / "report.py"
    path.write_text("def run(db, data):\n    db.notes.insert_one(data)\n")
    async with project.server() as server:
        assert await server.add_job(job=path, data={"month": 11}) == "report"
        await until(completed(project, "report"))
        assert [each["month"] for each in project.notes()] == [11]


async def test_it_schedules_a_job_using_a_date(project: Project) -> None:
    async with project.server() as server:
        at = datetime.now(UTC) + timedelta(hours=1)
        await server.add_job(name="later", job=note_plainly, at=at, data={"late": True})
        holder = project.jobs.find_one({"name": "later", "type": "single"}) or {}
        assert abs(holder["nextRunAt"] - at) < timedelta(milliseconds=2)
        assert holder["data"] == {"late": True}


async def test_it_runs_a_job_again_and_again_by_cron_with_seconds(project: Project) -> None:
    async with project.server() as server:
        await server.add_job(name="often", job=note_plainly, at="* * * * * *", data={"n": 1})
        await until(completed(project, "often", 2))
        assert {each["data"]["n"] for each in project.notes(job="often")} == {1}


async def test_it_schedules_a_job_to_run_immediately_in_a_process_of_its_own(project: Project) -> None:
    async with project.server() as server:
        await server.add_job(name="soon", job=note_data, data={"x": 1})
        await until(completed(project, "soon"))
        (note,) = project.notes(job="soon")
        assert note["data"] == {"x": 1}
        assert note["pid"] != os.getpid()


async def test_it_fails_to_schedule_a_job_with_the_same_name_to_run_immediately_one_after_another(
    project: Project,
) -> None:
    async with project.server() as server:
        await server.add_job(name="twice", job=note_plainly)
        with pytest.raises(AlreadyAdded, match="'twice' was added already"):
            await server.add_job(name="twice", job=note_plainly)
        await until(completed(project, "twice"))
        with pytest.raises(AlreadyAdded):
            await server.add_job(name="twice", job=note_plainly)
        assert project.jobs.count_documents({"name": "twice"}) == 1


async def test_it_uses_a_custom_error_handler_when_a_job_fails(project: Project) -> None:
    told: list[Any] = []
    handler = lambda name, run, error: told.append((name, run, str(error)))  # noqa: E731 - as a program would
    server = await JobServer.create(config=project.settings(), error_handler=handler)
    try:
        await server.start()
        await server.add_job(name="fails", job=fails)
        await until(lambda: told)
        (run,) = await until(lambda: project.runs("fails"))
        assert told == [("fails", run["_id"], "broken on purpose")]
    finally:
        await server.shutdown()


async def test_it_uses_a_worker_message_handler_when_a_job_sends_a_message(project: Project) -> None:
    told: list[Any] = []

    async def handler(name: str, run: str, message: Any) -> None:
        told.append((name, message))

    server = await JobServer.create(config=project.settings(), worker_message_handler=handler)
    try:
        await server.start()
        await server.add_job(name="offloaded", job=posts)
        await server.add_job(name="inline", job=posts, offloaded=False)
        await until(lambda: len(told) == 2)
        assert sorted(told) == [("inline", {"half": 50}), ("offloaded", {"half": 50})]
    finally:
        await server.shutdown()


@pytest.mark.parametrize("is_async", [False, True], ids=["plain", "async"])
@pytest.mark.parametrize(
    "raised", [RuntimeError("the handler itself"), SystemExit(3), asyncio.CancelledError()], ids=repr
)
async def test_a_handler_that_raises_is_logged_and_hurts_nobody(
    project: Project, log: list[Any], raised: BaseException, is_async: bool
) -> None:
    def handler(name: str, run: str, error: BaseException) -> None:
        raise raised

    async def handler_async(name: str, run: str, error: BaseException) -> None:
        raise raised

    server = await JobServer.create(config=project.settings(), error_handler=handler_async if is_async else handler)
    try:
        await server.start()
        await server.add_job(name="fails", job=fails)
        await until(lambda: project.runs("fails", status="failed"))
        await server.add_job(name="after", job=note_plainly)
        await until(completed(project, "after"))
        assert [each["handler"] for each in log if each["event"] == "handler failed"] == ["error handler"]
    finally:
        await server.shutdown()


async def test_it_removes_a_scheduled_job_from_the_queue(project: Project) -> None:
    async with project.server() as server:
        await server.add_job(name="often", job=note_plainly, at="every hour")
        await server.remove_job("often")
        assert "often" not in server.jobs
        holder = project.jobs.find_one({"name": "often"}) or {}
        assert (holder["status"], "nextRunAt" in holder) == ("cancelled", False)
        await server.add_job(name="often", job=note_plainly, at="every hour")
        holder = project.jobs.find_one({"name": "often"}) or {}
        assert (holder["status"], "nextRunAt" in holder, "expireAt" in holder) == ("scheduled", True, False)


async def test_removing_an_unknown_job_raises_with_a_suggestion(project: Project) -> None:
    async with project.server() as server:
        await server.add_job(name="nightly", job=note_plainly, at="every hour")
        with pytest.raises(UnknownJob, match="did you mean 'nightly'"):
            await server.remove_job("nightli")


async def test_a_job_that_a_file_brings_cannot_be_removed_and_its_name_cannot_be_taken(project: Project) -> None:
    name = project.job("report")
    async with project.server() as server:
        with pytest.raises(NotAdded, match=r"report\.py brings it"):
            await server.remove_job(name)
        with pytest.raises(NameTaken, match=r"report\.py"):
            await server.add_job(name=name, job=note_plainly)


async def test_an_added_job_survives_scans_and_obeys_its_configuration(project: Project) -> None:
    async with project.server() as server:
        await server.add_job(name="kept", job=note_plainly, at="every hour")
        project.job("another")
        await until(lambda: "api:another" in server.jobs)
        assert "kept" in server.jobs
        assert "missingSince" not in project.config("kept")
        project.edit("kept", {"$set": {"enabled": False}})
        await until(lambda: project.jobs.find_one({"name": "kept", "disabled": True}))


async def test_inline_jobs_cannot_be_scheduled(project: Project) -> None:
    async with project.server() as server:
        with pytest.raises(DataError, match="not offloaded"):
            await server.add_job(name="x", job=note_plainly, at="every hour", offloaded=False)


async def test_data_that_cannot_be_stored_is_refused_by_its_key_before_anything_changes(project: Project) -> None:
    async with project.server() as server:
        with pytest.raises(DataError, match="inner"):
            await server.add_job(name="x", job=note_plainly, data={"outer": {"inner": object()}})
        assert "x" not in server.jobs
        assert project.config("x") == {}


async def test_what_is_added_before_the_start_runs_at_the_start(project: Project) -> None:
    server = await JobServer.create(config=project.settings())
    await server.add_job(name="early", job=note_plainly)
    try:
        await server.start()
        await until(completed(project, "early"))
    finally:
        await server.shutdown()


async def test_it_gracefully_shuts_down_inline_jobs(project: Project) -> None:
    server = await JobServer.create(config=project.settings())
    await server.start()
    begun = asyncio.Event()
    ended: list[int] = []

    async def slow() -> None:
        begun.set()
        await asyncio.sleep(0.3)
        ended.append(1)

    await server.add_job(name="slow", job=slow, offloaded=False)
    await begun.wait()
    await server.shutdown()
    assert ended == [1]
    assert [each["status"] for each in project.runs("slow")] == ["completed"]


async def test_it_gracefully_shuts_down_an_interval_job(project: Project) -> None:
    server = await JobServer.create(config=project.settings())
    await server.start()
    await server.add_job(name="often", job=note_plainly, at="* * * * * *")
    await until(completed(project, "often"))
    await server.shutdown()
    assert project.jobs.count_documents({"name": "often", "lockedAt": {"$exists": True}}) == 0


async def test_a_script_is_scheduled_by_a_job_file_that_names_it(project: Project) -> None:
    (project.root / "jobs" / "scripts").mkdir()
    (project.root / "jobs" / "scripts" / "tidy.py").write_text(
        "import os, pathlib\npathlib.Path(os.environ['TIDY_MARK']).write_text(os.environ['JOBSERVER_DATA'])\n"
    )
    mark = project.root / "mark"
    os.environ["TIDY_MARK"] = str(mark)
    try:
        name = project.job("tidy", "class Tidy(Job):\n    schedule = 'manual'\n    run = 'scripts/tidy.py'\n")
        async with project.server():
            await project.ran(name, {"deep": True})
        assert mark.read_text() == '{"deep": true}'
    finally:
        del os.environ["TIDY_MARK"]


async def test_code_that_no_other_process_can_find_is_refused_with_the_fix(project: Project) -> None:
    def inside() -> None: ...

    async with project.server() as server:
        for job in (lambda: None, inside, Path().exists):
            with pytest.raises(DefinitionError, match="offloaded=False"):
                await server.add_job(name="x", job=job)
        with pytest.raises(DefinitionError, match="did you mean 'progress'"):
            await server.add_job(name="x", job=lambda progres: None, offloaded=False)
