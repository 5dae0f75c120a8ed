"""When jobs run by themselves: late, once, again, not twice."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

import pytest

from jobserver import JobClient, JobServer, Schedule
from jobserver.store.connection import async_client
from tests.project import Project, Records, until

YEARLY = "0 0 1 1 *"


def scheduled(schedule: str, comment: str = "one") -> str:
    """The source of a job that notes each run; another `comment` makes other code of it."""
    return f"""
class Noted(Job):
    schedule = {schedule}
    async def run(self, db, context):
        await note(db, code="{comment}", due=context.scheduled_at)
"""


async def test_now_runs_once_per_version_of_the_code_however_often_and_widely_it_is_started(project: Project) -> None:
    name, other = project.job("noted", scheduled("'now'")), project.job("other")
    for _ in range(3):
        async with project.servers(2):
            await project.ran(other)
    assert [note["code"] for note in project.notes(code={"$exists": True})] == ["one"]
    project.job("noted", scheduled("'now'", "two"))
    for _ in range(2):
        async with project.servers(2):
            await project.ran(other)
            await until(lambda: len(project.runs(name)) == 2)
    assert [note["code"] for note in project.notes(code={"$exists": True})] == ["one", "two"]


async def test_once_in_the_past_runs_once_and_late(project: Project) -> None:
    name, other = project.job("noted", scheduled("'2020-02-29T12:00:00Z'")), project.job("other")
    for _ in range(3):
        async with project.servers(2):
            await project.ran(other)
            await until(lambda: project.runs(name))
    (note,) = project.notes(code="one")
    assert note["due"].isoformat() == "2020-02-29T12:00:00+00:00"
    assert "nextRunAt" not in project.holder(name)


async def test_once_in_the_future_runs_then_and_not_before(project: Project) -> None:
    moment = project.now() + timedelta(seconds=1.5)
    name = project.job("noted", scheduled(f"datetime.fromisoformat('{moment.isoformat()}')"))
    async with project.server(process_every="1 hour"):
        (run,) = await until(lambda: project.runs(name))
    assert run["scheduledAt"] == moment
    assert moment <= run["startedAt"] < moment + timedelta(seconds=10)


async def test_manual_never_runs_by_itself_and_has_no_schedule_document(project: Project) -> None:
    name, other = project.job("noted", scheduled("'manual'")), project.job("other")
    async with project.server():
        await project.ran(other)
        assert project.holder(name) == {}
        assert project.notes(code="one") == []


async def test_a_run_that_was_missed_while_no_server_ran_is_made_up_once_by_the_first_that_starts(
    project: Project,
) -> None:
    name, other = project.job("noted", scheduled("'0 * * * *'")), project.job("other")
    async with project.server():
        pass
    missed = project.now() - timedelta(hours=30)
    project.jobs.update_one({"name": name}, {"$set": {"nextRunAt": missed}})
    async with project.servers(2):
        await until(lambda: project.runs(name))
        await project.ran(other)
    (note,) = project.notes(code="one")
    assert note["due"] == missed
    assert project.holder(name)["nextRunAt"] == Schedule.parse("0 * * * *").next_after(project.now())


@pytest.mark.parametrize("schedule", ["'0 0 1 1 *'", "timedelta(days=100)", "'2999-01-01T00:00:00Z'"])
async def test_a_restart_moves_no_schedule_and_fires_nothing_early(project: Project, schedule: str) -> None:
    name, other = project.job("noted", scheduled(schedule)), project.job("other")
    moments = []
    for _ in range(3):
        async with project.servers(2):
            await project.ran(other)
        moments.append(project.holder(name)["nextRunAt"])
    assert len(set(moments)) == 1
    assert moments[0] > project.now()
    assert project.notes(code="one") == []


async def test_an_interval_is_anchored_and_does_not_drift(project: Project) -> None:
    name = project.job("noted", scheduled("timedelta(seconds=1)"))
    async with project.servers(2):
        runs = await until(lambda: found if len(found := project.runs(name)) >= 3 else [])
    anchor = project.holder(name)["anchorAt"]
    assert all((run["scheduledAt"] - anchor) % timedelta(seconds=1) == timedelta() for run in runs)
    assert len({run["scheduledAt"] for run in runs}) == len(runs)


async def test_cron_with_seconds_first_runs_every_second(project: Project) -> None:
    name = project.job("noted", scheduled("'* * * * * *'"))
    async with project.server():
        runs = await until(lambda: found if len(found := project.runs(name)) >= 2 else [])
    assert all(run["scheduledAt"].microsecond == 0 <= run["duration"] for run in runs)


async def test_an_occurrence_that_comes_due_while_the_one_before_still_runs_is_not_started_and_said_so(
    project: Project, log: Records
) -> None:
    source = """
class Slow(Job):
    schedule = timedelta(seconds=1)
    async def run(self, db, context):
        await note(db, due=context.scheduled_at)
        await at_gate(db)
"""
    name = project.job("slow", source)
    async with project.servers(2):
        (first,) = await until(project.notes)
        missed = first["due"] + timedelta(seconds=1)
        await until(lambda: project.now() > missed + timedelta(seconds=0.2))
        assert len(project.notes()) == 1
        project.open()
        (_, second, *_) = await until(lambda: found if len(found := project.notes()) >= 2 else [])
    assert second["due"] > missed
    (warning, *_) = [record for record in log if record["event"] == "occurrence not started"]
    assert warning["log_level"] == "warning"
    assert warning["name"] == name
    assert warning["due"] == missed.isoformat()
    assert "still under way" in warning["reason"]


async def test_a_slow_first_run_does_not_keep_an_extra_one_from_running(project: Project) -> None:
    source = """
class Slow(Job):
    schedule = "0 0 1 1 *"
    async def run(self, db, context):
        await note(db, run=context.run_id)
        await at_gate(db)
"""
    name = project.job("slow", source)
    async with project.server():
        project.make_due(name)
        await until(project.notes)
        project.edit(name, {"$set": {"runNow": True}})
        await until(lambda: len(project.notes()) == 2)
        project.open()
        await until(lambda: len(project.runs(name)) == 2)


async def test_what_a_client_asks_for_is_picked_up_at_once_and_at_its_moment_whatever_the_polling(
    project: Project,
) -> None:
    name = project.job("noted")
    async with project.server(process_every="1 hour"), async_client(project.uri) as client:
        queue = JobClient(client[project.name])
        at_once = await queue.enqueue(name, {"n": 1})
        await project.ended(at_once)
        later = await queue.enqueue(name, {"n": 2}, delay=timedelta(seconds=1))
        due = project.document(later)["nextRunAt"]
        document = await project.ended(later)
        assert document["lastRunAt"] >= due
        many = await queue.enqueue_many([(name, {"n": n}) for n in range(50)])
        for id_ in many:
            await project.ended(id_)
    assert len(project.notes()) == 52


async def test_a_moment_that_was_not_yet_there_when_the_job_was_switched_off_is_still_owed(project: Project) -> None:
    name = project.job("noted", scheduled("'2999-01-01T00:00:00Z'"))
    async with project.servers(2) as servers:
        moment = project.holder(name)["nextRunAt"]
        for enabled in (False, True):
            project.edit(name, {"$set": {"enabled": enabled, "priority": int(enabled)}})
            await until(partial(all_are, servers, name, enabled))
            assert project.holder(name).get("nextRunAt") == (moment if enabled else None)


def all_are(servers: list[JobServer], name: str, enabled: bool) -> bool:
    return all(server.jobs[name].settings.enabled is enabled for server in servers)
