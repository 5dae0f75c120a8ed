"""How much more a server may claim: concurrency counts what runs, lock limits count what is held."""

from __future__ import annotations

import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from jobserver.definition import JobDefaults, JobDefinition, JobSettings
from jobserver.job import Job
from jobserver.retry import Retry
from jobserver.runner.pulse.capacity import Capacity
from jobserver.runner.pulse.jobs import KnownJobs
from jobserver.runner.pulse.slots import ServerSlots
from jobserver.schedule import Schedule
from jobserver.store.admission import Line
from jobserver.store.documents import ClaimedJob, Lane

MANUAL = Schedule.parse("manual")


def settings(concurrency: int, **how: Any) -> JobSettings:
    usual: dict[str, Any] = {"global_concurrency": None, "lock_lifetime": timedelta(minutes=5)}
    return JobSettings(
        schedule=MANUAL, enabled=True, retry=Retry.OFF, priority=0, concurrency=concurrency, **{**usual, **how}
    )


def known(**concurrency: int | JobSettings) -> KnownJobs:
    jobs = KnownJobs()
    for name, limit in concurrency.items():
        definition = JobDefinition(
            name=name,
            path=f"{name}.py",
            checksum="c",
            job_class=Job,
            is_async=True,
            wants=(),
            defaults=JobDefaults(schedule=MANUAL),
        )
        jobs.put(definition, limit if isinstance(limit, JobSettings) else settings(limit))
    return jobs


def capacity(
    jobs: KnownJobs, *, most: int = 100, locks: int = 0, locks_each: int = 0, slots: int | None = None
) -> Capacity:
    line = Line(patience=timedelta(hours=1), monotonic=time.monotonic)
    counted = ServerSlots(available=slots, line=line)
    return Capacity(jobs=jobs, slots=counted, max_concurrency=most, lock_limit=locks, default_lock_limit=locks_each)


def document(name: str, **fields: Any) -> ClaimedJob:
    """A document that was claimed and read back."""
    now = datetime.now(UTC)
    return ClaimedJob(
        id=1,
        name=name,
        token="t",
        fence=1,
        attempt=1,
        started_at=now,
        scheduled_at=now,
        recurring=False,
        document=fields,
        run_id="1:1",
    )


def limits(lanes: list[Lane]) -> dict[str, int]:
    return {lane.name: lane.limit for lane in lanes}


def test_each_job_has_room_for_its_concurrency() -> None:
    assert limits(capacity(known(a=3, b=1)).lanes(["a", "b"])) == {"a": 3, "b": 1}


def test_room_shrinks_with_every_claim_and_comes_back_with_every_end() -> None:
    room = capacity(known(a=2, b=1))
    room.claimed(Counter(["a"]))
    assert limits(room.lanes(["a", "b"])) == {"a": 1, "b": 1}
    room.claimed(Counter(["a"]))
    assert limits(room.lanes(["a", "b"])) == {"b": 1}
    room.ended(document("a"))
    assert limits(room.lanes(["a", "b"])) == {"a": 1, "b": 1}


def test_what_others_were_faster_to_take_gives_its_room_back() -> None:
    room = capacity(known(a=3, b=1), locks=3)
    room.claimed(Counter(a=3))
    room.missed(Counter(a=2))
    assert limits(room.lanes(["a", "b"])) == {"a": 2, "b": 1}
    assert room.running == room.held == 1


def test_the_next_claim_need_not_wait_until_the_last_end_is_stored() -> None:
    room = capacity(known(a=1))
    room.claimed(Counter(["a"]))
    room.ended(document("a"))
    assert limits(room.lanes(["a"])) == {"a": 1}
    assert (room.running, room.held) == (0, 1)
    room.settled("a")
    assert room.held == 0


def test_no_lane_is_wider_than_the_whole_server() -> None:
    room = capacity(known(a=50, b=50), most=4)
    room.claimed(Counter(["a"]))
    assert limits(room.lanes(["a", "b"])) == {"a": 3, "b": 3}
    assert room.free() == 3


def test_a_full_server_has_no_lanes_at_all() -> None:
    room = capacity(known(a=5, b=5), most=2)
    room.claimed(Counter(["a"]))
    room.claimed(Counter(["b"]))
    assert room.free() == 0
    assert room.lanes(["a", "b"]) == []


def test_the_lock_limit_counts_what_is_not_stored_yet() -> None:
    room = capacity(known(a=5), locks=2)
    for _ in range(2):
        room.claimed(Counter(["a"]))
        room.ended(document("a"))
    assert room.lanes(["a"]) == []
    room.settled("a")
    assert limits(room.lanes(["a"])) == {"a": 1}


def test_the_lock_limit_of_one_job_leaves_the_others_alone() -> None:
    room = capacity(known(a=5, b=5), locks_each=2)
    for _ in range(2):
        room.claimed(Counter(["a"]))
        room.ended(document("a"))
    assert limits(room.lanes(["a", "b"])) == {"b": 2}


def test_a_limit_of_0_on_locks_is_none() -> None:
    room = capacity(known(a=1000), most=1000)
    for _ in range(500):
        room.claimed(Counter(["a"]))
        room.ended(document("a"))
    assert limits(room.lanes(["a"])) == {"a": 1000}


