"""Commands whose answer never came: each is looked up by its token, none is done twice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta

import pytest

from jobserver import JobClient, SyncJobClient
from jobserver.errors import DatabaseError
from jobserver.store.arming import Arming
from jobserver.store.claims import LONGEST_CLAIM, ClaimInDoubt
from jobserver.store.connection import async_client
from jobserver.store.states import Transition
from tests.faults import failing
from tests.network import Network, Way
from tests.stores import FAR_AHEAD, Workplace, claim, claim_one, completed, ending, failed, ids, lane, to_retry

pytestmark = pytest.mark.timeout(30)


@pytest.fixture(scope="module")
def network(mongo_uri: str) -> Iterator[Network]:
    """Between the stores of this file and MongoDB."""
    with Network.start(mongo_uri) as network:
        yield network


@pytest.fixture
def way(network: Network) -> Way:
    """Of this test's store."""
    return network.way()


async def test_a_claim_whose_answer_was_lost_is_found_by_its_token(place: Workplace, way: Way) -> None:
    place.put_many(30)
    async with place.store(uri=way.uri) as store:
        others = await claim(store, limit=10, owner="another server")
        way.lose_reply("update")
        with pytest.raises(ClaimInDoubt) as doubt:
            await claim(store, limit=12, token="mine")
        assert way.lost == ["update"]
        found = await store.claims.verify(doubt.value.claim)
        assert await store.settle([completed(job) for job in found]) == []
    assert len(found) == 12
    assert set(ids(found)).isdisjoint(ids(others))
    assert {job.token for job in found} == {"mine"}
    assert place.jobs.count_documents({"lockToken": "mine"}) == 0
    assert place.jobs.count_documents({"fence": 1}) == 22


async def test_a_claim_of_one_document_whose_answer_was_lost_is_asked_for_again_and_made_once(
    place: Workplace, way: Way
) -> None:
    id_ = place.put()
    async with place.store(uri=way.uri) as store:
        way.lose_reply("findAndModify")
        (job,) = await claim(store, token="mine")
    assert way.lost == ["findAndModify"]
    assert (job.id, job.fence, place.get(id_)["fence"], place.get(id_)["lockToken"]) == (id_, 1, 1, "mine")


async def test_a_claim_whose_documents_could_not_be_read_back_is_found_by_its_token(place: Workplace) -> None:
    place.put_many(7)
    with failing(place.db.client, "find", times=2, closeConnection=True) as app_name:
        async with place.store(app_name=app_name) as store:
            with pytest.raises(ClaimInDoubt) as doubt:
                await claim(store)
            found = await store.claims.verify(doubt.value.claim)
    assert len(found) == 7
    assert {job.fence for job in found} == {1}


async def test_a_claim_that_no_majority_has_confirmed_in_time_is_in_doubt(place: Workplace) -> None:
    place.put_many(3)
    with failing(
        place.db.client, "update", times=1, writeConcernError={"code": 64, "errmsg": "waiting timed out"}
    ) as app_name:
        async with place.store(app_name=app_name) as store:
            with pytest.raises(ClaimInDoubt) as doubt:
                await claim(store)
            assert len(await store.claims.verify(doubt.value.claim)) == 3


@pytest.mark.parametrize("count", [1, 5])
async def test_a_claim_that_takes_too_long_is_ended_by_mongodb_and_never_carried_out_later(
    place: Workplace, count: int
) -> None:
    place.put_many(count)
    held = {"blockConnection": True, "blockTimeMS": int(LONGEST_CLAIM * 1000) + 500}
    with failing(place.db.client, "update", "findAndModify", times=1, **held) as app_name:
        async with place.store(app_name=app_name) as store:
            with pytest.raises(ClaimInDoubt):
                await claim(store)
    # Switching it off has waited for the command that was held.
    assert place.jobs.count_documents({"lockToken": {"$exists": True}}) == 0


async def test_a_claim_that_never_reached_mongodb_has_locked_nothing(place: Workplace) -> None:
    place.put_many(3)
    with failing(place.db.client, "update", times=1, closeConnection=True) as app_name:
        async with place.store(app_name=app_name) as store:
            with pytest.raises(ClaimInDoubt) as doubt:
                await claim(store)
            assert await store.claims.verify(doubt.value.claim) == []
            assert len(await claim(store)) == 3


async def test_a_claim_that_could_not_even_look_is_not_in_doubt(place: Workplace) -> None:
    place.put_many(3)
    with failing(place.db.client, "aggregate", times=2, closeConnection=True) as app_name:
        async with place.store(app_name=app_name) as store:
            with pytest.raises(DatabaseError) as caught:
                await claim(store)
    assert not isinstance(caught.value, ClaimInDoubt)


async def test_a_doubt_covers_the_jobs_with_a_global_limit_too(place: Workplace, way: Way) -> None:
    place.put_many(5)
    place.put_many(5, name="limited")
    async with place.store(uri=way.uri) as store:
        way.lose_reply("find", times=4)
        with pytest.raises(ClaimInDoubt) as doubt:
            await claim(store, lane(), lane("limited", everywhere=3), token="mine")
        way.heal()
        found = await store.claims.verify(doubt.value.claim)
    assert len(found) == place.jobs.count_documents({"lockToken": "mine"}) > 0
    assert set(ids(found)) == {document["_id"] for document in place.jobs.find({"lockToken": "mine"})}


