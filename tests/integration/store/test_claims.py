"""due → claimed: what may be claimed, in which order, how many of each, and by one claimer only."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from bson import Int64, ObjectId
from bson.datetime_ms import DatetimeMS

from jobserver.store.claims import Claim
from jobserver.store.due import MAX_LANES
from tests.stores import LONG_AGO, Store, Workplace, claim, claim_one, completed, ids, lane, to_retry

pytestmark = pytest.mark.timeout(60)

HOUR = timedelta(hours=1)


@pytest.mark.parametrize("error", [-3600.0, 0.0, 3600.0], ids=["an hour slow", "right", "an hour fast"])
async def test_only_the_clock_of_the_database_says_what_is_due(
    place: Workplace, monkeypatch: pytest.MonkeyPatch, error: float
) -> None:
    now = place.now()
    due = place.put(nextRunAt=now)
    place.put(nextRunAt=now + timedelta(minutes=30))
    true_time = time.time
    monkeypatch.setattr(time, "time", lambda: true_time() + error)
    async with place.store() as store:
        job = await claim_one(store)
    assert job.id == due
    assert abs(job.started_at - now) < timedelta(seconds=20)


@pytest.mark.parametrize(
    ("fields", "claimable"),
    [
        pytest.param({}, True, id="nothing but a name and a moment"),
        pytest.param({"lockToken": None, "lockedAt": None, "disabled": None, "status": None}, True, id="null"),
        pytest.param({"disabled": False}, True, id="not disabled"),
        pytest.param({"nextRunAt": datetime(1970, 1, 1, tzinfo=UTC)}, True, id="due since the epoch"),
        pytest.param({"nextRunAt": datetime(1900, 1, 1, tzinfo=UTC)}, True, id="due since before the epoch"),
        pytest.param({"disabled": True}, False, id="disabled"),
        pytest.param({"lockedAt": LONG_AGO}, False, id="locked by a Pulse worker"),
        pytest.param({"lockToken": "t", "lockedAt": LONG_AGO, "lockedBy": "s"}, False, id="locked by a server"),
        pytest.param({"lockToken": "t"}, False, id="locked, and Pulse has removed lockedAt"),
        pytest.param({"nextRunAt": None}, False, id="no moment"),
        pytest.param({"nextRunAt": "2020-01-01"}, False, id="a text for a moment"),
        pytest.param({"nextRunAt": 1_577_836_800_000}, False, id="a number for a moment"),
        pytest.param({"nextRunAt": [LONG_AGO]}, False, id="a list of moments"),
        pytest.param({"nextRunAt": DatetimeMS(2**62)}, False, id="a moment out of every calendar"),
        pytest.param({"name": ["job"]}, False, id="a list of names"),
        pytest.param({"name": "jobs"}, False, id="another name"),
        pytest.param({"data": "x" * (15 * 1024 * 1024)}, False, id="so large that no end could be stored in it"),
    ],
)
async def test_a_document_is_claimable_by_its_own_fields_alone(
    place: Workplace, fields: dict[str, Any], claimable: bool
) -> None:
    id_ = place.put(**fields)
    other = place.put()
    async with place.store() as store:
        claimed = await claim(store)
    assert set(ids(claimed)) == ({id_, other} if claimable else {other})


async def test_a_claim_writes_the_lock_the_counts_and_the_occurrence(place: Workplace) -> None:
    id_ = place.put(progress=40, progressData={"current": 4}, expireAt=LONG_AGO, cancelReason="no need", failCount=7)
    async with place.store() as store:
        job = await claim_one(store, lane(lifetime=HOUR), owner="server 1", token="token 1")
    document = place.get(id_)
    now = document.pop("lockedAt")
    assert document == {
        "_id": id_,
        "name": "job",
        "nextRunAt": LONG_AGO,
        "scheduledFor": LONG_AGO,
        "status": "running",
        "lockToken": "token 1",
        "lockedBy": "server 1",
        "lockUntil": now + HOUR,
        "lastRunAt": now,
        **{"fence": 1, "attempt": 1, "runCount": 1, "failCount": 7},
    }
    assert (job.id, job.token, job.fence, job.attempt) == (id_, "token 1", 1, 1)
    assert (job.started_at, job.scheduled_at, job.recurring, job.run_id) == (now, LONG_AGO, False, f"{id_}:1")


async def test_counters_that_a_hand_has_spoilt_start_again_from_nothing(place: Workplace) -> None:
    id_ = place.put(fence="seven", attempt=-5, runCount=[3])
    async with place.store() as store:
        job = await claim_one(store)
    assert (job.fence, job.attempt, place.get(id_)["runCount"]) == (1, 1, 1)


async def test_the_fence_grows_by_one_with_every_claim_and_never_repeats(place: Workplace) -> None:
    place.put()
    fences = []
    async with place.store() as store:
        for _ in range(4):
            job = await claim_one(store)
            fences.append(job.fence)
            await store.settle([to_retry(job, timedelta())])
            fences.append((await claim_one(store, owner="another server")).fence)
            await store.release(owner="another server")
    assert fences == list(range(1, 9))


async def test_a_large_fence_grows_on(place: Workplace) -> None:
    place.put(fence=Int64(2**40))
    async with place.store() as store:
        assert (await claim_one(store)).fence == 2**40 + 1


async def test_the_moment_of_the_occurrence_survives_its_retries(place: Workplace) -> None:
    due = place.now() - HOUR
    place.put(nextRunAt=due)
    async with place.store() as store:
        first = await claim_one(store)
        await store.settle([to_retry(first, timedelta())])
        second = await claim_one(store)
    assert (first.scheduled_at, second.scheduled_at) == (due, due)
    assert (first.attempt, second.attempt) == (1, 2)
    assert place.get(first.id)["nextRunAt"] > due


async def test_one_of_high_priority_goes_before_a_thousand_low_ones_due_earlier(place: Workplace) -> None:
    place.put_many(1000, name="backlog", priority=-10)
    high = place.put(name="urgent", priority=10, nextRunAt=place.now())
    async with place.store() as store:
        claimed = await claim(store, lane("backlog"), lane("urgent"), limit=1)
        assert ids(claimed) == [high]
        following = await claim(store, lane("backlog"), lane("urgent"), limit=5)
    assert {job.name for job in following} == {"backlog"}


async def test_of_equal_priority_the_earlier_due_goes_first(place: Workplace) -> None:
    order = [place.put(nextRunAt=LONG_AGO + timedelta(days=day), priority=0) for day in (5, 1, 4, 2, 3)]
    expected = [order[index] for index in (1, 3, 4, 2, 0)]
    async with place.store() as store:
        claimed = [await claim_one(store, limit=1) for _ in order]
    assert ids(claimed) == expected


async def test_a_batch_is_handed_over_in_the_order_in_which_it_should_start(place: Workplace) -> None:
    late = place.put(priority=0, nextRunAt=LONG_AGO + 2 * HOUR)
    early = place.put(priority=0, nextRunAt=LONG_AGO + HOUR)
    high = place.put(priority=20, nextRunAt=LONG_AGO + 3 * HOUR)
    unstated = place.put(nextRunAt=LONG_AGO)
    nonsense = place.put(priority="high", nextRunAt=LONG_AGO + 4 * HOUR)
    async with place.store() as store:
        assert ids(await claim(store)) == [high, unstated, early, late, nonsense]


async def test_each_lane_takes_no_more_than_its_own_limit(place: Workplace) -> None:
    for name in ("a", "b", "c"):
        place.put_many(20, name=name)
    async with place.store() as store:
        claimed = await claim(store, lane("a", 3), lane("b", 7), lane("c", 1))
    assert Counter(job.name for job in claimed) == {"a": 3, "b": 7, "c": 1}


async def test_the_batch_is_no_larger_than_its_limit_whatever_the_lanes_allow(place: Workplace) -> None:
    for name in ("a", "b"):
        place.put_many(20, name=name)
    async with place.store() as store:
        assert len(await claim(store, lane("a", 15), lane("b", 15), limit=12)) == 12


async def test_a_name_with_a_long_backlog_leaves_room_for_the_others(place: Workplace) -> None:
    place.put_many(500, name="backlog")
    place.put(name="other", nextRunAt=place.now())
    async with place.store() as store:
        claimed = await claim(store, lane("backlog", 5), lane("other", 5), limit=10)
    assert Counter(job.name for job in claimed) == {"backlog": 5, "other": 1}


async def test_each_lane_locks_for_its_own_lifetime(place: Workplace) -> None:
    names = {"short": timedelta(seconds=30), "long": timedelta(days=1), "also short": timedelta(seconds=30)}
    for name in names:
        place.put(name=name)
    async with place.store() as store:
        await claim(store, *(lane(name, lifetime=lifetime) for name, lifetime in names.items()))
    found = {document["name"]: document["lockUntil"] - document["lockedAt"] for document in place.jobs.find()}
    assert found == names


async def test_names_that_look_like_expressions_are_names(place: Workplace) -> None:
    names = ["$name", "$$ROOT", "a.b", "{$gt: ''}", "Ünïcödé ✓", "*"]
    for name in names:
        place.put(name=name)
    async with place.store() as store:
        lanes = [lane(name, lifetime=timedelta(seconds=30 + number)) for number, name in enumerate(names)]
        claimed = await claim(store, *lanes)
    assert sorted(job.name for job in claimed) == sorted(names)


async def test_more_jobs_than_one_query_takes_are_claimed_all_the_same(place: Workplace) -> None:
    names = [f"job {number}" for number in range(2 * MAX_LANES + 50)]
    place.jobs.insert_many([{"name": name, "nextRunAt": LONG_AGO} for name in names])
    async with place.store() as store:
        claimed = await claim(store, *map(lane, names), limit=2000)
    assert sorted(job.name for job in claimed) == sorted(names)


async def test_priority_counts_across_more_jobs_than_one_query_takes(place: Workplace) -> None:
    names = [f"job {number}" for number in range(MAX_LANES + 10)]
    place.put_many(50, name=names[0], priority=0)
    high = place.put(name=names[-1], priority=10, nextRunAt=place.now())
    async with place.store() as store:
        assert ids(await claim(store, *map(lane, names), limit=1)) == [high]


async def test_a_claim_that_finds_nothing_writes_nothing(place: Workplace) -> None:
    id_ = place.put(nextRunAt=place.now() + HOUR)
    before = place.raw(id_)
    async with place.store() as store:
        assert await claim(store) == []
    assert place.raw(id_) == before


@pytest.mark.parametrize(
    "id_", [7, "text", {"a": 1, "b": [2]}, LONG_AGO, ObjectId("6b01735e6355494eedf0604b"), 2.5, True], ids=repr
)
async def test_an_id_may_be_of_any_kind(place: Workplace, id_: Any) -> None:
    place.put(_id=id_)
    async with place.store() as store:
        job = await claim_one(store)
        assert job.id == id_
        assert await store.settle([completed(job, {"ok": True})]) == []
    assert place.get(id_)["status"] == "completed"


async def test_eight_claimers_at_once_get_disjoint_shares_of_everything(place: Workplace) -> None:
    """Twenty times two thousand documents: none is claimed twice, none is left."""
    async with place.several(8) as stores:
        for round_ in range(20):
            place.jobs.delete_many({})
            there = set(place.put_many(2000))
            shares = await asyncio.gather(*(_claim_all(store, f"round {round_}") for store in stores))
            claimed = [id_ for share in shares for id_ in share]
            assert len(claimed) == len(there)
            assert set(claimed) == there
    assert place.jobs.count_documents({"fence": 1, "attempt": 1}) == 2000


async def _claim_all(store: Store, owner: str) -> list[Any]:
    """Work through the backlog as a server does: look once, then read ahead."""
    found = ids(await claim(store, limit=500, owner=owner))
    misses = 0
    while misses < 2:  # a batch that others were faster to lock is no end yet
        batch = await claim(store, lane(), limit=500, token=uuid4().hex, owner=owner, ahead=True)
        misses = 0 if batch else misses + 1
        found += ids(batch)
    return found


async def test_a_backlog_that_is_read_ahead_is_claimed_in_its_order_and_whole(place: Workplace) -> None:
    order = [place.put(priority=0, nextRunAt=LONG_AGO + timedelta(seconds=number)) for number in range(30)]
    async with place.store() as store:
        found = ids(await claim(store, limit=4))
        assert store.claims.unfinished() == {"job"}
        while store.claims.unfinished():
            found += ids(await claim(store, lane(), limit=4, token=uuid4().hex, owner="s", ahead=True))
    assert found == order


async def test_a_job_that_was_read_ahead_is_not_forgotten_while_it_has_no_room(place: Workplace) -> None:
    place.put_many(9, priority=0)
    place.put_many(9, name="other", priority=0)
    async with place.store() as store:
        await claim(store, lane(limit=1), lane("other", 1), limit=2, token="1", owner="s", ahead=True)
        await claim(store, lane("other", 9), limit=9, token="2", owner="s", ahead=True)
        assert "job" in store.claims.unfinished()
        left = await claim(store, lane(), limit=20, token="3", owner="s", ahead=True)
        left += await claim(store, lane(), limit=20, token="4", owner="s", ahead=True)
    assert Counter(job.name for job in left) == {"job": 8}


async def test_servers_whose_claims_collide_divide_the_backlog(place: Workplace) -> None:
    place.put_many(8000, priority=0)
    async with place.several(3) as stores:

        async def lock(number: int) -> Claim:
            token, owner = uuid4().hex, f"server {number}"
            return await stores[number].claims.lock([lane()], limit=50, token=token, owner=owner, ahead=True)

        before = [await lock(number) for _ in range(6) for number in range(3)]
        after = [await lock(number) for _ in range(15) for number in range(3)]
    assert _in_vain(before) > 0.1
    assert _in_vain(after) < 0.3


def _in_vain(claims: list[Claim]) -> float:
    """Which part of the documents that were tried had been taken by others."""
    return 1 - sum(claim.locked for claim in claims) / sum(len(claim.candidates) for claim in claims)


async def test_what_is_urgent_does_not_wait_behind_what_was_read_ahead(place: Workplace) -> None:
    place.put_many(30, priority=0)
    async with place.store() as store:
        await claim(store, lane(), limit=4, token="1", owner="s", ahead=True)
        urgent = place.put(priority=10, nextRunAt=place.now())
        assert ids(await claim(store, limit=1)) == [urgent]
