"""Runs that are cancelled, or over their time: told, interrupted, stopped, given up, and their slot is free again."""

from __future__ import annotations

import gc
import signal
from typing import Any

import pytest

from jobserver import SyncJobClient
from jobserver.errors import DataError
from tests.project import Project, Records, until

LISTENS = """
class Held(Job):
    schedule = "0 0 1 1 *"
    {extra}
    async def run(self, db, context):
        await note(db, run=context.run_id)
        try:
            await at_gate(db)
        finally:
            await note(db, told=context.run_id, cancelled=bool(context.cancelled))
"""
LOOKS = """
class Held(Job):
    schedule = "0 0 1 1 *"
    {extra}
    def run(self, db, context):
        note(db, run=context.run_id)
        at_gate_in_thread(db, stop=context.cancelled.is_set)
        note(db, told=context.run_id, cancelled=bool(context.cancelled))
        return "stopped when told"
"""
DOES_NOT_LOOK = """
class Held(Job):
    schedule = "0 0 1 1 *"
    {extra}
    def run(self, db, context):
        note(db, run=context.run_id)
        try:
            at_gate_in_thread(db)
        finally:
            note(db, told=context.run_id, cancelled=bool(context.cancelled))
"""
DEAF = """
class Held(Job):
    schedule = "0 0 1 1 *"
    {extra}
    async def run(self, db, context):
        await note(db, run=context.run_id)
        gate = None
        while gate is None:
            try:
                await asyncio.sleep(0.01)
                gate = await db.gates.find_one({{"_id": "gate"}})
            except asyncio.CancelledError:
                await asyncio.shield(note(db, told=context.run_id, cancelled=bool(context.cancelled)))
"""
DEAF_THREAD = """
class Held(Job):
    schedule = "0 0 1 1 *"
    {extra}
    def run(self, db, context):
        note(db, run=context.run_id)
        gate = None
        while gate is None:
            try:
                time.sleep(0.01)
                gate = db.gates.find_one({{"_id": "gate"}})
            except BaseException:
                note(db, told=context.run_id, cancelled=bool(context.cancelled))
"""
STEPS = {
    "coroutine": (LISTENS, ["told"]),
    "thread that looks": (LOOKS, ["told"]),
    "thread that does not look": (DOES_NOT_LOOK, ["told", "interrupted"]),
    "deaf coroutine": (DEAF, ["told", "interrupted", "given up"]),
    "deaf thread": (DEAF_THREAD, ["told", "interrupted", "given up"]),
}
KINDS = pytest.mark.parametrize(("source", "steps"), list(STEPS.values()), ids=list(STEPS))
GRACE = {"cancel_grace": "1 second"}
PATIENT = {"cancel_grace": "20 seconds"}  # whoever needs one push only has time for it, on a busy machine, too


def client(project: Project) -> SyncJobClient:
    """A client of the project's database."""
    return SyncJobClient(project.db)


async def running(project: Project, count: int = 1) -> list[Any]:
    """The notes of so many runs that have begun."""
    return await until(lambda: found if len(found := project.notes(run={"$exists": True})) >= count else [])


@KINDS
async def test_a_cancelled_run_is_pushed_as_far_as_it_needs(
    project: Project, source: str, steps: list[str], log: Records
) -> None:
    name = project.job("held", source.format(extra="concurrency = 1"))
    async with project.server(**(PATIENT if steps == ["told"] else GRACE)):
        id_ = project.enqueue(name)
        await running(project)
        task = client(project).cancel(id_)
        assert task.status == "running"
        document = await project.ended(id_, "cancelled")
        (run,) = await until(lambda: project.runs(name))
        assert project.notes(told={"$exists": True})[0]["cancelled"] is True
        after = project.enqueue(name)  # the slot of a run that was given up is free, too
        project.open()
        await project.ended(after)
    assert document["cancelReason"] == "cancelled by a client"
    assert not {"lockToken", "lockedBy", "cancelRequest", "nextRunAt"} & document.keys()
    assert (run["status"], run["reason"]) == ("cancelled", "cancelled by a client")
    assert [each["step"] for each in run["stopSteps"]] == steps
    assert [each["step"] for each in log if each["event"] == "run stopping"] == steps