def test_a_concurrency_of_0_pauses_the_job() -> None:
    assert limits(capacity(known(a=0, b=1)).lanes(["a", "b"])) == {"b": 1}


def test_a_concurrency_that_was_lowered_leaves_no_room_until_enough_have_ended() -> None:
    jobs = known(a=5)
    room = capacity(jobs)
    for _ in range(4):
        room.claimed(Counter(["a"]))
    jobs.configure("a", settings(2))
    assert room.lanes(["a"]) == []
    for _ in range(3):
        room.ended(document("a"))
    assert limits(room.lanes(["a"])) == {"a": 1}


def test_a_job_that_is_not_known_here_has_no_lane() -> None:
    jobs = known(a=1, b=1)
    jobs.remove("a")
    jobs.remove("never there")
    jobs.configure("a", settings(9))
    assert limits(capacity(jobs).lanes(["a", "b", "c"])) == {"b": 1}
    assert list(jobs) == ["b"]
    assert (len(jobs), jobs.get("a")) == (1, None)


def test_a_lane_carries_what_the_claim_has_to_know() -> None:
    room = capacity(known(a=settings(4, global_concurrency=7, lock_lifetime=timedelta(hours=1))))
    assert room.lanes(["a"]) == [Lane(name="a", limit=4, lock_lifetime=timedelta(hours=1), global_limit=7)]


def test_a_new_version_keeps_the_settings_that_come_with_it() -> None:
    jobs = known(a=1)
    before = jobs.get("a")
    assert before is not None
    jobs.put(before.definition, settings(9))
    jobs.configure("a", settings(3))
    after = jobs.get("a")
    assert after is not None
    assert (before.settings.concurrency, after.settings.concurrency) == (1, 3)
    assert jobs.settings() == {"a": after.settings}


@pytest.mark.parametrize("most", [1, 7, 100])
def test_never_is_more_claimed_than_there_was_room_for(most: int) -> None:
    room = capacity(known(a=3, b=5, c=2), most=most, locks=8, locks_each=4)
    claimed = 0
    while lanes := room.lanes(["a", "b", "c"]):
        room.claimed(Counter([lanes[0].name]))
        claimed += 1
    assert claimed == min(most, 8, 3 + 4 + 2)


def test_without_a_limit_slots_are_not_counted() -> None:
    room, job = capacity(known(a=settings(5, slots=512))), document("a", slots=10**9)
    assert room.slots.admission(room.lanes(["a"])) is None
    assert room.slots.take(job, usual=512)
    assert (room.slots.used, job.slots) == (0, 0)


def test_slots_are_in_use_from_the_claim_until_the_code_has_ended() -> None:
    room, job = capacity(known(a=settings(5, slots=512)), slots=1024), document("a")
    room.claimed(Counter(["a"]))
    room.slots.reserve(512)
    assert room.slots.free == 512
    room.slots.release(512)
    assert room.slots.take(job, usual=512)
    assert (room.slots.free, job.slots) == (512, 512)
    room.ended(job)
    assert (room.slots.free, room.slots.used) == (1024, 0)
    room.slots.give_back(job)
    assert room.slots.used == 0


def test_a_document_decides_for_itself_how_many_slots_it_takes() -> None:
    slots = capacity(known(), slots=1024).slots
    first = document("a", slots=1000)
    assert slots.take(first, usual=1)
    assert slots.used == 1000
    assert not slots.take(document("a"), usual=25)
    assert slots.take(document("a", slots=24), usual=25)
    slots.give_back(first)
    assert slots.used == 24


@pytest.mark.parametrize("nonsense", ["512", None, True, 0, -3, float("nan"), [5], {"n": 1}])
def test_slots_that_make_no_sense_are_those_of_the_job(nonsense: Any) -> None:
    slots = capacity(known(), slots=10).slots
    assert slots.take(document("a", slots=nonsense), usual=7)
    assert slots.used == 7


@pytest.mark.parametrize(("written", "taken"), [(512.0, 512), (0.5, 1), (2.25, 3)])
def test_a_number_with_a_fraction_takes_the_next_whole_one(written: float, taken: int) -> None:
    slots = capacity(known(), slots=1024).slots
    assert slots.take(document("a", slots=written), usual=7)
    assert slots.used == taken


def test_infinitely_many_slots_are_more_than_any_server_has() -> None:
    assert not capacity(known(), slots=1_000_000).slots.take(document("a", slots=float("inf")), usual=1)


def test_a_server_whose_slots_are_all_used_has_no_lanes_at_all() -> None:
    room = capacity(known(a=5, b=5), slots=2)
    room.slots.reserve(2)
    assert room.lanes(["a", "b"]) == []
    room.slots.release(1)
    assert limits(room.lanes(["a", "b"])) == {"a": 5, "b": 5}


def test_a_lane_says_what_a_run_of_the_job_usually_takes() -> None:
    (lane,) = capacity(known(a=settings(5, slots=512)), slots=1024).lanes(["a"])
    assert lane.slots == 512
