"""Limits that hold over all servers together: numbered slots, each taken by one running document."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta

import pytest

from jobserver.store.documents import ClaimedJob
from jobserver.store.states import Transition
from tests.stores import (
    LONG_AGO,
    Store,
    Workplace,
    claim,
    claim_one,
    completed,
    ending,
    failed,
    ids,
    lane,
    to_retry,
)

pytestmark = pytest.mark.timeout(60)

LIMIT = 3


async def test_no_more_run_than_the_limit_says_however_many_servers_claim_at_once(place: Workplace) -> None:
    """Fifty times four servers: the slots are all taken and never one too many, and they come back with every end."""
    place.put_many(50 * LIMIT + 10)
    async with place.several(4) as stores:
        for round_ in range(50):
            shares = await asyncio.gather(
                *(claim(store, lane(everywhere=LIMIT), owner=f"server {number}") for number, store in enumerate(stores))
            )
            jobs = [job for share in shares for job in share]
            jobs += await claim(stores[0], lane(everywhere=LIMIT), owner="server 0")  # what a lost race has left
            assert len(jobs) == LIMIT
            assert await claim(stores[1], lane(everywhere=LIMIT)) == []
            running = [document["globalSlot"] for document in place.jobs.find({"lockToken": {"$gt": ""}})]
            assert len(set(running)) == LIMIT
            await give_back(place, stores[round_ % 4], jobs, round_)
            assert place.jobs.count_documents({"globalSlot": {"$exists": True}}) == 0


async def give_back(place: Workplace, store: Store, jobs: list[ClaimedJob], round_: int) -> None:
    """In each of the ways in which a run can end."""
    match round_ % 5:
        case 0:
            await store.settle([completed(job) for job in jobs])
        case 1:
            await store.settle([failed(jobs[0]), to_retry(jobs[1]), ending(jobs[2], Transition.CANCEL)])
        case 2:
            await store.settle([ending(job, Transition.RELEASE) for job in jobs])
        case 3:
            for number in range(4):
                await store.release(owner=f"server {number}")
        case _:
            place.locks().reap_dead_servers()


async def test_no_slot_is_ever_taken_twice_while_claims_and_ends_overlap(place: Workplace) -> None:
    place.put_many(120)
    most = 0

    async def work(store: Store) -> list[ClaimedJob]:
        nonlocal most
        done: list[ClaimedJob] = []
        while place.jobs.count_documents({"nextRunAt": LONG_AGO}):
            jobs = await claim(store, lane(limit=2, everywhere=LIMIT))
            most = max(most, place.jobs.count_documents({"lockToken": {"$gt": ""}}))
            if jobs:
                await store.settle([completed(job) for job in jobs])
            done += jobs
        return done

    async with place.several(4) as stores:
        shares = await asyncio.gather(*(work(store) for store in stores))
    done = [id_ for share in shares for id_ in ids(share)]
    assert len(done) == len(set(done)) == 120
    assert 1 <= most <= LIMIT


async def test_a_limit_that_was_lowered_counts_what_still_runs(place: Workplace) -> None:
    place.put_many(20)
    async with place.store() as store:
        five = await claim(store, lane(everywhere=5))
        assert await claim(store, lane(everywhere=2)) == []
        await store.settle([completed(job) for job in five[:3]])
        assert await claim(store, lane(everywhere=2)) == []
        await store.settle([completed(five[3])])
        assert len(await claim(store, lane(everywhere=2))) == 1


async def test_each_job_has_slots_of_its_own(place: Workplace) -> None:
    names = ("a", "a#1", "a#", "$a", "b")
    for name in names:
        place.put_many(5, name=name)
    async with place.store() as store:
        jobs = await claim(store, *(lane(name, everywhere=2) for name in names))
    assert Counter(job.name for job in jobs) == dict.fromkeys(names, 2)


async def test_the_limits_here_and_everywhere_hold_together(place: Workplace) -> None:
    place.put_many(20)
    place.put_many(20, name="free")
    async with place.store() as store:
        jobs = await claim(store, lane(limit=2, everywhere=5), lane("free", 4), limit=10)
        assert Counter(job.name for job in jobs) == {"job": 2, "free": 4}
        assert Counter(job.name for job in await claim(store, lane(everywhere=5))) == {"job": 3}


async def test_a_job_with_a_limit_is_not_passed_over_by_one_that_fills_every_batch(place: Workplace) -> None:
    place.put_many(50, priority=0)
    urgent = place.put(name="limited", priority=10, nextRunAt=place.now())
    async with place.store() as store:
        assert ids(await claim(store, lane(), lane("limited", everywhere=2), limit=1)) == [urgent]


async def test_a_job_whose_slots_are_taken_leaves_the_batch_to_the_others(place: Workplace) -> None:
    place.put_many(50, name="limited", priority=10)
    place.put_many(5)
    async with place.store() as store:
        assert len(await claim(store, lane("limited", everywhere=2))) == 2
        jobs = await claim(store, lane("limited", everywhere=2), lane(), limit=3)
        assert Counter(job.name for job in jobs) == {"job": 3}


async def test_a_job_whose_slots_are_all_taken_is_not_said_to_have_more(place: Workplace) -> None:
    """Whoever claims until nothing is unfinished would never rest."""
    place.put_many(10)
    async with place.store() as store:
        jobs = await claim(store, lane(limit=5, everywhere=2))
        assert store.claims.unfinished() == set()
        assert await claim(store, lane(limit=3, everywhere=2), limit=10, token="t", owner="s", ahead=True) == []
        assert store.claims.unfinished() == set()
        await store.settle([completed(job) for job in jobs])
        assert len(await claim(store, lane(limit=1, everywhere=2))) == 1
        assert store.claims.unfinished() == {"job"}


async def test_retries_wait_without_a_slot(place: Workplace) -> None:
    place.put_many(2)
    async with place.store() as store:
        job = await claim_one(store, lane(everywhere=1))
        await store.settle([to_retry(job, timedelta(hours=1))])
        assert (await claim_one(store, lane(everywhere=1))).id != job.id


async def test_a_slot_that_a_hand_has_written_does_no_harm(place: Workplace) -> None:
    place.put_many(3)
    place.put(name="other", globalSlot="job", lockToken="t", nextRunAt=None)
    place.put(name="other", globalSlot=7, nextRunAt=None)
    place.put(name="other", globalSlot="job#x", nextRunAt=None)
    place.put(name="other", globalSlot={"job": 1}, nextRunAt=None)
    async with place.store() as store:
        assert len(await claim(store, lane(everywhere=2))) == 2
