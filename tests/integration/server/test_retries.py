"""Failures and what follows them: the wait is in the document, so nothing here waits for it."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest

from jobserver import Schedule
from tests.project import Document, Project, until

FAILS = """
class Fails(Job):
    schedule = "{schedule}"
    retry = {retry}
    async def run(self, db, context, done):
        await note(db, attempt=context.attempt, at_moment=context.scheduled_at)
        {error}
"""
LUCK = "raise ValueError('no luck')"
YEARLY = "0 0 1 1 *"


def failing(retry: Any = None, *, error: str = LUCK, schedule: str = "manual") -> str:
    """The source of a job that fails."""
    return FAILS.format(retry=repr(retry), error=error, schedule=schedule)


async def failed_again(project: Project, id_: Any, count: int) -> Document:
    """The document after so many failures."""
    settled = {"_id": id_, "failCount": count, "lockedAt": {"$exists": False}}
    return await until(partial(project.jobs.find_one, settled))  # type: ignore[arg-type]


async def waits_of(project: Project, id_: Any) -> list[float]:
    """The seconds from each failure to the next attempt, which is brought forward, until there is none."""
    waits: list[float] = []
    while True:
        document = await failed_again(project, id_, len(waits) + 1)
        if "nextRunAt" not in document:
            return waits
        assert document["status"] == "scheduled"
        wait: timedelta = document["nextRunAt"] - document["lastFinishedAt"]
        waits.append(wait.total_seconds())
        project.bring_forward(id_)


@pytest.mark.parametrize(
    ("retry", "waits"),
    [
        ({"attempts": 3, "delay": 60_000, "backoff": {"type": "exponential", "factor": 2}}, [60, 120, 240]),
        ({"attempts": 3, "delay": 60_000}, [60, 120, 240]),
        ({"attempts": 3, "delay": "1 minute", "backoff": "linear"}, [60, 120, 180]),
        ({"attempts": 2, "delay": 60_000, "backoff": {"type": "fixed"}}, [60, 60]),
        ({"attempts": 3, "delay": 60_000, "backoff": {"type": "exponential", "maxDelay": 100_000}}, [60, 100, 100]),
        ({"enabled": False, "attempts": 3, "delay": 60_000}, []),
        (None, []),
    ],
    ids=["full", "short", "linear", "fixed", "capped", "off", "none"],
)
async def test_attempts_are_the_retries_after_the_first_run_each_after_its_wait(
    project: Project, retry: Any, waits: list[float]
) -> None:
    name = project.job("fails", failing(retry))
    async with project.server():
        id_ = project.enqueue(name)
        assert await waits_of(project, id_) == waits
        document = project.document(id_)
        assert document["status"] == "failed"
        assert document["failCount"] == document["runCount"] == len(waits) + 1
        assert [note["attempt"] for note in project.notes()] == list(range(1, len(waits) + 2))


@pytest.mark.parametrize("by", ["raise {0}", "done({0})"], ids=["raised", "handed to done"])
async def test_the_kind_of_error_decides_over_the_policy(project: Project, by: str) -> None:
    policy = {"attempts": 2, "delay": 1000, "backoff": "fixed"}
    kinds: list[tuple[str, Any, list[float], str]] = [
        ("RetryableError('busy')", None, [300, 300, 300], "failed"),
        ("RetryableError('busy')", policy, [1, 1], "failed"),
        ("FatalError('wrong')", policy, [], "failed"),
        ("JobCancelled('enough')", policy, [], "cancelled"),
    ]
    names = [
        project.job(f"case{number}", failing(retry, error=by.format(error)))
        for number, (error, retry, *_) in enumerate(kinds)
    ]
    async with project.server():
        for name, (error, _, waits, status) in zip(names, kinds, strict=True):
            id_ = project.enqueue(name)
            if status == "failed":
                assert await waits_of(project, id_) == waits, error
            document = await project.ended(id_, status)
            assert ("failedAt" in document) is (status == "failed")
            assert "nextRunAt" not in document
            (run, *_) = await until(partial(project.runs, name))
            assert run["status"] == status


async def test_each_occurrence_of_a_recurring_job_has_all_its_retries_and_none_loses_the_schedule(
    project: Project,
) -> None:
    name = project.job("fails", failing({"attempts": 1, "delay": 60_000}, schedule=YEARLY))
    regular = Schedule.parse(YEARLY).next_after(project.now())
    async with project.server():
        for occurrence in range(3):
            id_ = project.make_due(name)["_id"]
            retried = await failed_again(project, id_, 2 * occurrence + 1)
            assert retried["nextRunAt"] - retried["lastFinishedAt"] == timedelta(minutes=1)
            assert retried["status"] == "scheduled"
            project.bring_forward(id_)
            given_up = await failed_again(project, id_, 2 * occurrence + 2)
            assert given_up["status"] == "failed"
            assert given_up["nextRunAt"] == regular
    notes = project.notes()
    assert [note["attempt"] for note in notes] == [1, 2] * 3
    moments: list[datetime] = [note["at_moment"] for note in notes]
    assert moments[::2] == moments[1::2]


async def test_the_next_occurrence_takes_the_place_of_a_retry_that_would_come_after_it(project: Project) -> None:
    name = project.job("fails", failing({"attempts": 5, "delay": "20 days"}, schedule="0 * * * *"))
    async with project.server():
        document = await failed_again(project, project.make_due(name)["_id"], 1)
        assert document["nextRunAt"] == Schedule.parse("0 * * * *").next_after(document["lastFinishedAt"])
        assert document["status"] == "failed"
        project.make_due(name)
        await failed_again(project, document["_id"], 2)
    assert [note["attempt"] for note in project.notes()] == [1, 1]


async def test_a_retry_whose_schedule_was_taken_away_meanwhile_still_ends(project: Project) -> None:
    name = project.job("fails", failing({"attempts": 1, "delay": 60_000}, schedule=YEARLY))
    async with project.server() as server:
        id_ = project.make_due(name)["_id"]
        await failed_again(project, id_, 1)
        project.edit(name, {"$set": {"schedule": "manual"}})
        await until(lambda: server.jobs[name].settings.schedule == Schedule.parse("manual"))
        document = project.document(id_)
        assert "nextRunAt" not in document
        assert "attempt" not in document


async def test_the_next_success_removes_the_failure_but_not_its_count(project: Project) -> None:
    source = """
