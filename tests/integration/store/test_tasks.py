"""Tasks as clients make, list and cancel them, and what becomes of what starts after them."""

from __future__ import annotations

import asyncio
import inspect
import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from bson import ObjectId
from pymongo import AsyncMongoClient, MongoClient
from pymongo.database import Database

from jobserver import JobClient, JobServerError, Schedule, SyncJobClient, Task
from jobserver.errors import DatabaseError, DataError, UnknownTask
from jobserver.runner.pulse.chaining import Chaining
from jobserver.runner.pulse.wakeups import Wakeups
from jobserver.store.chains import ChainStore, follow
from jobserver.store.connection import async_client, deciding
from jobserver.store.states import Transition
from tests.faults import failing
from tests.stores import FAR_AHEAD, LONG_AGO, NAMES, Store, Workplace, claim_one, completed, ending, failed, to_retry

pytestmark = pytest.mark.timeout(60)

HOUR, SECOND = timedelta(hours=1), timedelta(seconds=1)


@pytest.fixture
def client(place: Workplace) -> SyncJobClient:
    return SyncJobClient(place.db)


async def run(store: Store, place: Workplace, task: Task, end: Any = completed, **facts: Any) -> None:
    """One run of a task, from its claim to its end, with what a server does then."""
    place.jobs.update_one({"_id": task.id, "nextRunAt": {"$exists": True}}, {"$set": {"nextRunAt": LONG_AGO}})
    (due,) = [await claim_one(store)]
    assert due.id == task.id
    assert await store.settle([end(due, **facts)]) == []
    place.chains().sweep()


def cancelled(job: Any, **facts: Any) -> Any:
    return ending(job, Transition.CANCEL, **facts)


def test_a_task_without_a_time_is_due_at_once(client: SyncJobClient, place: Workplace) -> None:
    task = client.schedule("job", {"n": 1}, priority=5)
    document = place.get(task.id)
    assert document["nextRunAt"] <= document["createdAt"]
    assert (document["type"], document["data"]) == ("normal", {"n": 1})
    assert (task.name, task.data, task.status, task.priority, task.recurs) == ("job", {"n": 1}, "scheduled", 5, False)


def test_start_at_alone_is_one_run_then(client: SyncJobClient, place: Workplace) -> None:
    task = client.schedule("job", start_at=FAR_AHEAD)
    assert (task.start_at, task.next_run_at, task.recurs) == (FAR_AHEAD, FAR_AHEAD, False)
    assert place.get(task.id)["startAt"] == FAR_AHEAD


@pytest.mark.parametrize(
    ("recurrence", "follows"),
    [
        (timedelta(minutes=45), [45, 90]),
        ("every 45 minutes", [45, 90]),
        (HOUR / timedelta(milliseconds=1), [60, 120]),
        ({"type": "interval", "value": "2 hours"}, [120, 240]),
    ],
    ids=str,
)
def test_an_interval_counts_from_the_moment_that_the_task_was_made(
    client: SyncJobClient, place: Workplace, recurrence: Any, follows: list[int]
) -> None:
    task = client.schedule("job", recurrence=recurrence)
    made = place.get(task.id)["anchorAt"]
    assert task.next_run_at == made + timedelta(minutes=follows[0])
    assert task.recurrence is not None
    assert task.recurrence.next_after(task.next_run_at, anchor=made) == made + timedelta(minutes=follows[1])


def test_an_interval_with_a_start_fires_first_at_that_start(client: SyncJobClient) -> None:
    task = client.schedule("job", start_at=FAR_AHEAD, recurrence=HOUR)
    assert task.next_run_at == FAR_AHEAD
    assert task.recurrence is not None
    assert task.recurrence.next_after(FAR_AHEAD) == FAR_AHEAD + HOUR


def test_a_start_that_has_passed_is_the_anchor_and_nothing_is_made_up(client: SyncJobClient, place: Workplace) -> None:
    task = client.schedule("job", start_at=LONG_AGO, recurrence=HOUR)
    assert task.next_run_at is not None
    now = place.now()
    assert now - SECOND < task.next_run_at <= now + HOUR
    assert (task.next_run_at - LONG_AGO) % HOUR == timedelta()