async def test_what_a_cancelled_run_held_is_free_without_the_collector(project: Project) -> None:
    freed = project.root / "freed"
    source = f"""
import weakref
class Held(Job):
    schedule = "0 0 1 1 *"
    async def run(self, db, context):
        held = weakref.WeakSet()
        weakref.finalize(held, os.mkdir, {str(freed)!r})
        await note(db, run=context.run_id)
        try:
            await at_gate(db)
        except asyncio.CancelledError as error:
            circle = error  # as in pymongo, whose frame holds what it raises again
            raise
"""
    name = project.job("held", source)
    gc.disable()
    try:
        async with project.server():
            id_ = project.enqueue(name)
            await running(project)
            client(project).cancel(id_)
            await project.ended(id_, "cancelled")
            await until(freed.exists)
    finally:
        gc.enable()


@KINDS
async def test_a_run_over_its_longest_time_is_stopped_and_has_failed(
    project: Project, source: str, steps: list[str]
) -> None:
    name = project.job("held", source.format(extra='max_execution_time = "500 ms"'))
    async with project.server(**(PATIENT if steps == ["told"] else GRACE)):
        id_ = project.enqueue(name)
        document = await project.ended(id_, "failed")
        (run,) = await until(lambda: project.runs(name))
        project.open()
    assert "max_execution_time of 500 milliseconds" in document["lastError"]
    assert "deadlineAt" not in document
    assert [each["step"] for each in run["stopSteps"]] == steps
    assert (document["failCount"], document.get("crashes")) == (1, None)


async def test_a_run_over_its_time_is_retried_by_the_jobs_policy(project: Project) -> None:
    retrying = 'max_execution_time = "300 ms"; retry = Retry(attempts=1, delay=timedelta(milliseconds=10))'
    name = project.job("held", LISTENS.format(extra=retrying))
    async with project.server(**GRACE):
        id_ = project.enqueue(name)
        await project.ended(id_, "failed")
        await until(lambda: len(project.runs(name)) == 2)
    assert [run["attempt"] for run in project.runs(name)] == [1, 2]


async def test_the_longest_time_can_be_edited(project: Project) -> None:
    name = project.job("held", LISTENS.format(extra=""))
    async with project.server(**GRACE):
        project.edit(name, {"$set": {"maxExecutionTime": 300}})
        await until(lambda: [each for each in project.history(name) if each["values"].get("maxExecutionTime") == 300])
        await project.ended(project.enqueue(name), "failed")


async def test_one_run_of_a_schedule_is_cancelled_and_the_schedule_goes_on(project: Project) -> None:
    name = project.job("held", LISTENS.format(extra=""))
    async with project.server(**GRACE):
        await until(lambda: project.holder(name).get("nextRunAt"))
        id_ = project.make_due(name)["_id"]
        (began,) = await running(project)
        assert client(project).cancel_run(began["run"]) is True
        document = await project.ended(id_, "cancelled")
        assert document["nextRunAt"] > project.now()
        assert client(project).cancel_run(began["run"]) is False
        project.make_due(name)
        await running(project, 2)
        client(project).cancel(id_)  # the holder's own id means the run under way
        await until(lambda: len(project.runs(name, status="cancelled")) == 2)
        assert (await project.ended(id_, "cancelled"))["nextRunAt"] > project.now()
        with pytest.raises(DataError, match="does not run now"):
            client(project).cancel(id_)


