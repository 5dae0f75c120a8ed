"""`jobserver tasks` and `jobserver cancel`: what a person sees of tasks, and ends."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from pymongo import MongoClient

from jobserver import Schedule, SyncJobClient
from tests.integration.conftest import Project, a_project

HOUR = timedelta(hours=1)


@pytest.fixture
def project(
    tmp_path_factory: pytest.TempPathFactory, mongo_client: MongoClient[dict[str, Any]], mongo_uri: str
) -> Iterator[Project]:
    """No server runs: tasks are documents."""
    with a_project(tmp_path_factory.mktemp("tasks") / "project", mongo_client, mongo_uri) as project:
        yield project


@pytest.fixture
def client(project: Project, mongo_client: MongoClient[dict[str, Any]]) -> SyncJobClient:
    return SyncJobClient(mongo_client[project.database])


def test_tasks_are_listed_with_when_they_recur_and_after_what_they_start(
    project: Project, client: SyncJobClient
) -> None:
    first = client.schedule("api:sync", {"n": 1}, recurrence=Schedule.parse("every monday at 9:00", "Europe/Berlin"))
    then = client.schedule("api:report", start_after=first, recurrence=True)
    answer = project.asked("tasks")
    assert [task["id"] for task in answer["tasks"]] == [str(then.id), str(first.id)]
    assert [task["recurrence_text"] for task in answer["tasks"]] == [
        "with the task before it",
        first.recurrence.describe() if first.recurrence else None,
    ]
    assert answer["tasks"][1]["recurrence"] == {**Schedule.parse("every monday at 9:00", "Europe/Berlin").to_document()}
    table = project.call("tasks").stdout
    assert f"after {first.id}" in table
    assert [task["id"] for task in project.asked("tasks", "api:sync")["tasks"]] == [str(first.id)]
    assert project.asked("tasks", "--status", "cancelled")["tasks"] == []


def test_a_cancelled_task_says_so_and_takes_what_waits_for_it_along(project: Project, client: SyncJobClient) -> None:
    first = client.schedule("api:sync", recurrence=HOUR)
    then = client.schedule("api:report", start_after=first)
    assert f"{first.id}  api:sync  cancelled" in project.call("cancel", str(first.id)).stdout
    assert "cancelled: task" in project.call("tasks", "api:report").stdout
    assert [task["status"] for task in project.asked("tasks")["tasks"]] == ["cancelled", "cancelled"]
    assert project.asked("cancel", str(then.id))["cancelled"][0]["status"] == "cancelled"
    assert f"task {first.id}, after which it starts, was c" in project.call("runs", "api:report").stdout
    assert "was cancelled" in project.asked("runs", "api:report")["runs"][0]["reason"]


def test_one_run_is_told_to_stop_by_its_own_id(
    project: Project, client: SyncJobClient, mongo_client: MongoClient[dict[str, Any]]
) -> None:
    task = client.schedule("api:sync", recurrence=HOUR)
    # As a claim of some server leaves it.
    held = {"status": "running", "lockToken": "t", "lockedBy": "server", "lockedAt": task.created_at, "fence": 7}
    jobs = mongo_client[project.database].pulseJobs
    jobs.update_one({"_id": task.id}, {"$set": held})
    assert f"{task.id}:7  runs; it was told to stop" in project.call("cancel", f"{task.id}:7").stdout
    assert (jobs.find_one({"_id": task.id}) or {})["cancelRequest"]["token"] == "t"
    assert project.asked("cancel", f"{task.id}:7")["stopping"] == [f"{task.id}:7"]
    assert f"no run '{task.id}:6': it does not run now" in project.refused("cancel", f"{task.id}:6")
    assert f"{task.id}  api:sync  runs; it was told to stop" in project.call("cancel", str(task.id)).stdout


def test_mistakes_are_named(project: Project) -> None:
    assert "no task '6740c2f09b1e8a5d3c7f1a20'" in project.refused("cancel", "6740c2f09b1e8a5d3c7f1a20")
    assert "did you mean 'cancelled'" in project.refused("tasks", "--status", "canceled")
    assert "no tasks" in project.call("tasks").stdout