def test_a_recurrence_keeps_its_zone_and_its_options(client: SyncJobClient, place: Workplace) -> None:
    schedule = Schedule.parse("every monday at 9:00", "Europe/Berlin", misfire="skip", jitter="1 minute")
    task = client.schedule("job", recurrence=schedule)
    stored = place.get(task.id)
    assert task.recurrence == schedule
    assert stored["recurrence"] == schedule.to_document()
    assert timedelta() <= stored["nextRunAt"] - stored["occurrenceAt"] <= timedelta(minutes=1)


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"start_at": LONG_AGO, "start_after": ObjectId()}, "either start_at= or start_after="),
        ({"recurrence": True}, "give start_after= as well"),
        ({"recurrence": HOUR, "start_after": ObjectId()}, "recurrence=True"),
        ({"recurrence": "manual"}, "recurrence: 'manual' does not recur"),
        ({"recurrence": datetime(2030, 1, 1, tzinfo=UTC)}, "does not recur"),
        ({"recurrence": "every blue moon"}, "recurrence: "),
        ({"recurrence": {"type": "schedule", "value": "0 3 * * *", "timezone": "Mars/Base"}}, "recurrence.timezone: "),
        (
            {"recurrence": {"type": "interval", "value": 60_000, "startDate": LONG_AGO}, "start_at": LONG_AGO},
            "not both",
        ),
        ({"recurrence": Schedule.parse("0 3 * * *", end="2021-01-01")}, "nothing is left"),
        ({"start_after": ObjectId()}, "no task '[0-9a-f]{24}'"),
        ({"start_at": "tomorrow"}, "is not a datetime"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_makes_no_sense_is_refused_in_words_and_nothing_is_stored(
    client: SyncJobClient, place: Workplace, how: dict[str, Any], says: str
) -> None:
    with pytest.raises(JobServerError, match=says.replace("(", r"\(")):
        client.schedule("job", **how)
    assert place.jobs.count_documents({}) == 0


def test_under_a_unique_key_there_is_one_active_task(client: SyncJobClient, place: Workplace) -> None:
    tasks = [client.schedule("job", recurrence=HOUR, unique_key="nightly") for _ in range(3)]
    assert len({task.id for task in tasks}) == 1 == place.jobs.count_documents({})


async def test_the_key_of_a_recurring_task_stays_taken_until_it_is_cancelled(
    client: SyncJobClient, place: Workplace
) -> None:
    async with place.store() as store:
        task = client.schedule("job", recurrence=HOUR, unique_key="nightly")
        await run(store, place, task, next_run_at=FAR_AHEAD)
        assert client.schedule("job", recurrence=HOUR, unique_key="nightly").id == task.id
        client.cancel(task)
        assert client.schedule("job", recurrence=HOUR, unique_key="nightly").id != task.id


async def test_both_clients_offer_the_same(mongo_uri: str, place: Workplace) -> None:
    for name in ("schedule", "tasks", "cancel"):
        one, other = (inspect.signature(getattr(client, name)).parameters for client in (JobClient, SyncJobClient))
        assert [(each.name, each.default) for each in one.values()] == [
            (each.name, each.default) for each in other.values()
        ]
    async with AsyncMongoClient[dict[str, Any]](mongo_uri) as mongo:
        client = JobClient(mongo[place.db.name])
        first = await client.schedule("job", recurrence=HOUR)
        then = await client.schedule("job", start_after=first, recurrence=True)
        assert {task.id for task in await client.tasks()} == {first.id, then.id}
        await client.cancel(first)
        assert [task.status for task in await client.tasks()] == ["cancelled", "cancelled"]


def test_tasks_are_listed_newest_first_by_name_and_status(client: SyncJobClient) -> None:
    one, two = client.schedule("one", recurrence=HOUR), client.schedule("two")
    client.enqueue("one")
    client.cancel(two)
    assert [task.id for task in client.tasks()] == [two.id, one.id]
    assert [task.id for task in client.tasks("one")] == [one.id]
    assert [task.id for task in client.tasks(status="cancelled")] == [two.id]
    assert len(client.tasks(limit=1)) == 1
    with pytest.raises(JobServerError, match="scheduled, queued"):
        client.tasks(status="lost")


async def test_what_starts_after_another_waits_for_it_and_is_then_due(client: SyncJobClient, place: Workplace) -> None:
    async with place.store() as store:
        first = client.schedule("job")
        then = client.schedule("job", {"n": 2}, start_after=first)
        assert (then.status, then.next_run_at, then.start_after) == ("scheduled", None, first.id)
        await run(store, place, first)
        assert place.get(then.id)["status"] == "queued"
        await run(store, place, then)
        assert "follows" not in place.get(then.id)
        place.chains().sweep()
        assert place.get(then.id)["status"] == "completed"


async def test_after_one_that_has_completed_already_it_is_due_at_once(client: SyncJobClient, place: Workplace) -> None:
    async with place.store() as store:
        first = client.schedule("job")
        await run(store, place, first)
        assert client.schedule("job", start_after=first).next_run_at is not None


@pytest.mark.parametrize("end", [failed, cancelled])
async def test_after_one_that_has_failed_for_good_nothing_can_start(
    client: SyncJobClient, place: Workplace, end: Any
) -> None:
    async with place.store() as store:
        first = client.schedule("job")
        await run(store, place, first, end)
        with pytest.raises(JobServerError, match="would never run"):
            client.schedule("job", start_after=first)


async def test_a_chain_follows_each_occurrence_of_its_parent(client: SyncJobClient, place: Workplace) -> None:
    async with place.store() as store:
        parent = client.schedule("job", recurrence=HOUR)
        child = client.schedule("job", start_after=parent, recurrence=True)
        grandchild = client.schedule("job", start_after=child, recurrence=True)
        for _ in range(3):
            for task in (parent, child, grandchild):
                await run(store, place, task, **({"next_run_at": FAR_AHEAD} if task is parent else {}))
        assert [place.get(task.id)["finishedCount"] for task in (parent, child, grandchild)] == [3, 3, 3]
        assert [place.get(task.id)["status"] for task in (child, grandchild)] == ["completed", "completed"]


@pytest.mark.parametrize("end", [failed, cancelled])
async def test_dependents_of_one_that_failed_are_cancelled_and_theirs_too(
    client: SyncJobClient, place: Workplace, end: Any
) -> None:
    async with place.store() as store:
        first = client.schedule("job")
        chain = [first]
        for recurs in (False, True, False):
            chain.append(client.schedule("job", start_after=chain[-1], recurrence=recurs))
        await run(store, place, first, end)
        for task in chain[1:]:
            document = place.get(task.id)
            assert (document["status"], "nextRunAt" in document, "follows" in document) == ("cancelled", False, False)
            assert "after which it starts" in document["cancelReason"]
            assert document["expireAt"] > place.now()
            (entry,) = place.runs.find({"jobId": task.id})
            assert entry["status"] == "cancelled"


async def test_when_one_occurrence_fails_what_recurs_with_it_goes_on_with_the_next(
    client: SyncJobClient, place: Workplace
) -> None:
    async with place.store() as store:
        parent = client.schedule("job", recurrence=HOUR)
        once, again = (client.schedule("job", start_after=parent, recurrence=recurs) for recurs in (False, True))
        await run(store, place, parent, failed, next_run_at=FAR_AHEAD)
        assert [place.get(task.id)["status"] for task in (once, again)] == ["cancelled", "cancelled"]
        await run(store, place, parent, next_run_at=FAR_AHEAD)
        assert [place.get(task.id)["status"] for task in (once, again)] == ["cancelled", "queued"]
        await run(store, place, again)
        assert [entry["status"] for entry in place.runs.find({"jobId": again.id})] == ["cancelled"]


async def test_a_retry_and_a_skipped_occurrence_mean_nothing_to_what_comes_after(
    client: SyncJobClient, place: Workplace
) -> None:
    async with place.store() as store:
        parent = client.schedule("job", recurrence=HOUR)
        child = client.schedule("job", start_after=parent, recurrence=True)
        await run(store, place, parent, to_retry)
        await run(store, place, parent, lambda job: ending(job, Transition.SKIP, next_run_at=FAR_AHEAD))
        assert (place.get(child.id)["status"], "nextRunAt" in place.get(child.id)) == ("scheduled", False)


async def test_a_completion_while_the_one_after_it_runs_makes_it_run_once_more(
    client: SyncJobClient, place: Workplace
) -> None:
    async with place.store() as store:
        parent = client.schedule("job", recurrence=HOUR)
        child = client.schedule("job", start_after=parent, recurrence=True)
        await run(store, place, parent, next_run_at=FAR_AHEAD)
        under_way = await claim_one(store)
        for _ in range(2):
            await run(store, place, parent, next_run_at=FAR_AHEAD)
        assert await store.settle([completed(under_way)]) == []
        await run(store, place, child)
        assert (place.get(child.id)["finishedCount"], "nextRunAt" in place.get(child.id)) == (2, False)


@pytest.mark.parametrize("recurs", [False, True], ids=["once", "again"])
@pytest.mark.parametrize("since", ["runs again", Transition.FAIL, Transition.SKIP, Transition.RETRY, "was cancelled"])
async def test_a_completion_is_followed_also_where_the_task_before_has_gone_on_since(
    client: SyncJobClient, place: Workplace, since: Any, recurs: bool
) -> None:
    """It recurs faster than anybody looks, or its server died before it could look."""
    async with place.store() as store:
        parent = client.schedule("job", recurrence=HOUR)
        child = client.schedule("other", start_after=parent, recurrence=recurs)
        place.jobs.update_one({"_id": parent.id}, {"$set": {"nextRunAt": LONG_AGO}})
        assert await store.settle([completed(await claim_one(store), next_run_at=LONG_AGO)]) == []
        under_way = await claim_one(store)
        if isinstance(since, Transition):
            facts = {} if since is Transition.RETRY else {"next_run_at": FAR_AHEAD}
            assert await store.settle([ending(under_way, since, **facts)]) == []
        if since == "was cancelled":
            place.jobs.update_one({"_id": parent.id}, {"$unset": {"lockToken": 1, "lockedAt": 1}})
            assert client.cancel(parent).status == "cancelled"
        place.chains().sweep()
        document = place.get(child.id)
        over = since == "was cancelled" and recurs
        assert (document["status"], "nextRunAt" in document) == (("cancelled", False) if over else ("queued", True))
        assert ("follows" in document) is (recurs and not over)
        assert ("followsCompletion" in document) is (recurs and not over)
        assert place.runs.count_documents({"jobId": child.id}) == (
            recurs and since in (Transition.FAIL, "was cancelled")
        )


async def test_a_completion_is_followed_once_however_often_the_task_before_fails_since(
    client: SyncJobClient, place: Workplace
) -> None:
    async with place.store() as store:
        parent = client.schedule("job", recurrence=HOUR)
        child = client.schedule("job", start_after=parent, recurrence=True)
        await run(store, place, parent, next_run_at=FAR_AHEAD)
        await run(store, place, child)
        for _ in range(2):
            await run(store, place, parent, failed, next_run_at=FAR_AHEAD)
        assert (place.get(child.id)["status"], "nextRunAt" in place.get(child.id)) == ("cancelled", False)


async def test_many_that_look_at_once_start_what_follows_once(client: SyncJobClient, place: Workplace) -> None:
    async with place.store() as store:
        parent = client.schedule("job")
        child = client.schedule("job", start_after=parent)
        place.jobs.update_one({"_id": parent.id}, {"$set": {"nextRunAt": LONG_AGO}})
        assert await store.settle([completed(await claim_one(store))]) == []
        place.chains().sweep()
        due = place.get(child.id)
        place.chains().sweep()
        assert place.get(child.id) == due


def test_what_waits_for_a_task_that_was_removed_is_cancelled(client: SyncJobClient, place: Workplace) -> None:
    parent = client.schedule("job", recurrence=HOUR)
    child = client.schedule("job", start_after=parent, recurrence=True)
    place.jobs.delete_one({"_id": parent.id})
    place.chains().sweep()
    assert (place.get(child.id)["status"], place.get(child.id)["cancelReason"]) == (
        "cancelled",
        "the task that it starts after is gone",
    )


def test_a_cancelled_task_takes_what_waits_for_it_along(client: SyncJobClient, place: Workplace) -> None:
    parent = client.schedule("job", recurrence=HOUR)
    child = client.schedule("job", start_after=parent, recurrence=True)
    other = client.schedule("job", recurrence=HOUR)
    task = client.cancel(parent)
    assert (task.status, task.next_run_at) == ("cancelled", None)
    assert [each.status for each in client.tasks()] == ["scheduled", "cancelled", "cancelled"]
    assert [each.id for each in client.tasks()] == [other.id, child.id, parent.id]


@pytest.mark.parametrize(
    ("end", "status"), [(completed, "completed"), (failed, "failed"), (to_retry, "cancelled"), (cancelled, "cancelled")]
)
async def test_a_run_under_way_is_the_last_one_of_a_cancelled_task(
    client: SyncJobClient, place: Workplace, end: Any, status: str
) -> None:
    async with place.store() as store:
        task = client.schedule("job", recurrence=HOUR)
        place.jobs.update_one({"_id": task.id}, {"$set": {"nextRunAt": LONG_AGO}})
        under_way = await claim_one(store)
        assert client.cancel(task).status == "running"
        facts = {} if end is to_retry else {"next_run_at": FAR_AHEAD}
        assert await store.settle([end(under_way, **facts)]) == []
        document = place.get(task.id)
        assert (document["status"], "nextRunAt" in document) == (status, False)


@pytest.mark.parametrize("how", ["given back", "server lost"])
async def test_a_cancelled_task_does_not_come_back_from_a_run_that_was_cut_off(
    client: SyncJobClient, place: Workplace, how: str
) -> None:
    async with place.store() as store:
        task = client.schedule("job")
        child = client.schedule("job", start_after=task)
        await claim_one(store, owner="this one")
        client.cancel(task)
        if how == "given back":
            await store.release(owner="this one")
        else:
            place.locks().reap_server("this one")
        place.chains().sweep()
        assert [(place.get(each.id)["status"], "nextRunAt" in place.get(each.id)) for each in (task, child)] == [
            ("cancelled", False)
        ] * 2


@pytest.mark.parametrize("recurrence", [HOUR, None], ids=["recurring", "single"])
@pytest.mark.parametrize(
    "how", [Transition.COMPLETE, Transition.FAIL, Transition.RETRY, Transition.RELEASE, Transition.SKIP, "server lost"]
)
async def test_however_the_last_run_of_a_cancelled_task_ends_its_key_is_free_and_it_goes_after_a_while(
    client: SyncJobClient, place: Workplace, how: Any, recurrence: Any
) -> None:
    async with place.store() as store:
        task = client.schedule("job", recurrence=recurrence, unique_key="nightly")
        place.jobs.update_one({"_id": task.id}, {"$set": {"nextRunAt": LONG_AGO}})
        under_way = await claim_one(store)
        client.cancel(task)
        assert client.schedule("job", unique_key="nightly").id == task.id  # while that run lasts
        if how == "server lost":
            place.locks().reap_server("this server")
        else:
            upcoming = FAR_AHEAD if recurrence and how in (Transition.COMPLETE, Transition.SKIP) else None
            assert await store.settle([ending(under_way, how, next_run_at=upcoming)]) == []
        assert client.schedule("job", unique_key="nightly").id != task.id
        assert place.get(task.id)["expireAt"] > place.now()


async def test_a_recurrence_that_has_ended_goes_after_a_while_as_a_single_run_does(
    client: SyncJobClient, place: Workplace
) -> None:
    async with place.store() as store:
        task = client.schedule("job", recurrence=HOUR)
        await run(store, place, task, next_run_at=FAR_AHEAD)
        assert "expireAt" not in place.get(task.id)
        await run(store, place, task)
        assert place.get(task.id)["expireAt"] > place.now()


def test_cancelling_again_or_too_late_changes_nothing(client: SyncJobClient, place: Workplace) -> None:
    task = client.schedule("job")
    client.cancel(task.id)
    before = place.get(task.id)
    assert client.cancel(task).status == "cancelled"
    assert place.get(task.id) == before
    with pytest.raises(UnknownTask, match="no task '7'"):
        client.cancel(7)


def test_the_schedule_of_a_job_is_not_cancelled_as_a_task(client: SyncJobClient, place: Workplace) -> None:
    holder = place.put(type="single")
    with pytest.raises(JobServerError, match="set enabled to false"):
        client.cancel(holder)
    assert "nextRunAt" in place.get(holder)


def test_a_waiting_job_that_was_enqueued_can_be_cancelled_too(client: SyncJobClient) -> None:
    assert client.cancel(client.enqueue("job", delay=HOUR)).status == "cancelled"


def test_a_task_in_a_transaction_that_aborts_never_was(client: SyncJobClient, place: Workplace) -> None:
    parent = client.schedule("job", recurrence=HOUR)
    with place.db.client.start_session() as session, session.start_transaction():
        child = client.schedule("job", start_after=parent, session=session)
        client.cancel(parent, session=session)
        session.abort_transaction()
    assert place.jobs.count_documents({"_id": child.id}) == 0
    assert client.tasks()[0].status == "scheduled"


@pytest.mark.timeout(20)
@pytest.mark.parametrize("before", ["schedule", "cancel"])
def test_the_first_transaction_of_a_client_does_not_wait_for_itself(db: Database[Any], before: str) -> None:
    """No server has made the indexes yet, and one cannot be made once the transaction has written."""
    client = SyncJobClient(db)
    parent = client.schedule("job")
    with db.client.start_session() as session, session.start_transaction():
        if before == "cancel":
            client.cancel(parent, session=session)
            child = client.schedule("job", session=session)
        else:
            child = client.schedule("job", start_after=parent, session=session)
    assert child.id in {task.id for task in client.tasks()}


@pytest.mark.parametrize("id_", [{"$ne": None}, {"$exists": True}, re.compile(".")], ids=str)
def test_an_id_is_never_read_as_a_question(client: SyncJobClient, place: Workplace, id_: Any) -> None:
    task, named = client.schedule("job"), place.put(_id="a text")
    before = [place.get(task.id), place.get(named)]
    with pytest.raises(UnknownTask):
        client.cancel(id_)
    with pytest.raises(UnknownTask):
        client.schedule("job", start_after=id_)
    assert [place.get(task.id), place.get(named)] == before
    assert place.jobs.count_documents({}) == 2


@pytest.mark.parametrize(
    "odd", [datetime.max.replace(tzinfo=timezone(-HOUR)), 2**70, "\udcff"], ids=["moment", "number", "text"]
)
async def test_what_no_document_can_hold_is_refused_in_our_words(
    client: SyncJobClient, mongo_uri: str, place: Workplace, odd: Any
) -> None:
    for ask in (lambda: client.schedule("job", start_after=odd), lambda: client.cancel(odd), lambda: client.tasks(odd)):
        with pytest.raises(DataError, match="cannot be stored"):
            ask()
    with pytest.raises(DataError):
        client.schedule("job", start_at=odd)
    async with AsyncMongoClient[dict[str, Any]](mongo_uri) as mongo:
        with pytest.raises(DataError, match="cannot be stored"):
            await JobClient(mongo[place.db.name]).cancel(odd)
    assert place.jobs.count_documents({}) == 0


def test_a_client_that_may_not_make_indexes_uses_those_of_a_server(mongo_uri: str, place: Workplace) -> None:
    with (
        failing(place.db.client, "createIndexes", errorCode=13) as app_name,
        MongoClient[dict[str, Any]](mongo_uri, appname=app_name) as mongo,
    ):
        client = SyncJobClient(mongo[place.db.name])
        tasks = [client.schedule("job", recurrence=HOUR, unique_key="nightly") for _ in range(2)]
        assert tasks[0].id == tasks[1].id
        with pytest.raises(DatabaseError, match="failCommand"):
            SyncJobClient(mongo[f"{place.db.name}_new"]).schedule("job", unique_key="nightly")


async def test_what_was_cancelled_stays_so_when_all_that_failed_is_retried(
    client: SyncJobClient, place: Workplace
) -> None:
    async with place.store() as store:
        parent = client.schedule("job", recurrence=HOUR)
        waiting = client.schedule("job", start_after=parent, recurrence=True)
        await run(store, place, parent, failed, next_run_at=FAR_AHEAD)
        unwanted, broken = client.schedule("job", recurrence=HOUR), client.schedule("job")
        client.cancel(unwanted)
        await run(store, place, broken, failed)
        assert place.editor().revive_all("job") == 1
        statuses = [place.get(task.id)["status"] for task in (waiting, unwanted, broken)]
        assert statuses == ["cancelled", "cancelled", "queued"]
        assert place.editor().revive([unwanted.id]) == 1


async def test_whoever_looks_at_an_older_end_does_not_start_what_has_followed_it_since(
    client: SyncJobClient, place: Workplace
) -> None:
    """One server reads that the parent has ended; before it writes, another one and the child itself have gone on."""
    async with place.store() as store:
        parent = client.schedule("job", recurrence=HOUR)
        child = client.schedule("job", start_after=parent, recurrence=True)
        place.jobs.update_one({"_id": parent.id}, {"$set": {"nextRunAt": LONG_AGO}})
        assert await store.settle([completed(await claim_one(store), next_run_at=FAR_AHEAD)]) == []
        slow = follow(place.jobs, place.runs, server="slow", retention=HOUR)
        behind = slow.send(next(slow))
        place.chains().sweep()
        await run(store, place, child)
        with pytest.raises(StopIteration):
            slow.send(slow.send(behind))
        assert (place.get(child.id)["status"], "nextRunAt" in place.get(child.id)) == ("completed", False)


def test_an_error_of_mongodb_says_what_was_asked_for(mongo_uri: str, place: Workplace) -> None:
    with (
        failing(place.db.client, "find", "findAndModify", errorCode=13) as app_name,
        MongoClient[dict[str, Any]](mongo_uri, appname=app_name) as mongo,
    ):
        client = SyncJobClient(mongo[place.db.name])
        with pytest.raises(DatabaseError, match="tasks could not be read: "):
            client.tasks()
        with pytest.raises(DatabaseError, match="the task could not be cancelled: "):
            client.cancel(7)


async def test_the_end_of_a_run_is_looked_behind_though_the_next_look_comes_early(
    client: SyncJobClient, place: Workplace
) -> None:
    """The clock stands still: what is put off until the next second must not be forgotten for it."""
    async with place.store() as store, async_client(place.uri) as mongo:
        jobs, runs = (deciding(mongo[place.db.name])[name] for name in (NAMES.jobs, NAMES.runs))
        chains = ChainStore(jobs=jobs, runs=runs, server=lambda: "this server", retention=HOUR)
        chaining = Chaining(store=chains, wakeups=Wakeups(monotonic=lambda: 7.0), monotonic=lambda: 7.0)
        place.put()
        end = completed(await claim_one(store))
        assert await store.settle([end]) == []
        await chaining.settled([end])  # nothing waits for anything
        parent = client.schedule("job")
        child = client.schedule("after", start_after=parent)
        end = completed(await claim_one(store))
        assert await store.settle([end]) == []
        await chaining.settled([end])
        async with asyncio.timeout(10):
            while place.get(child.id)["status"] != "queued":
                await asyncio.sleep(0.02)


def test_moments_are_aware_whatever_the_database_of_the_caller_says(mongo_uri: str, place: Workplace) -> None:
    with MongoClient[dict[str, Any]](mongo_uri) as mongo:
        client = SyncJobClient(mongo[place.db.name])
        task = client.schedule("job", start_at=FAR_AHEAD, recurrence=HOUR)
        (listed,) = client.tasks()
    for told in (task, listed):
        assert told.start_at == told.next_run_at == FAR_AHEAD
        assert told.created_at is not None
        assert told.created_at.tzinfo is not None


def test_what_a_hand_has_left_unreadable_is_nothing(client: SyncJobClient, place: Workplace) -> None:
    task = client.schedule("job", recurrence=HOUR)
    odd = {"lastError": 7, "cancelReason": [], "runCount": "many", "priority": {}, "nextRunAt": "soon", "status": 3}
    place.jobs.update_one({"_id": task.id}, {"$set": {**odd, "recurrence": "never ever"}})
    (listed,) = client.tasks()
    told = (listed.last_error, listed.cancel_reason, listed.run_count, listed.priority, listed.next_run_at)
    assert (*told, listed.status, listed.recurs, listed.recurrence) == (None, None, 0, 0, None, "queued", True, None)


async def test_a_document_whose_id_is_null_has_no_children(place: Workplace) -> None:
    """To MongoDB a field that is not there is null, too."""
    stray = place.put(name="other", follows="nothing yet", nextRunAt=FAR_AHEAD)
    before = place.raw(stray)
    place.put(_id=None)
    async with place.store() as store:
        assert await store.settle([completed(await claim_one(store))]) == []
    async with async_client(place.uri) as mongo:
        database = deciding(mongo[place.db.name])
        jobs, runs = database[NAMES.jobs], database[NAMES.runs]
        chains = ChainStore(jobs=jobs, runs=runs, server=lambda: "this server", retention=HOUR)
        assert await chains.follow([None]) == set()
    place.chains().sweep()
    assert place.raw(stray) == before