class Flaky(Job):
    schedule = "0 0 1 1 *"
    async def run(self, db):
        await note(db)
        if await db.notes.count_documents({}) % 2:
            raise ValueError("no luck")
"""
    name = project.job("flaky", source)
    async with project.server():
        id_ = project.make_due(name)["_id"]
        failed = await failed_again(project, id_, 1)
        assert {"failedAt", "lastError", "failReason", "stack"} <= set(failed)
        assert "lastCompletedAt" not in failed
        project.make_due(name)
        document = await until(lambda: project.jobs.find_one({"_id": id_, "status": "completed"}))
        assert not {"failedAt", "lastError", "failReason", "stack"} & set(document)
        assert document["failCount"] == 1
        assert document["finishedCount"] == 1
        assert document["lastCompletedAt"] == document["lastFinishedAt"]
        project.make_due(name)
        again = await failed_again(project, id_, 2)
        assert again["lastCompletedAt"] == document["lastCompletedAt"]


async def test_a_cancelled_occurrence_is_no_failure_and_the_next_one_comes(project: Project) -> None:
    name = project.job("fails", failing({"attempts": 3}, error="raise JobCancelled('not needed')", schedule=YEARLY))
    async with project.server():
        id_ = project.make_due(name)["_id"]
        document = await project.ended(id_, "cancelled")
        assert document["cancelReason"] == "not needed"
        assert document["nextRunAt"] == Schedule.parse(YEARLY).next_after(project.now())
        assert "failCount" not in document
        (run,) = await until(lambda: project.runs(name))
        assert (run["status"], run["attempt"]) == ("cancelled", 1)


async def test_an_uncaught_error_now_and_then_never_ends_a_recurring_job(project: Project) -> None:
    name = project.job("fails", failing(schedule=YEARLY))
    async with project.server():
        for count in range(1, 13):
            document = await failed_again(project, project.make_due(name)["_id"], count)
            assert document["nextRunAt"] > project.now()
