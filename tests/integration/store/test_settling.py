"""running → ended: what each end writes, what it removes, and that only the claim that holds the lock may write it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from pymongo.errors import PyMongoError

from jobserver.errors import DatabaseError
from jobserver.store.documents import ClaimedJob, ProgressReport
from jobserver.store.states import Transition
from tests.faults import failing
from tests.stores import (
    FAILED_RETENTION,
    FAR_AHEAD,
    LIFETIME,
    LONG_AGO,
    RETENTION,
    Store,
    Workplace,
    claim,
    claim_one,
    completed,
    ending,
    failed,
    ids,
    lane,
    locks_in,
    to_retry,
)

pytestmark = pytest.mark.timeout(30)

MINUTE = timedelta(minutes=1)
ENDS = (Transition.COMPLETE, Transition.FAIL, Transition.CANCEL)


async def superseded(place: Workplace, store: Store) -> tuple[ClaimedJob, ClaimedJob]:
    """A claim that was taken back, and the valid one after it."""
    old = await claim_one(store, owner="the dead server")
    place.locks().reap_server("the dead server")
    return old, await claim_one(store, owner="the server that lives")


@pytest.mark.parametrize("transition", [*ENDS, Transition.RETRY])
async def test_an_end_under_an_old_token_stores_nothing_and_is_handed_back_as_lost(
    place: Workplace, transition: Transition
) -> None:
    id_ = place.put()
    async with place.store() as store:
        old, _ = await superseded(place, store)
        before = place.raw(id_)
        late = ending(old, transition, error="late", retry_in=MINUTE)
        assert await store.settle([late]) == [late]
    assert place.raw(id_) == before


async def test_an_end_that_comes_after_the_lock_was_taken_back_is_lost(place: Workplace) -> None:
    """Nobody has claimed it again yet: the crash is what the document says, not the result."""
    id_ = place.put()
    async with place.store() as store:
        job = await claim_one(store, owner="the dead server")
        place.locks().reap_server("the dead server")
        late = completed(job, "late")
        assert await store.settle([late]) == [late]
    assert place.get(id_)["status"] == "queued"
    assert "result" not in place.get(id_)


async def test_of_several_claims_those_are_held_whose_tokens_still_stand(place: Workplace) -> None:
    place.put(_id={"a": 1})
    async with place.store() as store:
        old, new = await superseded(place, store)
        place.put()
        other = await claim_one(store)
        ends = [completed(old), completed(new), completed(other)]
        assert await store.held(ends) == ends[1:]
        assert await store.settle(ends[1:]) == []
        assert await store.held(ends) == []


async def test_a_stuck_run_that_another_server_has_taken_back_counts_one_crash(place: Workplace) -> None:
    id_ = place.put()
    async with place.store() as store:
        job = await claim_one(store, lane(lifetime=-timedelta(milliseconds=1)), owner="slow")
        assert ids(place.locks().reap_stuck()) == [id_]
        assert await store.settle([ending(job, Transition.REAP, reason="stuck")]) == []
    assert place.get(id_)["crashes"] == 1


@pytest.mark.parametrize("transition", [*ENDS, Transition.RETRY])
async def test_a_lock_that_was_lost_takes_no_touch_and_no_progress(place: Workplace, transition: Transition) -> None:
    id_ = place.put()
    async with place.store() as store:
        job = await claim_one(store)
        await store.settle([ending(job, transition, error="over", retry_in=MINUTE)])
        before = place.raw(id_)
        assert not await store.touch(job, lock_lifetime=MINUTE)
        report = ProgressReport(total=2, current=1, message="half")
        assert not await store.touch(job, lock_lifetime=MINUTE, report=report)
    assert place.raw(id_) == before


async def test_a_document_that_was_deleted_meanwhile_does_not_come_back(place: Workplace) -> None:
    place.put_many(3)
    async with place.store() as store:
        jobs = await claim(store)
        place.jobs.delete_many({})
        ends = [completed(jobs[0]), completed(jobs[1], "a result"), failed(jobs[2])]
        assert await store.settle(ends) == ends
        assert not await store.touch(jobs[0], lock_lifetime=MINUTE)
    assert place.jobs.count_documents({}) == 0


async def test_the_same_ends_again_are_recognised_and_count_once(place: Workplace) -> None:
    place.put_many(4)
    async with place.store() as store:
        one, two, three, four = await claim(store)
        ends = [failed(one), to_retry(two), completed(three), ending(four, Transition.CANCEL)]
        assert await store.settle(ends) == []
        assert await store.settle(ends) == []
    assert (place.get(one.id)["failCount"], place.get(two.id)["failCount"]) == (1, 1)
    assert place.get(three.id)["finishedCount"] == 1


async def test_a_success_leaves_what_a_success_should(place: Workplace) -> None:
    id_ = place.put(type="normal", priority=0, data={"a": 1})
    async with place.store() as store:
        job = await claim_one(store)
        assert await store.settle([completed(job, {"rows": 3})]) == []
    document = place.get(id_)
    now = document["lastFinishedAt"]
    assert document == {
        "_id": id_,
        "name": "job",
        "type": "normal",
        "priority": 0,
        "data": {"a": 1},
        "status": "completed",
        "result": {"rows": 3},
        "lastRunAt": job.started_at,
        "lastFinishedAt": now,
        "lastCompletedAt": now,
        "duration": (now - job.started_at) // timedelta(milliseconds=1),
        "expireAt": now + RETENTION,
        "settledBy": job.token,
        **{"fence": 1, "runCount": 1, "finishedCount": 1},
    }


async def test_the_duration_is_measured_on_the_clock_of_the_database(place: Workplace) -> None:
    id_ = place.put()
    async with place.store() as store:
        job = await claim_one(store)
        place.jobs.update_one({"_id": id_}, [{"$set": {"lastRunAt": {"$subtract": ["$lastRunAt", 90_000]}}}])
        await store.settle([completed(job)])
    assert 90_000 <= place.get(id_)["duration"] < 120_000


async def test_a_start_that_a_hand_has_spoilt_leaves_no_duration(place: Workplace) -> None:
    id_ = place.put()
    async with place.store() as store:
        job = await claim_one(store)
        place.jobs.update_one({"_id": id_}, {"$set": {"lastRunAt": "just now", "finishedCount": "many"}})
        assert await store.settle([completed(job)]) == []
    assert "duration" not in place.get(id_)
    assert place.get(id_)["finishedCount"] == 1


async def test_a_success_takes_every_trace_of_earlier_failures_away_but_their_count(place: Workplace) -> None:
    id_ = place.put(poison=True)
    async with place.store() as store:
        await store.settle([to_retry(await claim_one(store), timedelta(), error="broken", stack="line 1")])
        assert {"failedAt", "lastError", "failReason", "stack"} <= set(place.get(id_))
        await store.settle([completed(await claim_one(store))])
    document = place.get(id_)
    gone = {"failedAt", "lastError", "failReason", "stack", "poison", "attempt", "crashes", "scheduledFor"}
    assert gone.isdisjoint(document)
    assert document["failCount"] == 1


async def test_a_retry_waits_in_the_database_and_keeps_its_attempt(place: Workplace) -> None:
    id_ = place.put(uniqueKey="only one")
    async with place.store() as store:
        job = await claim_one(store)
        await store.settle([to_retry(job, 5 * MINUTE, error="not yet", stack="Traceback …")])
    document = place.get(id_)
    assert document["nextRunAt"] - document["lastFinishedAt"] == 5 * MINUTE
    assert (document["status"], document["attempt"], document["scheduledFor"]) == ("scheduled", 1, LONG_AGO)
    assert (document["lastError"], document["failReason"], document["stack"]) == ("not yet", "not yet", "Traceback …")
    assert document["failedAt"] == document["lastFinishedAt"]
    assert document["uniqueKey"] == "only one"
    assert "expireAt" not in document
    assert locks_in(document) == set()


async def test_failures_are_counted_for_the_whole_life_of_a_document(place: Workplace) -> None:
    id_ = place.put(type="single", failCount=41)
    async with place.store() as store:
        await store.settle([to_retry(await claim_one(store), timedelta())])
        await store.settle([failed(await claim_one(store), next_run_at=LONG_AGO)])
        await store.settle([completed(await claim_one(store), next_run_at=LONG_AGO)])
        await store.settle([failed(await claim_one(store), next_run_at=LONG_AGO)])
    document = place.get(id_)
    assert (document["failCount"], document["finishedCount"], document["runCount"]) == (44, 1, 4)
    assert "attempt" not in document


async def test_a_failure_for_good_stays_longer_than_a_success(place: Workplace) -> None:
    id_ = place.put()
    async with place.store() as store:
        await store.settle([failed(await claim_one(store), "out of attempts")])
    document = place.get(id_)
    assert document["expireAt"] - document["lastFinishedAt"] == FAILED_RETENTION
    assert (document["status"], document["lastError"], document["failCount"]) == ("failed", "out of attempts", 1)
    assert {"nextRunAt", "stack", "attempt"}.isdisjoint(document)


async def test_a_cancelled_run_is_no_failure_and_its_reason_goes_with_the_next_run(place: Workplace) -> None:
    id_ = place.put(type="single")
    async with place.store() as store:
        job = await claim_one(store)
        await store.settle([ending(job, Transition.CANCEL, reason="not needed", next_run_at=LONG_AGO)])
        document = place.get(id_)
        assert (document["status"], document["cancelReason"]) == ("cancelled", "not needed")
        assert {"failCount", "failedAt", "lastError", "lastCompletedAt"}.isdisjoint(document)
        await store.settle([completed(await claim_one(store), next_run_at=LONG_AGO)])
    assert "cancelReason" not in place.get(id_)


@pytest.mark.parametrize("transition", ENDS)
async def test_the_holder_of_a_recurring_job_goes_on_to_its_next_moment_and_never_expires(
    place: Workplace, transition: Transition
) -> None:
    id_ = place.put(type="single")
    async with place.store() as store:
        job = await claim_one(store)
        await store.settle([ending(job, transition, error="x", next_run_at=FAR_AHEAD)])
    assert place.get(id_)["nextRunAt"] == FAR_AHEAD
    assert "expireAt" not in place.get(id_)


@pytest.mark.parametrize("transition", ENDS)
async def test_a_schedule_that_came_while_it_ran_takes_the_place_of_the_next_moment(
    place: Workplace, transition: Transition
) -> None:
    id_ = place.put(type="single")
    async with place.store() as store:
        job = await claim_one(store)
        place.jobs.update_one({"_id": id_}, {"$set": {"rearmAt": FAR_AHEAD}})
        await store.settle([ending(job, transition, error="x", next_run_at=FAR_AHEAD + MINUTE)])
    assert place.get(id_)["nextRunAt"] == FAR_AHEAD
    assert "rearmAt" not in place.get(id_)


@pytest.mark.parametrize("transition", ENDS)
async def test_a_holder_that_was_disabled_while_it_ran_has_no_next_moment(
    place: Workplace, transition: Transition
) -> None:
    id_ = place.put(type="single")
    async with place.store() as store:
        job = await claim_one(store)
        place.jobs.update_one({"_id": id_}, {"$set": {"disabled": True, "rearmAt": FAR_AHEAD}})
        await store.settle([ending(job, transition, error="x", next_run_at=FAR_AHEAD)])
    assert {"nextRunAt", "rearmAt"}.isdisjoint(place.get(id_))


async def test_a_holder_without_a_next_moment_has_none(place: Workplace) -> None:
    id_ = place.put(type="single")
    async with place.store() as store:
        await store.settle([completed(await claim_one(store))])
    assert "nextRunAt" not in place.get(id_)


@pytest.mark.parametrize("transition", ENDS)
async def test_every_end_frees_the_unique_key(place: Workplace, transition: Transition) -> None:
    id_ = place.put(uniqueKey="order 7")
    async with place.store() as store:
        await store.settle([ending(await claim_one(store), transition, error="x")])
    assert "uniqueKey" not in place.get(id_)
    place.put(uniqueKey="order 7")


@pytest.mark.parametrize(
    "result",
    [
        "$name",
        "$$ROOT",
        "$$NOW",
        {"$where": "x"},
        {"$literal": 1},
        {"a.b": {"c.d": 1}, "$set": {"name": "other"}},
        {"": 0},
        ["$data", ["$$REMOVE"]],
        *(0, False, "", [], {}, 0.0),
    ],
    ids=repr,
)
async def test_a_result_is_kept_exactly_as_it_is(place: Workplace, result: Any) -> None:
    id_ = place.put(data="secret")
    async with place.store() as store:
        assert await store.settle([completed(await claim_one(store), result)]) == []
    kept = place.get(id_)["result"]
    assert kept == result
    assert type(kept) is type(result)


async def test_a_run_without_a_result_leaves_none_and_not_the_one_of_the_run_before(place: Workplace) -> None:
    id_ = place.put(type="single")
    async with place.store() as store:
        await store.settle([completed(await claim_one(store), {"old": 1}, next_run_at=LONG_AGO)])
        await store.settle([completed(await claim_one(store), next_run_at=LONG_AGO)])
    assert "result" not in place.get(id_)


async def test_a_result_takes_the_place_of_the_one_before_as_a_whole(place: Workplace) -> None:
    id_ = place.put(type="single")
    async with place.store() as store:
        await store.settle([completed(await claim_one(store), {"old": 1, "both": {"x": 1}}, next_run_at=LONG_AGO)])
        await store.settle([completed(await claim_one(store), {"both": {"y": 2}}, next_run_at=LONG_AGO)])
    assert place.get(id_)["result"] == {"both": {"y": 2}}


async def test_errors_and_reasons_that_look_like_expressions_are_text(place: Workplace) -> None:
    place.put_many(2)
    async with place.store() as store:
        first, second = await claim(store)
        cancelled = ending(second, Transition.CANCEL, reason="$data")
        assert await store.settle([failed(first, "$name", stack="$$ROOT"), cancelled]) == []
    assert (place.get(first.id)["lastError"], place.get(first.id)["stack"]) == ("$name", "$$ROOT")
    assert place.get(second.id)["cancelReason"] == "$data"


async def test_a_run_that_was_given_back_counts_neither_as_attempt_nor_as_run(place: Workplace) -> None:
    id_ = place.put()
    async with place.store() as store:
        job = await claim_one(store)
        assert await store.settle([ending(job, Transition.RELEASE)]) == []
        document = place.get(id_)
        assert (document["status"], document["attempt"], document["runCount"]) == ("queued", 0, 0)
        assert document["nextRunAt"] == LONG_AGO
        assert locks_in(document) == set()
        again = await claim_one(store)
    assert (again.attempt, again.fence) == (1, 2)


async def test_a_server_gives_back_what_it_holds_and_nothing_else(place: Workplace) -> None:
    place.put_many(5)
    async with place.store() as store:
        ours = await claim(store, limit=3, owner="ours")
        theirs = await claim(store, owner="theirs")
        assert await store.release(owner="ours") == 3
        assert await store.release(owner="ours") == 0
    assert all(locks_in(place.get(job.id)) == set() for job in ours)
    assert all(place.get(job.id)["lockedBy"] == "theirs" for job in theirs)


async def test_giving_back_while_mongodb_is_away_says_so_in_our_own_words(place: Workplace) -> None:
    with failing(place.db.client, "update", errorCode=13) as app_name:
        async with place.store(app_name=app_name) as store:
            with pytest.raises(DatabaseError) as caught:
                await store.release(owner="ours")
    assert isinstance(caught.value.__cause__, PyMongoError)


async def test_five_hundred_ends_of_every_kind_are_stored_by_one_call(place: Workplace) -> None:
    kinds = (*ENDS, Transition.RETRY, Transition.RELEASE)
    place.put_many(400)
    place.jobs.insert_many([{"name": f"recurring {n}", "type": "single", "nextRunAt": LONG_AGO} for n in range(100)])
    async with place.store() as store:
        jobs = await claim(store, lane(), *(lane(f"recurring {n}") for n in range(100)))
        assert len(jobs) == 500
        stolen = {job.id for job in jobs[::50]}
        place.jobs.update_many({"_id": {"$in": list(stolen)}}, {"$set": {"lockToken": "stolen"}})
        ends = []
        for number, job in enumerate(jobs):
            kind = kinds[number % len(kinds)]
            result: dict[str, Any] = {"result": number} if kind is Transition.COMPLETE and number % 2 else {}
            ends.append(ending(job, kind, error="x", retry_in=MINUTE, next_run_at=FAR_AHEAD, **result))
        lost = await store.settle(ends)
    assert {end.job.id for end in lost} == {
        id_ for id_, end in ((end.job.id, end) for end in ends) if id_ in stolen and end.transition is not kinds[-1]
    }
    statuses = dict(zip(kinds, ("completed", "failed", "cancelled", "scheduled", "queued"), strict=True))
    for number, end in enumerate(ends):
        document = place.get(end.job.id)
        if end.job.id in stolen:
            assert (document["status"], document["lockToken"]) == ("running", "stolen")
            continue
        assert document["status"] == statuses[end.transition]
        assert locks_in(document) == set()
        assert document.get("result") == (number if end.transition is Transition.COMPLETE and number % 2 else None)


async def test_a_sign_of_life_moves_the_lock_on_from_now(place: Workplace) -> None:
    id_ = place.put()
    async with place.store() as store:
        job = await claim_one(store, lane(lifetime=MINUTE))
        before = place.get(id_)
        assert await store.touch(job, lock_lifetime=LIFETIME)
    after = place.get(id_)
    assert after["lockUntil"] - place.now() > LIFETIME - MINUTE
    assert {**after, "lockUntil": before["lockUntil"]} == before


async def test_progress_is_stored_with_the_sign_of_life(place: Workplace) -> None:
    id_ = place.put()
    async with place.store() as store:
        job = await claim_one(store)
        report = ProgressReport(total=8, current=3, message="$name")
        assert await store.touch(job, lock_lifetime=LIFETIME, report=report)
        first = place.get(id_)
        assert await store.touch(job, lock_lifetime=LIFETIME, report=ProgressReport(total=0, current=9, message=None))
        second = place.get(id_)
    told = first["progressData"]
    assert first["progress"] == 37
    assert told == {
        **{"total": 8, "current": 3, "percent": 37, "message": "$name"},
        "updatedAt": first["lockUntil"] - LIFETIME,
    }
    assert "progress" not in second
    assert set(second["progressData"]) == {"total", "current", "updatedAt"}


@pytest.mark.parametrize(
    ("total", "current", "percent"),
    [
        *((10, 0, 0), (10, 10, 100), (3, 1, 33), (3, 2, 66), (10, 11, 100), (0.5, 0.25, 50), (0, 5, None)),
        *((2**62, 2**62, 100), (1e-300, 2**62, 100), (1, 1e308, 100), (1e308, 1e308, 100), (1e308, 1, 0)),
    ],
)
def test_percent_is_a_whole_number_from_0_to_100_or_none_at_all(
    total: float, current: float, percent: float | None
) -> None:
    assert ProgressReport(total=total, current=current, message=None).percent == percent
