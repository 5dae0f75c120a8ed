"""What a server with so many slots finds: the database and Python agree on what each document asks for."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from bson import Decimal128, Int64

from jobserver.store.admission import Admission, Line, slots_of
from jobserver.store.due import count_oversized, due_pipeline
from jobserver.store.indexes import DUE
from tests.stores import Store, Workplace, ids, lane

WRITTEN: list[tuple[Any, int]] = [
    (1, 1),
    (8, 8),
    (9, 9),
    (Int64(9), 9),
    (8.0, 8),
    (7.5, 8),
    (8.5, 9),
    (float("inf"), 2**53),
    (float("nan"), 3),
    (float("-inf"), 3),
    (0, 3),
    (-9, 3),
    (True, 3),
    ("9", 3),
    (None, 3),
    ([9], 3),
    ({"n": 9}, 3),
    (Decimal128("9"), 3),
]


async def claimed(store: Store, place: Workplace, *, available: int, free: int | None = None, usual: int = 3) -> Any:
    """Which documents a server with these slots locks, and what it reckons they take."""
    lanes = [replace(lane(), slots=usual)]
    line = Line(patience=timedelta(hours=1), monotonic=lambda: 0.0)
    free = available if free is None else free
    admission = Admission(available=available, free=free, lanes=lanes, line=line)
    claim = await store.claims.lock(lanes, limit=100, token=uuid4().hex, owner="here", admission=admission)
    return claim.slots, ids(await store.claims.read(claim)) if claim.locked else []


@pytest.mark.parametrize(("written", "taken"), WRITTEN, ids=lambda value: repr(value)[:20])
async def test_what_a_hand_has_written_means_the_same_to_both(place: Workplace, written: Any, taken: int) -> None:
    id_ = place.put(slots=written)
    assert (slots_of(place.get(id_)["slots"]) or 3) == taken
    async with place.store() as store:
        assert await claimed(store, place, available=min(taken, 10**6) - 1) == (0, [])
        if taken < 2**53:
            assert await claimed(store, place, available=taken, usual=3) == (taken, [id_])


async def test_what_can_never_run_here_hides_nothing_behind_it(place: Workplace) -> None:
    place.put_many(3000, slots=1024, priority=20)
    small = place.put(slots=2)
    async with place.store() as store:
        assert await claimed(store, place, available=512) == (2, [small])


async def test_behind_many_that_have_no_room_now_a_small_one_is_found(place: Workplace) -> None:
    place.put_many(300, slots=10, priority=20)
    small = place.put(slots=2)
    async with place.store() as store:
        assert await claimed(store, place, available=10, free=5) == (2, [small])


async def test_a_job_that_is_too_large_leaves_its_smaller_documents_here(place: Workplace) -> None:
    place.put_many(20)
    small = place.put(slots=2)
    async with place.store() as store:
        assert await claimed(store, place, available=512, usual=1024) == (2, [small])


async def test_what_waits_for_a_larger_server_is_counted_by_job(place: Workplace) -> None:
    place.put_many(2, slots=1024)
    place.put(slots=512)
    place.put(name="large")
    place.put(name="large", slots=1)
    place.put(name="other", slots=1024)
    place.put(slots=1024, nextRunAt=place.now() + timedelta(hours=1))
    async with place.store() as store:
        found = await count_oversized(store.claims._jobs, {"job": 1, "large": 1024}, 512)
    assert found == {"job": 2, "large": 1}


def test_with_a_limit_the_due_are_read_along_the_same_index(place: Workplace) -> None:
    place.put_many(50, slots=3)
    pipeline = due_pipeline([lane(limit=5)], 5, {"priority": -1, "nextRunAt": 1}, place.jobs.name, 512)
    plan = place.db.command("explain", {"aggregate": place.jobs.name, "pipeline": pipeline, "cursor": {}})
    text = repr(plan)
    assert f"'indexName': '{DUE}'" in text
    assert "'stage': 'SORT'" not in text
    assert "COLLSCAN" not in text
