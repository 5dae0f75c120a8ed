"""How many runs at once, and which of them first."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any

import pytest

from tests.project import Project, until

HELD = """
class Held(Job):
    schedule = "manual"
    {extra}
    async def run(self, db, context, data):
        began = await note(db, job=context.name, data=data)
        await at_gate(db)
        await db.notes.update_one({{"_id": began.inserted_id}}, {{"$set": {{"ended_at": datetime.now(UTC)}}}})
"""
SHORT = """
class Short(Job):
    schedule = "manual"
    {extra}
    async def run(self, db, context, data):
        began = await note(db, job=context.name, data=data)
        await asyncio.sleep(0.02)
        await db.notes.update_one({{"_id": began.inserted_id}}, {{"$set": {{"ended_at": datetime.now(UTC)}}}})
"""
UNLIMITED = {"max_concurrency": 100, "default_concurrency": 100, "lock_limit": 0, "default_lock_limit": 0}


def held(extra: str = "") -> str:
    """A job that waits at the gate."""
    return HELD.format(extra=extra)


def most_at_once(notes: list[Any]) -> int:
    """The largest number of these runs that overlapped."""
    turns = sorted([(note["at"], 1) for note in notes] + [(note["ended_at"], -1) for note in notes])
    running = most = 0
    for _, turn in turns:
        running += turn
        most = max(most, running)
    return most


async def test_the_defaults_in_code_run_one_job_at_a_time(project: Project) -> None:
    names = [project.job(stem, SHORT.format(extra="")) for stem in ("first", "second")]
    async with project.server(max_concurrency=1, default_concurrency=1, lock_limit=1, default_lock_limit=1):
        for _ in range(6):
            for name in names:
                project.enqueue(name)
        notes = await until(lambda: found if len(found := project.notes(ended_at={"$exists": True})) == 12 else [])
    assert most_at_once(notes) == 1


@pytest.mark.parametrize(
    ("limits", "extra", "expected"),
    [
        ({"max_concurrency": 5}, "", {"api:a": 5}),
        ({"default_concurrency": 3}, "", {"api:a": 3, "api:b": 3}),
        ({"default_concurrency": 3}, "concurrency = 2", {"api:a": 2, "api:b": 3}),
        ({"lock_limit": 4}, "", {"api:a": 4}),
        ({"default_lock_limit": 2}, "", {"api:a": 2, "api:b": 2}),
        ({"default_lock_limit": 2, "max_concurrency": 3}, "", {"api:a": 2, "api:b": 1}),
        ({}, "", {"api:a": 10, "api:b": 10}),
    ],
    ids=["max_concurrency", "default_concurrency", "concurrency", "lock_limit", "default_lock_limit", "two", "none"],
)
async def test_each_limit_holds_and_all_come_to_their_turn(
    project: Project, limits: dict[str, int], extra: str, expected: dict[str, int]
) -> None:
    first, second = project.job("a", held(extra)), project.job("b", held())
    for _ in range(10):
        project.enqueue(first, priority=5)
    for _ in range(10):
        project.enqueue(second)
    async with project.server(**(UNLIMITED | limits)):
        await until(lambda: len(project.notes()) >= sum(expected.values()))
        assert Counter(note["job"] for note in project.notes()) == expected
        project.open()
        await until(lambda: project.jobs.count_documents({"status": "completed"}) == 20)
    # A run too many would have stood at the gate together with the others, or passed it with them.
    notes = project.notes()
    assert Counter(note["job"] for note in notes) == {first: 10, second: 10}
    assert most_at_once(notes) == sum(expected.values())


async def test_a_limit_across_all_servers_holds_on_all_of_them_together(project: Project) -> None:
    name, other = project.job("a", SHORT.format(extra="global_concurrency = 3")), project.job("noted")
    async with project.servers(3, **UNLIMITED):
        for _ in range(60):
            project.enqueue(name)
        notes = await until(lambda: found if len(found := project.notes(ended_at={"$exists": True})) == 60 else [])
        await project.ran(other)
    assert 1 <= most_at_once(notes) <= 3
    assert project.jobs.count_documents({"globalSlot": {"$exists": True}}) == 0


async def test_a_limit_across_all_servers_can_be_moved_by_hand(project: Project) -> None:
    name, other = project.job("a", held("global_concurrency = 2")), project.job("noted")
    async with project.servers(2, **UNLIMITED):
        for _ in range(10):
            project.enqueue(name)
        await until(lambda: len(project.notes(job=name)) == 2)
        await project.ran(other)
        assert len(project.notes(job=name)) == 2
        project.edit(name, {"$set": {"globalConcurrency": 5}})
        await until(lambda: len(project.notes(job=name)) == 5)
        await project.ran(other)
        assert len(project.notes(job=name)) == 5
        project.open()
        await until(lambda: len(project.runs(name)) == 10)


async def test_limits_come_back_after_failures_lost_locks_and_deleted_documents(project: Project) -> None:
    source = """
