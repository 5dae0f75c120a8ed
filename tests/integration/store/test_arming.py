"""The holder of a recurring job takes on its schedule: what moves, what stays, whoever asks and however often."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from jobserver.schedule import Schedule
from jobserver.store.arming import Arming
from jobserver.store.expressions import NOW, from_now
from jobserver.store.indexes import ensure_indexes
from jobserver.store.recurrence import first_moment, pulse_fields
from tests.stores import FAR_AHEAD, LONG_AGO, NAMES, Store, Workplace, claim_one, completed, lane, to_retry

pytestmark = pytest.mark.timeout(30)

HOUR = timedelta(hours=1)
ANOTHER = FAR_AHEAD + HOUR


async def arm(store: Store, **how: Any) -> datetime | None:
    """Bring a cron-like schedule into force, unless `how` says otherwise; when it fires next."""
    usual: dict[str, Any] = {"key": "one", "first": FAR_AHEAD, "recurs": True, "enabled": True, "priority": 0}
    create = how.pop("create", True)
    return await store.arm("job", Arming(**{**usual, **how}), create=create)


def holder(place: Workplace) -> dict[str, Any]:
    """The one document that there is."""
    (document,) = place.jobs.find()
    return document


async def test_a_new_job_gets_a_holder(place: Workplace) -> None:
    async with place.store() as store:
        made = await arm(store, priority=5, fields=pulse_fields(Schedule.parse("*/5 * * * *", "Europe/Vienna")))
    document = holder(place)
    now = document["createdAt"]
    assert document == {
        "_id": document["_id"],
        "name": "job",
        "type": "single",
        "status": "scheduled",
        "priority": 5,
        "nextRunAt": FAR_AHEAD,
        "scheduleKey": "one",
        "anchorAt": now,
        "createdAt": now,
        "repeatInterval": "*/5 * * * *",
        "repeatTimezone": "Europe/Vienna",
    }
    assert made == FAR_AHEAD


async def test_a_schedule_that_is_in_force_already_is_left_alone(place: Workplace) -> None:
    """A run missed while no server was there is still owed."""
    async with place.store() as store:
        await arm(store, first=LONG_AGO)
        before = holder(place)
        assert await arm(store, first=FAR_AHEAD, afresh=True) == LONG_AGO
    assert holder(place) == before


async def test_a_new_schedule_takes_the_place_of_the_old_one(place: Workplace) -> None:
    async with place.store() as store:
        await arm(store, first=LONG_AGO)
        place.jobs.update_one({}, {"$set": {"attempt": 2, "crashes": 1, "scheduledFor": LONG_AGO, "failCount": 3}})
        await arm(store, key="two", first=ANOTHER)
    document = holder(place)
    assert (document["nextRunAt"], document["scheduleKey"], document["status"]) == (ANOTHER, "two", "scheduled")
    assert {"attempt", "crashes", "scheduledFor", "rearmAt"}.isdisjoint(document)
    assert document["failCount"] == 3


async def test_a_new_schedule_that_comes_while_it_runs_waits_for_the_end_of_the_run(place: Workplace) -> None:
    async with place.store() as store:
        await arm(store, first=LONG_AGO)
        job = await claim_one(store)
        before = holder(place)
        await arm(store, key="two", first=ANOTHER)
        during = holder(place)
        kept = ("nextRunAt", "status", "attempt", "scheduledFor", "lockToken", "lockUntil")
        assert [during[field] for field in kept] == [before[field] for field in kept]
        assert during["rearmAt"] == ANOTHER
        await arm(store, key="three", first=FAR_AHEAD)
        assert holder(place)["rearmAt"] == FAR_AHEAD
        await store.settle([completed(job, next_run_at=ANOTHER)])
    assert holder(place)["nextRunAt"] == FAR_AHEAD
    assert "rearmAt" not in holder(place)


async def test_one_that_has_become_manual_while_it_runs_does_not_run_again(place: Workplace) -> None:
    async with place.store() as store:
        await arm(store, first=LONG_AGO)
        job = await claim_one(store)
        await arm(store, key="two", first=ANOTHER)
        await arm(store, key="manual", first=None, recurs=False, create=False)
        assert "rearmAt" not in holder(place)
        await store.settle([completed(job)])
    assert "nextRunAt" not in holder(place)


async def test_a_manual_job_has_no_holder_until_something_else_has_made_one(place: Workplace) -> None:
    async with place.store() as store:
        assert await arm(store, key="manual", first=None, recurs=False, create=False) is None
        assert place.jobs.count_documents({}) == 0
        await arm(store)
        assert await arm(store, key="manual", first=None, recurs=False, create=False) is None
    assert "nextRunAt" not in holder(place)


async def test_a_manual_job_leaves_the_recurring_document_of_another_program_alone(place: Workplace) -> None:
    id_ = place.put(type="single", repeatInterval="5 minutes")
    before = place.raw(id_)
    async with place.store() as store:
        assert await arm(store, key="manual", first=None, recurs=False, create=False) is None
    assert place.raw(id_) == before


async def test_a_disabled_job_has_no_moment_and_a_recurring_one_starts_anew_when_it_is_enabled(
    place: Workplace,
) -> None:
    async with place.store() as store:
        await arm(store, first=LONG_AGO)
        await arm(store, enabled=False)
        asleep = holder(place)
        assert asleep["disabled"] is True
        assert {"nextRunAt", "heldRunAt"}.isdisjoint(asleep)
        await arm(store, enabled=False, first=ANOTHER)
        assert holder(place) == asleep
        await arm(store, first=ANOTHER)
    awake = holder(place)
    assert awake["nextRunAt"] == ANOTHER
    assert "disabled" not in awake


async def test_a_job_that_is_disabled_from_the_start_has_a_holder_that_sleeps(place: Workplace) -> None:
    async with place.store() as store:
        assert await arm(store, enabled=False) is None
    assert holder(place)["disabled"] is True


@pytest.mark.parametrize("disabled_from_the_start", [True, False])
async def test_a_moment_that_passes_while_it_is_disabled_is_still_owed(
    place: Workplace, disabled_from_the_start: bool
) -> None:
    once: dict[str, Any] = {"first": LONG_AGO, "recurs": False}
    async with place.store() as store:
        await arm(store, enabled=not disabled_from_the_start, **once)
        await arm(store, enabled=False, **once)
        assert holder(place)["heldRunAt"] == LONG_AGO
        assert "nextRunAt" not in holder(place)
        await arm(store, enabled=False, **once)
        await arm(store, enabled=True, **once)
    assert holder(place)["nextRunAt"] == LONG_AGO
    assert "heldRunAt" not in holder(place)


async def test_a_one_time_job_that_has_run_is_not_owed_again(place: Workplace) -> None:
    once: dict[str, Any] = {"first": LONG_AGO, "recurs": False}
    async with place.store() as store:
        await arm(store, **once)
        await store.settle([completed(await claim_one(store))])
        for enabled in (True, False, True):
            await arm(store, enabled=enabled, **once)
            assert {"nextRunAt", "heldRunAt"}.isdisjoint(holder(place))


async def test_a_one_time_job_that_is_disabled_while_it_runs_is_not_owed_again(place: Workplace) -> None:
    once: dict[str, Any] = {"first": LONG_AGO, "recurs": False}
    async with place.store() as store:
        await arm(store, **once)
        job = await claim_one(store)
        await arm(store, enabled=False, **once)
        await store.settle([completed(job)])
        await arm(store, **once)
    assert {"nextRunAt", "heldRunAt"}.isdisjoint(holder(place))


@pytest.mark.parametrize("crashed", [True, False])
async def test_a_one_time_job_that_breaks_after_it_was_disabled_is_still_owed(place: Workplace, crashed: bool) -> None:
    once: dict[str, Any] = {"first": LONG_AGO, "recurs": False}
    async with place.store() as store:
        await arm(store, **once)
        job = await claim_one(store, owner="dying")
        await arm(store, enabled=False, **once)
        if crashed:
            place.locks().reap_server("dying")
        else:
            await store.settle([to_retry(job, timedelta())])
        await arm(store, **once)
        assert (await claim_one(store)).attempt == (1 if crashed else 2)


async def test_a_moment_that_is_new_while_a_disabled_job_still_runs_is_owed(place: Workplace) -> None:
    async with place.store() as store:
        await arm(store, first=LONG_AGO, recurs=False)
        job = await claim_one(store)
        await arm(store, key="two", first=ANOTHER, recurs=False, enabled=False)
        await store.settle([completed(job)])
        assert "nextRunAt" not in holder(place)
        await arm(store, key="two", first=ANOTHER, recurs=False)
    assert holder(place)["nextRunAt"] == ANOTHER


async def test_a_moment_that_was_held_is_forgotten_with_its_schedule(place: Workplace) -> None:
    manual: dict[str, Any] = {"key": "manual", "first": None, "recurs": False, "create": False}
    async with place.store() as store:
        await arm(store, first=LONG_AGO, recurs=False, enabled=False)
        await arm(store, enabled=False, **manual)
        await arm(store, **manual)
    assert {"nextRunAt", "heldRunAt"}.isdisjoint(holder(place))


async def test_a_job_that_is_disabled_while_it_runs_keeps_its_lock_and_has_no_next_moment(place: Workplace) -> None:
    async with place.store() as store:
        await arm(store, first=LONG_AGO)
        job = await claim_one(store)
        await arm(store, enabled=False)
        assert holder(place)["lockToken"] == job.token
        await store.settle([completed(job, next_run_at=ANOTHER)])
        assert "nextRunAt" not in holder(place)
        await arm(store, first=FAR_AHEAD)
    assert holder(place)["nextRunAt"] == FAR_AHEAD


async def test_poison_stays_until_the_schedule_or_the_code_is_new(place: Workplace) -> None:
    async with place.store() as store:
        await arm(store, first=LONG_AGO)
        for _ in range(3):
            await claim_one(store, owner="dying")
            place.locks().reap_server("dying")
        buried = holder(place)
        assert (buried["status"], buried["poison"]) == ("failed", True)
        await arm(store)
        assert holder(place) == buried
        await arm(store, afresh=True)
        again = holder(place)
        assert (again["status"], again["nextRunAt"]) == ("scheduled", FAR_AHEAD)
        assert {"poison", "crashes", "attempt"}.isdisjoint(again)
        place.jobs.update_one({}, {"$set": {"poison": True, "status": "failed"}, "$unset": {"nextRunAt": ""}})
        await arm(store, key="two", first=ANOTHER)
    assert holder(place)["nextRunAt"] == ANOTHER
    assert "poison" not in holder(place)


async def test_a_schedule_that_came_before_the_last_crash_does_not_outlive_it(place: Workplace) -> None:
    async with place.store() as store:
        await arm(store, first=LONG_AGO)
        place.jobs.update_one({}, {"$set": {"crashes": 2}})
        await claim_one(store, owner="dying")
        await arm(store, key="two", first=ANOTHER)
        place.locks().reap_server("dying")
    buried = holder(place)
    assert (buried["poison"], buried["status"]) == (True, "failed")
    assert {"nextRunAt", "rearmAt"}.isdisjoint(buried)


async def test_the_holder_that_a_person_has_written_is_taken_over(place: Workplace) -> None:
    id_ = place.put(type="single", note="mine")
    async with place.store() as store:
        assert await arm(store) == FAR_AHEAD
    assert holder(place)["_id"] == id_
    assert holder(place)["note"] == "mine"
    assert holder(place)["scheduleKey"] == "one"


async def test_an_interval_counts_from_when_it_came_into_force(place: Workplace) -> None:
    async with place.store() as store:
        await arm(store, first=from_now(HOUR))
        anchor = holder(place)["anchorAt"]
        assert holder(place)["nextRunAt"] == anchor + HOUR
        await arm(store, first=from_now(HOUR))
        assert holder(place)["anchorAt"] == anchor
        await arm(store, key="two", first=from_now(HOUR))
    assert holder(place)["anchorAt"] >= anchor
    assert holder(place)["nextRunAt"] == holder(place)["anchorAt"] + HOUR


async def test_a_priority_is_in_force_at_once_also_while_it_runs(place: Workplace) -> None:
    async with place.store() as store:
        await arm(store, first=LONG_AGO)
        await claim_one(store)
        await arm(store, priority=20)
    assert holder(place)["priority"] == 20


async def test_eight_servers_that_arm_at_once_make_one_holder(place: Workplace) -> None:
    async with place.several(8) as stores:
        for round_ in range(10):
            name = f"job {round_}"
            made = await asyncio.gather(
                *(
                    store.arm(
                        name,
                        Arming(key="one", first=LONG_AGO, recurs=True, enabled=True, priority=0, afresh=True),
                        create=True,
                    )
                    for store in stores
                )
            )
            assert made == [LONG_AGO] * 8
            assert place.jobs.count_documents({"name": name}) == 1
            assert (await claim_one(stores[0], lane(name))).fence == 1


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("0 12 * * *", datetime(2026, 5, 1, 12, tzinfo=UTC)),
        ("2026-05-02T10:00:00.123456Z", datetime(2026, 5, 2, 10, 0, 0, 123_000, tzinfo=UTC)),
        ("2020-01-01T00:00Z", LONG_AGO),
        ("90 minutes", {"$add": [NOW, 5_400_000]}),
        ("now", NOW),
        ("manual", None),
    ],
)
def test_the_first_moment_of_every_kind_of_schedule(schedule: str, expected: Any) -> None:
    now = datetime(2026, 5, 1, 11, 59, tzinfo=UTC)
    assert first_moment(Schedule.parse(schedule), now=now) == expected


@pytest.mark.parametrize(
    ("schedule", "interval", "zone"),
    [
        ("0 12 * * *", {"$literal": "0 12 * * *"}, {"$literal": "UTC"}),
        ("90 minutes", 5_400_000, "$$REMOVE"),
        ("now", "$$REMOVE", "$$REMOVE"),
    ],
)
def test_pulse_is_told_what_it_has_words_for(schedule: str, interval: Any, zone: Any) -> None:
    assert pulse_fields(Schedule.parse(schedule)) == {"repeatInterval": interval, "repeatTimezone": zone}


async def test_a_holder_is_made_once_also_where_somebody_has_dropped_the_collection(place: Workplace) -> None:
    async with place.several(8) as stores:
        for _ in range(10):
            place.db.drop_collection(place.jobs.name)
            await asyncio.gather(*(arm(store) for store in stores))
            assert place.jobs.count_documents({}) == 1
            assert "one_holder" in place.jobs.index_information()
    ensure_indexes(place.db, NAMES)
