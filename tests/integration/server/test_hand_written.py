"""Job documents that a hand or a Pulse worker has written, sound ones and whatever else fits into BSON."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from bson import Binary, Code, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.datetime_ms import DatetimeMS
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from pymongo.errors import DuplicateKeyError, WriteError

from jobserver import Schedule
from tests.project import Project, until

FAILS = """
class Fails(Job):
    schedule = "manual"
    async def run(self, db, context):
        await note(db, attempt=context.attempt)
        raise ValueError("no luck")
"""


async def ran_once(project: Project, id_: Any) -> Any:
    """The document once it was run."""
    return await until(partial(project.jobs.find_one, {"_id": id_, "status": "completed", "runCount": 1}))


@pytest.mark.parametrize(
    "id_",
    [ObjectId("0" * 24), "a word", 7, {"of": "parts"}, Binary(b"bytes"), 1.5, datetime(2020, 1, 1, tzinfo=UTC)],
    ids=repr,
)
async def test_a_document_of_a_name_and_a_moment_is_run_whatever_its_id(project: Project, id_: Any) -> None:
    name = project.job("noted")
    async with project.server():
        project.jobs.insert_one({"_id": id_, "name": name, "nextRunAt": project.now()})
        document = await ran_once(project, id_)
        assert not {"nextRunAt", "lockedAt", "lockToken", "lockedBy", "lockUntil", "failedAt"} & set(document)
        assert document["lastFinishedAt"] >= document["lastRunAt"]
        (note,) = project.notes()
        assert note["data"] == {}


async def test_a_moment_before_every_epoch_is_due(project: Project) -> None:
    name = project.job("noted")
    async with project.server():
        for moment in (datetime(1, 1, 2, tzinfo=UTC), datetime(1969, 7, 20, tzinfo=UTC)):
            await ran_once(project, project.jobs.insert_one({"name": name, "nextRunAt": moment}).inserted_id)


@pytest.mark.parametrize("moment", [None, "now", 0, DatetimeMS(2**60)], ids=["null", "text", "number", "far away"])
async def test_what_is_no_moment_that_has_come_is_left_alone(project: Project, moment: Any) -> None:
    name = project.job("noted")
    async with project.server():
        written = {"_id": 1, "name": name, "nextRunAt": moment, "priority": 0}
        project.jobs.insert_one(written)
        await project.ran(name)
        assert len(project.notes()) == 1
        assert project.jobs.count_documents({"_id": 1, "lastRunAt": {"$exists": False}}) == 1


async def test_a_document_of_pulse_is_run_and_pulse_can_read_what_became_of_it(project: Project) -> None:
    name = project.job("noted")
    pulse = {
        "name": name,
        "data": {"to": "somebody"},
        "type": "normal",
        "priority": 10,
        "nextRunAt": project.now(),
        "lockedAt": None,
        "lastModifiedBy": "a node process",
        "shouldSaveResult": True,
        "attempts": 0,
        "backoff": {"type": "exponential", "delay": 1000},
    }
    async with project.server():
        id_ = project.jobs.insert_one(dict(pulse)).inserted_id
        document = await ran_once(project, id_)
    assert {key: document[key] for key in pulse if key not in ("nextRunAt", "lockedAt")} == {
        key: value for key, value in pulse.items() if key not in ("nextRunAt", "lockedAt")
    }
    assert (document["runCount"], document["finishedCount"]) == (1, 1)
    assert project.notes()[0]["data"] == {"to": "somebody"}


async def test_attempts_and_backoff_of_a_pulse_document_count_for_that_document(project: Project) -> None:
    name = project.job("fails", FAILS)
    due = {"name": name, "type": "normal", "priority": 0, "nextRunAt": project.now(), "lockedAt": None}
    id_ = project.jobs.insert_one({**due, "attempts": 2, "backoff": {"type": "exponential", "delay": 60_000}})
    plain = project.jobs.insert_one({**due, "attempts": 0}).inserted_id
    async with project.server():
        for count, wait in ((1, 60), (2, 120)):
            settled = {"_id": id_.inserted_id, "failCount": count, "lockedAt": None}
            document: Any = await until(partial(project.jobs.find_one, settled))
            assert document["nextRunAt"] - document["lastFinishedAt"] == timedelta(seconds=wait)
            assert document["failReason"] == "no luck"
            assert document["failedAt"] == document["lastFinishedAt"]
            project.bring_forward(id_.inserted_id)
        assert (await project.ended(id_.inserted_id, "failed"))["failCount"] == 3
        assert (await project.ended(plain, "failed"))["failCount"] == 1


@pytest.mark.parametrize("interval", ["*/5 * * * *", 300_000, "5 minutes"])
async def test_a_recurring_document_of_pulse_goes_on_by_its_own_interval(project: Project, interval: Any) -> None:
    name = project.job("noted")
    due = project.now() - timedelta(minutes=1)
    every = {"name": name, "type": "single", "priority": 0, "nextRunAt": due, "lockedAt": None}
    async with project.server():
        id_ = project.jobs.insert_one({**every, "repeatInterval": interval, "repeatTimezone": None}).inserted_id
        document = await ran_once(project, id_)
        ahead = document["nextRunAt"] - document["lastFinishedAt"]
        assert timedelta() < ahead <= timedelta(minutes=5)
        if interval == "*/5 * * * *":
            assert document["nextRunAt"] == Schedule.parse(interval).next_after(document["lastFinishedAt"])
        assert document["repeatInterval"] == interval


async def test_a_disabled_document_waits_until_it_is_enabled(project: Project) -> None:
    name = project.job("noted")
    async with project.server():
        id_ = project.jobs.insert_one({"name": name, "nextRunAt": project.now(), "disabled": True}).inserted_id
        await project.ran(name)
        assert "lastRunAt" not in project.document(id_)
        project.jobs.update_one({"_id": id_}, {"$set": {"disabled": False}})
        await ran_once(project, id_)


async def test_documents_of_jobs_that_nobody_here_knows_are_left_alone(project: Project) -> None:
    name = project.job("noted")
    theirs = {"_id": 1, "name": "sendMail", "type": "normal", "nextRunAt": project.now(), "lockedAt": None}
    locked = {"_id": 2, "name": "sendMail", "type": "normal", "nextRunAt": None, "lockedAt": datetime(2020, 1, 1)}  # noqa: DTZ001
    project.jobs.insert_many([theirs, locked])
    before = [project.document(1), project.document(2)]
    async with project.server(lease="1 second"):
        await project.ran(name)
    assert [project.document(1), project.document(2)] == before


async def test_a_lock_of_a_pulse_worker_is_respected_for_the_lock_lifetime_and_then_taken_back(
    project: Project,
) -> None:
    name, other = project.job("noted"), project.job("other")
    due = {"name": name, "type": "normal", "priority": 0, "nextRunAt": project.now()}
    fresh = project.jobs.insert_one({**due, "lockedAt": project.now()}).inserted_id
    stale = project.jobs.insert_one({**due, "lockedAt": project.now() - timedelta(hours=2)}).inserted_id
    async with project.server(lease="2 seconds"):
        await ran_once(project, stale)
        await project.ran(other)
    assert "lastRunAt" not in project.document(fresh)
    assert "lockedAt" in project.document(fresh)


async def test_a_deleted_schedule_document_comes_back(project: Project) -> None:
    name = project.job("noted", schedule="0 0 1 1 *")
    async with project.server() as server:
        project.jobs.delete_one({"name": name, "type": "single"})
        project.edit(name, {"$set": {"schedule": "30 4 * * *"}})
        await until(lambda: server.jobs[name].settings.schedule == Schedule.parse("30 4 * * *"))
        assert project.holder(name)["nextRunAt"] > project.now()


values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**63 - 1).map(Int64),
        st.integers(-100, 100),
        st.floats(),
        st.text(max_size=20),
        st.sampled_from(["$name", "now", "manual", "0 0 * * *", "every day", "9" * 400, "5 minutes", "api:hit"]),
        st.datetimes(timezones=st.just(UTC)),
        st.integers(-(2**62), 2**62).map(DatetimeMS),
        st.sampled_from([Decimal128("NaN"), Decimal128("1E+6000"), MinKey(), MaxKey(), Timestamp(1, 1), Code("x")]),
        st.just(Regex("^a")),
        st.binary(max_size=10),
        st.builds(ObjectId),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text("abc$.{type}", max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)
JOB_FIELDS = (
    *("type", "data", "priority", "nextRunAt", "status", "lockedAt", "lockedBy", "lockToken", "lockUntil", "fence"),
    *("scheduledFor", "attempt", "crashes", "failCount", "runCount", "finishedCount", "lastRunAt", "anchorAt"),
    *("repeatInterval", "repeatTimezone", "attempts", "backoff", "scheduleKey", "rearmAt", "heldRunAt", "disabled"),
    *("progress", "progressData", "expireAt", "result", "poison", "settledBy", "createdAt", "lastError"),
)
CONFIG_FIELDS = (
    *("enabled", "schedule", "retry", "concurrency", "globalConcurrency", "lockLifetime", "priority", "runNow"),
    *("runNowRequest", "checksum", "configError", "missingSince", "defaultConfig", "updatedBy", "updatedAt", "shedule"),
)
due_now = st.just("DUE")
job_documents = st.dictionaries(st.sampled_from(JOB_FIELDS), values, max_size=5).flatmap(
    lambda document: st.one_of(st.just(document), due_now.map(lambda due: {**document, "nextRunAt": due}))
)
config_edits = st.dictionaries(st.sampled_from(CONFIG_FIELDS), values, max_size=4)


async def test_no_document_that_a_hand_can_write_stops_a_server(project: Project) -> None:
    hit, other = project.job("hit", schedule="0 0 1 1 *"), project.job("noted")
    process = await project.process(lease="2 seconds", max_concurrency=100).started()
    project.edit(other, {"$set": {"concurrency": 10}})

    # One server lives through all of it, so a case cannot be made smaller by repeating it.
    @settings(max_examples=40, deadline=None, database=None, phases=[Phase.generate])
    @given(job_documents, job_documents, config_edits, st.booleans(), values)
    def write(new: Any, edited: Any, edit: Any, replace: bool, odd: Any) -> None:
        write_by_hand(project, hit, new=new, edited=edited, edit=edit, replace=replace, odd=odd)
        project.jobs.insert_one({"_id": (id_ := ObjectId()), "name": other, "nextRunAt": project.now()})
        project.edit(other, {"$inc": {"concurrency": 1}})
        asyncio.run(project.ended(id_))
        asyncio.run(in_force(project, other, "concurrency"))

    await asyncio.to_thread(write)
    project.configs.delete_many({"jobName": {"$in": [hit, None]}})
    project.jobs.delete_many({"name": hit})
    project.edit(other, {"$set": {"runNow": True}})
    await until(lambda: not project.config(other)["runNow"])
    for fault in ("internal fault", "settling broke", "Task exception was never retrieved"):
        assert process.records(fault) == []


async def in_force(project: Project, name: str, field: str) -> None:
    """Wait until the configuration of this job has been applied as it stands now."""
    value = project.config(name)[field]
    await until(lambda: project.history(name)[-1]["values"].get(field) == value)


def write_by_hand(project: Project, name: str, *, new: Any, edited: Any, edit: Any, replace: bool, odd: Any) -> None:
    """Insert a job document, edit the schedule's one, edit or replace the configuration, add one of an odd name."""
    for attempt in (
        lambda: project.jobs.insert_one({**_dated(project, new), "name": name}),
        lambda: project.jobs.update_one(
            {"name": name, "type": "single"}, {"$set": {**_dated(project, edited), "x": 1}}
        ),
        lambda: (
            project.configs.replace_one({"jobName": name}, {"jobName": name, **edit})
            if replace
            else project.configs.update_one({"jobName": name}, {"$set": {**edit, "x": 1}})
        ),
        lambda: project.configs.insert_one({"jobName": odd}),
    ):
        try:
            attempt()
        except (DuplicateKeyError, WriteError):
            continue  # MongoDB itself does not take it


def _dated(project: Project, document: Any) -> Any:
    return {key: project.now() if value == "DUE" else value for key, value in document.items()}
