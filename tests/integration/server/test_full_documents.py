"""Documents so large that MongoDB takes not a word more into them: each is its own affair, and is told."""

from __future__ import annotations

from typing import Any

import bson
import pytest

from tests.project import Document, Project, Records, until

LARGEST = 16 * 1024 * 1024
YEARLY = "0 0 1 1 *"
GROWS = """
class Grows(Job):
    schedule = "manual"
    async def run(self, db, data, context):
        document = await db.pulseJobs.find_one({"name": context.name, "type": "normal"})
        room = 16 * 1024 * 1024 - len(__import__("bson").encode(document)) - data["left"]
        await db.pulseJobs.update_one({"_id": document["_id"]}, {"$set": {"big": "x" * (room - 20)}})
        if data["raises"]:
            raise ValueError("y" * 3_000)
        return "z" * 500_000
"""


def filled(document: Document, *, left: int) -> Document:
    """The same with a field that leaves room for so many bytes."""
    return {**document, "note": "x" * (LARGEST - len(bson.encode({**document, "note": ""})) - left)}


async def test_a_full_configuration_counts_as_far_as_it_is_valid_and_stands_in_no_other_ones_way(
    project: Project, log: Records
) -> None:
    name, other = project.job("noted", schedule=YEARLY), project.job("other")
    async with project.servers(2) as servers:
        full = filled({**project.config(name), "concurrency": "many", "priority": 3}, left=10)
        project.configs.replace_one({"jobName": name}, full)
        for count in (7, 8, 9):  # each is another look at all of them
            project.edit(other, {"$set": {"concurrency": count}})
            await until(lambda count=count: all(each.jobs[other].settings.concurrency == count for each in servers))  # type: ignore[misc]
        assert all(each.jobs[name].settings.priority == 3 for each in servers)
        assert project.config(name) == full
        refused = [each for each in log if each["event"] == "config refused"]
        assert [(each["name"], each["field"]) for each in refused] == [(name, "concurrency")] * len(servers)
        told = [each for each in log if each["event"] == "config full"]
        assert [each["name"] for each in told] == [name] * len(servers)
    async with project.server() as late:  # neither does it keep a server from starting
        assert late.jobs[name].settings.priority == 3
        project.job("noted", schedule="30 4 * * *")
        await until(lambda: late.jobs[name].definition.defaults.schedule.value == "30 4 * * *")
        await project.ran(name)
        project.remove("noted")
        await until(lambda: name not in late.jobs)


@pytest.mark.parametrize("raises", [False, True], ids=["returns", "raises"])
@pytest.mark.parametrize("left", [0, 2_500])
async def test_a_run_that_has_filled_its_document_has_failed_for_that_reason_and_others_go_on(
    project: Project, log: Records, raises: bool, left: int
) -> None:
    name, other = project.job("grows", GROWS), project.job("other")
    async with project.server():
        id_ = project.enqueue(name, {"left": left, "raises": raises})
        document = await project.ended(id_, "failed")
        assert document["lastError"] == "no room for its end: over 16 MB"
        assert "nextRunAt" not in document
        (run,) = await until(lambda: project.runs(name))
        assert (run["status"], run["error"]) == ("failed", "no room for its end: over 16 MB")
        await project.ran(other)
    assert [each for each in log if each["event"] == "mongodb away"] == []


async def test_a_full_document_keeps_no_other_lock_of_a_dead_server_from_being_taken_back(project: Project) -> None:
    name = project.job("noted")
    moment = project.now()
    locked: dict[str, Any] = {"name": name, "type": "normal", "nextRunAt": moment, "priority": 0, "status": "running"}
    locked |= {"lockToken": "t" * 32, "lockedBy": "here:1:dead", "lockedAt": moment, "lockUntil": moment}
    locked |= {"fence": 1, "attempt": 1, "runCount": 1, "lastRunAt": moment, "scheduledFor": moment}
    project.jobs.insert_one(filled({"_id": 1, **locked}, left=0))
    project.jobs.insert_one({"_id": 2, **locked})
    async with project.server(lease="1 second"):
        await project.ended(2)
        full = await project.ended(1, "failed")
    assert full["lastError"] == "no room for its end: over 16 MB"
    assert "nextRunAt" not in full


async def test_a_list_of_names_is_shown_as_wrong_and_told_once(project: Project, log: Records) -> None:
    name, other = project.job("noted", schedule=YEARLY), project.job("other")
    async with project.server() as server:
        project.edit(name, {"$set": {"jobName": [name]}})
        shown = await until(lambda: project.configs.find_one({"configError.field": "jobName"}))
        for count in (7, 8, 9):
            project.edit(other, {"$set": {"concurrency": count}})
            await until(lambda count=count: server.jobs[other].settings.concurrency == count)  # type: ignore[misc]
        assert project.configs.find_one({"_id": shown["_id"]}) == shown
        assert [each for each in log if each["event"] == "config recreated"] == []
        assert len([each for each in log if each["event"] == "config refused"]) == 1