async def test_ends_whose_answer_was_lost_are_told_again_and_count_once(place: Workplace, way: Way) -> None:
    place.put_many(6)
    async with place.store(uri=way.uri) as store:
        jobs = await claim(store)
        ends = [
            completed(jobs[0]),
            completed(jobs[1], "a result"),
            failed(jobs[2]),
            to_retry(jobs[3]),
            ending(jobs[4], Transition.CANCEL),
            ending(jobs[5], Transition.RELEASE),
        ]
        way.lose_reply("update")
        with pytest.raises(DatabaseError):
            await store.settle(ends)
        assert await store.settle(ends) == []
    assert way.lost == ["update"]
    states = [place.get(job.id)["status"] for job in jobs]
    assert states == ["completed", "completed", "failed", "scheduled", "cancelled", "queued"]
    assert [place.get(job.id).get("failCount") for job in jobs] == [None, None, 1, 1, None, None]
    assert [place.get(job.id).get("finishedCount") for job in jobs[:2]] == [1, 1]


async def test_of_ends_told_again_only_those_without_a_lock_are_lost(place: Workplace, way: Way) -> None:
    place.put_many(3)
    async with place.store(uri=way.uri) as store:
        jobs = await claim(store)
        place.jobs.update_one({"_id": jobs[1].id}, {"$set": {"lockToken": "stolen"}})
        ends = [completed(job) for job in jobs]
        way.lose_reply("update")
        with pytest.raises(DatabaseError):
            await store.settle(ends)
        assert await store.settle(ends) == [ends[1]]


async def test_a_single_end_whose_answer_was_lost_is_stored_once(place: Workplace, way: Way) -> None:
    """The driver itself sends it again, and MongoDB knows it by its number."""
    id_ = place.put()
    async with place.store(uri=way.uri) as store:
        job = await claim_one(store)
        way.lose_reply("update")
        assert await store.settle([failed(job)]) == []
    assert way.lost == ["update"]
    assert place.get(id_)["failCount"] == 1


async def test_a_holder_whose_answer_was_lost_is_armed_once(place: Workplace, way: Way) -> None:
    async with place.store(uri=way.uri) as store:
        way.lose_reply("findAndModify")
        holder = await store.arm(
            "job", Arming(key="k", first=FAR_AHEAD, recurs=True, enabled=True, priority=0), create=True
        )
    assert way.lost == ["findAndModify"]
    assert holder is not None
    assert place.jobs.count_documents({}) == 1


async def test_a_document_whose_answer_was_lost_is_queued_once(place: Workplace, way: Way) -> None:
    async with place.store(uri=way.uri) as store:
        way.lose_reply("insert")
        await store.insert({"_id": "run now 1", "name": "job"})
        await store.insert({"_id": "run now 1", "name": "job"})
    assert way.lost == ["insert"]
    assert place.jobs.count_documents({}) == 1


async def test_giving_back_may_be_told_again(place: Workplace, way: Way) -> None:
    place.put_many(4)
    async with place.store(uri=way.uri) as store:
        await claim(store, owner="ours")
        way.lose_reply("update")
        with pytest.raises(DatabaseError):
            await store.release(owner="ours")
        assert await store.release(owner="ours") == 0
    assert place.jobs.count_documents({"attempt": 0, "runCount": 0, "status": "queued"}) == 4


async def test_a_sign_of_life_whose_answer_was_lost_has_been_given(place: Workplace, way: Way) -> None:
    id_ = place.put()
    async with place.store(uri=way.uri) as store:
        job = await claim_one(store, lane(lifetime=timedelta(minutes=1)))
        way.lose_reply("update")
        assert await store.touch(job, lock_lifetime=timedelta(hours=1))
    assert way.lost == ["update"]
    assert place.get(id_)["lockUntil"] - place.now() > timedelta(minutes=50)


@pytest.mark.parametrize("command", ["find", "insert", "aggregate", "update"])
async def test_a_chain_is_made_once_and_goes_on_though_an_answer_was_lost(
    place: Workplace, way: Way, command: str
) -> None:
    """A caller who is told that it went wrong would ask again, and have it twice."""
    async with place.store() as store:
        place.put()
        parent = await claim_one(store)
        assert await store.settle([completed(parent)]) == []
    async with async_client(way.uri) as client:
        way.lose_reply(command)
        child = await JobClient(client[place.db.name]).schedule("after", start_after=parent.id)
        assert way.lost == [command]
    assert [task["_id"] for task in place.jobs.find({"name": "after"})] == [child.id]
    assert child.status == "queued"


async def test_a_task_that_is_stored_is_not_refused_because_of_others_behind_the_same_parent(
    place: Workplace, way: Way
) -> None:
    tasks = SyncJobClient(place.db)
    parent = tasks.schedule("job")
    for _ in range(3):
        tasks.schedule("after", start_after=parent)
    async with place.store() as store:
        assert await store.settle([completed(await claim_one(store))]) == []
    async with async_client(way.uri) as client:
        way.lose_reply("update")
        child = await JobClient(client[place.db.name]).schedule("after", start_after=parent)
        assert way.lost == ["update"]
    place.chains().sweep()
    assert [task["_id"] for task in place.jobs.find({"name": "after", "status": "queued"})][-1] == child.id
    assert place.jobs.count_documents({"name": "after", "status": "queued"}) == 4


@pytest.mark.parametrize("command", ["findAndModify", "aggregate", "update"])
async def test_a_cancel_whose_answer_was_lost_has_been_made_or_is_made_by_asking_again(
    place: Workplace, way: Way, command: str
) -> None:
    tasks = SyncJobClient(place.db)
    parent = tasks.schedule("job", start_at=FAR_AHEAD)
    for _ in range(3):
        tasks.schedule("job", start_after=parent)
    async with async_client(way.uri) as client:
        way.lose_reply(command)
        with suppress(DatabaseError):
            await JobClient(client[place.db.name]).cancel(parent)
        assert way.lost == [command]
    tasks.cancel(parent)
    assert [task.status for task in tasks.tasks()] == ["cancelled"] * 4
    assert place.runs.count_documents({}) == 3