class Ends(Job):
    schedule = "manual"
    concurrency = 3
    async def run(self, db, data, progress):
        await note(db, data=data)
        if data["how"] == "fails":
            raise ValueError("no luck")
        if data["how"] == "cancelled":
            raise JobCancelled("enough")
        while data["how"] == "deleted":
            await progress(1, 0)
            await asyncio.sleep(0.01)
        await at_gate(db)
"""
    name = project.job("ends", source)
    async with project.server(max_concurrency=3, lock_limit=3, default_lock_limit=3):
        for how in ("fails", "cancelled", "deleted", "fails", "deleted", "cancelled", "deleted"):
            id_ = project.enqueue(name, {"how": how})
            if how == "deleted":
                await until(lambda id_=id_: "lockToken" in project.document(id_))  # type: ignore[misc]
                project.jobs.delete_one({"_id": id_})
            else:
                await project.ended(id_, {"fails": "failed", "cancelled": "cancelled"}[how])
        for _ in range(4):
            project.enqueue(name, {"how": "waits"})
        await until(lambda: len(project.notes(data={"how": "waits"})) == 3)


async def test_a_slow_job_with_a_long_line_does_not_delay_another(project: Project) -> None:
    slow, quick = project.job("slow", held("concurrency = 2")), project.job("quick")
    async with project.server(max_concurrency=3):
        for _ in range(200):
            project.enqueue(slow, priority=20)
        await until(lambda: len(project.notes(job=slow)) == 2)
        for _ in range(5):
            await project.ran(quick)
        assert len(project.notes(job=slow)) == 2


async def test_among_due_jobs_the_highest_priority_starts_first_then_the_earliest_due(project: Project) -> None:
    name, other = project.job("noted"), project.job("other")
    now = project.now()
    before = [(name, -10, n) for n in range(1000)]
    order = [(name, 10, "first"), (name, 0, "third"), (other, 5, "second"), (name, 0, "fourth")]
    documents = [
        {"name": job, "type": "normal", "status": "queued", "priority": priority, "data": {"n": n}}
        | {"nextRunAt": now - timedelta(minutes=1) + timedelta(milliseconds=number)}
        for number, (job, priority, n) in enumerate([*before, *order])
    ]
    async with project.server(max_concurrency=1, default_concurrency=1):
        # At once, and for a server that knows both jobs: else it would begin with what it sees first.
        with project.client.start_session() as session, session.start_transaction():
            project.jobs.insert_many(documents, session=session)
        await until(lambda: len(project.notes()) >= 5)
    assert [note["data"]["n"] for note in project.notes()][:4] == ["first", "second", "third", "fourth"]


async def test_the_order_can_be_earliest_due_first(project: Project) -> None:
    name = project.job("noted")
    moments = [project.now() for _ in range(3)]
    for word, moment, priority in zip("abc", moments, (0, 20, 10), strict=True):
        project.enqueue(name, {"n": word}, priority=priority, nextRunAt=moment)
    async with project.server(max_concurrency=1, default_concurrency=1, sort={"nextRunAt": 1, "priority": -1}):
        await until(lambda: len(project.notes()) == 3)
    expected = sorted("abc", key=lambda word: (moments["abc".index(word)], {"a": 0, "b": -20, "c": -10}[word]))
    assert [note["data"]["n"] for note in project.notes()] == expected