async def test_a_request_for_one_run_never_meets_the_next_one(project: Project) -> None:
    name = project.job("held", LISTENS.format(extra=""))
    async with project.server(**GRACE):
        id_, other = project.enqueue(name), project.enqueue(name)
        await running(project, 2)
        # As if it had been asked for the claim before this one.
        request = {"token": "an earlier claim", "reason": "late"}
        project.jobs.update_one({"_id": id_}, {"$set": {"cancelRequest": request}})
        client(project).cancel(other)
        await project.ended(other, "cancelled")  # by the look that has seen both requests
        project.open()
        assert "cancelRequest" not in await project.ended(id_)


@pytest.mark.parametrize("text", ["", "x", ":3", "abc:", "abc:-1", "abc:1.5"])
def test_what_is_no_id_of_a_run_is_refused(project: Project, text: str) -> None:
    with pytest.raises(DataError, match="is not the id of a run"):
        client(project).cancel_run(text)


async def test_a_recurring_task_that_is_cancelled_while_it_runs_stops_now_and_for_good(project: Project) -> None:
    name = project.job("held", LISTENS.format(extra=""))
    async with project.server(**GRACE):
        task = client(project).schedule(name, recurrence="1 hour")
        project.bring_forward(task.id)
        await running(project)
        client(project).cancel(task)
        document = await project.ended(task.id, "cancelled")
    assert not {"nextRunAt", "cancelRequest"} & document.keys()
    assert document["expireAt"] > project.now()


async def test_a_job_that_is_disabled_with_cancel_running_stops_what_runs(project: Project) -> None:
    name, other = project.job("held", LISTENS.format(extra="")), project.job("other", LISTENS.format(extra=""))
    async with project.server(**GRACE):
        id_, unharmed = project.enqueue(name), project.enqueue(other)
        await running(project, 2)
        project.edit(name, {"$set": {"enabled": False}})
        await until(lambda: project.history(name)[-1]["values"].get("enabled") is False)
        project.edit(name, {"$set": {"cancelRunning": True}})
        document = await project.ended(id_, "cancelled")
        project.open()
        await project.ended(unharmed)
    assert "disabled" in document["cancelReason"]


async def test_a_run_whose_own_server_cannot_stop_it_is_failed_by_another(project: Project) -> None:
    blocks = """
    class Blocks(Job):
        schedule = "manual"
        max_execution_time = "1 second"
        async def run(self, db, context):
            await note(db, run=context.run_id)
            while not os.path.exists({path!r}):
                time.sleep(0.05)
    """
    let_go = project.root / "let go"
    name = project.job("blocks", blocks.format(path=str(let_go)))
    blocked = await project.process(**GRACE).started()  # blocked before, it could not even say that
    id_ = project.enqueue(name)
    await running(project)
    # A minute after its deadline; a test does not wait that long.
    minute_ago = {"$subtract": ["$deadlineAt", 61_000]}
    assert project.jobs.update_one({"_id": id_}, [{"$set": {"deadlineAt": minute_ago}}]).modified_count == 1
    async with project.server(**GRACE):
        document = await project.ended(id_, "failed")
        (run,) = await until(lambda: project.runs(name))
    let_go.touch()
    assert "its server has not stopped it" in document["lastError"]
    assert not {"nextRunAt", "deadlineAt", "lockToken", "crashes"} & document.keys()
    assert (run["status"], run["server"]) == ("failed", blocked.id)


FOR_EVER = """
class ForEver(Job):
    schedule = "manual"
    async def run(self, db, context):
        await note(db, run=context.run_id)
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                pass
"""


async def test_runs_that_nothing_can_end_do_not_keep_a_server_from_ending(project: Project) -> None:
    names = [project.job("for_ever", FOR_EVER), project.job("deaf_thread", DEAF_THREAD.format(extra=""))]
    cancelled = [project.enqueue(name) for name in names]
    process = await project.process(**GRACE).started()
    await running(project, 2)
    for id_ in cancelled:
        client(project).cancel(id_)
    for id_ in cancelled:
        await project.ended(id_, "cancelled")
    given_back = project.enqueue(names[0])
    await running(project, 3)
    process.send(signal.SIGTERM)
    assert await process.exit_code() == 0
    assert project.document(given_back)["status"] == "queued"
