"""Tasks on whole servers: they recur, follow one another, and say what is wrong where a person looks."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from jobserver import SyncJobClient
from tests.project import Project, until

SECOND = timedelta(seconds=1)
NO_SWEEP = "10 minutes"  # a lease with which the reaper does not come again while a test waits

LAST = """
class Last(Job):
    schedule = "manual"
    async def run(self, db, context, data):
        await note(db, task=data["n"], last=context.last_completed_at, due=context.scheduled_at)
        if data.get("fails"):
            raise RuntimeError("this time not")
"""


@pytest.fixture
def client(project: Project) -> SyncJobClient:
    return SyncJobClient(project.db)


def statuses(client: SyncJobClient) -> dict[Any, str]:
    """By the number in the task's data."""
    return {task.data["n"]: task.status for task in client.tasks()}


async def test_a_task_recurs_with_its_arguments_and_learns_when_it_last_went_well(
    project: Project, client: SyncJobClient
) -> None:
    project.job("last", LAST)
    task = client.schedule("api:last", {"n": 1}, recurrence=SECOND)
    async with project.servers(2):
        first, second, third = (await until(lambda: found if len(found := project.notes()) >= 3 else []))[:3]
        client.cancel(task)
    made = project.document(task.id)["anchorAt"]
    assert first["last"] is None
    assert first["due"] < second["last"] < third["last"]
    assert all((note["due"] - made) % SECOND == timedelta() for note in (first, second, third))


async def test_the_last_success_is_told_and_not_the_last_run(project: Project, client: SyncJobClient) -> None:
    project.job("last", LAST)
    task = client.schedule("api:last", {"n": 1, "fails": True}, recurrence=SECOND)
    async with project.server():
        await until(lambda: len(project.notes()) >= 2)
        client.cancel(task)
    assert {note["last"] for note in project.notes()} == {None}


async def test_a_chain_goes_on_at_once(project: Project, client: SyncJobClient) -> None:
    """The sweep comes once a minute: it is the end of the run before that starts what follows."""
    project.job("last", LAST)
    async with project.server(process_every="1 hour", lease=NO_SWEEP):
        first = client.schedule("api:last", {"n": 1}, start_at=project.now() + SECOND)
        second = client.schedule("api:last", {"n": 2}, start_after=first)
        third = client.schedule("api:last", {"n": 3}, start_after=second)
        await project.ended(third.id)
    assert [note["task"] for note in project.notes()] == [1, 2, 3]


@pytest.mark.parametrize("length", [timedelta(), 2 * SECOND], ids=["short", "long"])
async def test_what_is_scheduled_after_a_run_that_is_under_way_follows_it(
    project: Project, client: SyncJobClient, length: timedelta
) -> None:
    project.job("last", LAST)
    source = "class Slow(Job):\n    schedule = 'manual'\n    async def run(self, db):\n        await at_gate(db)\n"
    project.job("slow", source)
    async with project.server(lease=NO_SWEEP):
        slow = client.schedule("api:slow")
        await until(lambda: project.document(slow.id)["status"] == "running")
        begun = project.document(slow.id)["lastRunAt"]
        after = client.schedule("api:last", {"n": 1}, start_after=slow)
        await until(lambda: project.now() > begun + length)
        project.open()
        await project.ended(after.id)


async def test_a_failure_takes_the_rest_of_the_chain_along(project: Project, client: SyncJobClient) -> None:
    project.job("last", LAST)
    async with project.server():
        first = client.schedule("api:last", {"n": 1, "fails": True}, start_at=project.now() + SECOND)
        second = client.schedule("api:last", {"n": 2}, start_after=first)
        client.schedule("api:last", {"n": 3}, start_after=second)
        await until(lambda: statuses(client) == {1: "failed", 2: "cancelled", 3: "cancelled"})
    assert [note["task"] for note in project.notes()] == [1]
    assert [run["status"] for run in project.runs("api:last")] == ["failed", "cancelled", "cancelled"]


async def test_a_task_of_a_disabled_job_skips_its_occurrences_and_goes_on_when_it_is_enabled(
    project: Project, client: SyncJobClient
) -> None:
    name = project.job("last", LAST)
    async with project.server():
        await until(lambda: project.config(name))
        project.edit(name, {"$set": {"enabled": False}})
        client.schedule(name, {"n": 1}, recurrence=SECOND)
        (skipped, *_) = await until(lambda: project.runs(name, status="skipped"))
        assert (skipped["reason"], project.notes()) == ("its job is disabled", [])
        project.edit(name, {"$set": {"enabled": True}})
        await until(project.notes)


async def test_a_recurrence_that_cannot_be_read_fails_its_task_and_names_the_reason(
    project: Project, client: SyncJobClient
) -> None:
    name = project.job("last", LAST)
    task = client.schedule(name, {"n": 1}, recurrence=SECOND)
    project.jobs.update_one({"_id": task.id}, {"$set": {"recurrence": {"type": "schedule", "value": "99 * * * *"}}})
    async with project.server():
        document = await project.ended(task.id, "failed")
        await project.ended(client.schedule(name, {"n": 2}).id)
    assert document["lastError"].startswith("recurrence.value: minute")
    assert [note["task"] for note in project.notes()] == [2]


async def test_a_task_that_is_cancelled_while_it_runs_ends_its_run_and_is_over(
    project: Project, client: SyncJobClient
) -> None:
    source = """
class Slow(Job):
    schedule = "manual"
    async def run(self, db):
        await note(db)
        await at_gate(db)
"""
    name = project.job("slow", source)
    async with project.server():
        task = client.schedule(name, recurrence=SECOND)
        await until(project.notes)
        client.cancel(task)
        project.open()
        document = await project.ended(task.id)
    assert ("nextRunAt" in document, len(project.notes())) == (False, 1)
