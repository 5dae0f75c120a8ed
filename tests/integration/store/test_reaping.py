"""Locks that nobody can hold any more: of dead servers, of stuck runs, of vanished Pulse workers, of torn documents."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from bson import Int64
from bson.datetime_ms import DatetimeMS
from pymongo import MongoClient
from pymongo.monitoring import CommandListener, CommandStartedEvent

from jobserver.store import transitions
from jobserver.store.connection import deciding_sync, sync_client
from jobserver.store.locks import LockStore
from jobserver.store.servers import Identity, ServerStore
from jobserver.store.states import Transition
from jobserver.store.transitions import MAX_CRASHES
from tests.integration.conftest import eventually
from tests.network import Network
from tests.stores import (
    FAILED_RETENTION,
    LIFETIME,
    LONG_AGO,
    NAMES,
    RETENTION,
    Store,
    Workplace,
    claim,
    claim_one,
    completed,
    ending,
    ids,
    lane,
    locks_in,
    to_retry,
)

pytestmark = pytest.mark.timeout(30)

OVER = timedelta(hours=-1)


async def test_only_the_locks_of_dead_servers_are_taken_back(place: Workplace) -> None:
    place.put_many(9)
    place.register("alive")
    place.register("dead", lease=OVER)
    async with place.store() as store:
        live = await claim(store, limit=3, owner="alive")
        dead = await claim(store, limit=3, owner="dead")
        unknown = await claim(store, limit=3, owner="never registered")
    before = [place.raw(job.id) for job in live]
    reaped = place.locks().reap_dead_servers()
    assert set(ids(reaped)) == {*ids(dead), *ids(unknown)}
    assert [place.raw(job.id) for job in live] == before
    for job in reaped:
        document = place.get(job.id)
        assert (document["status"], document["crashes"], document["attempt"]) == ("queued", 1, 0)
        assert document["nextRunAt"] == LONG_AGO
        assert document["crashedToken"] == job.token
        assert locks_in(document) == set()
    assert place.locks().reap_dead_servers() == []


async def test_a_server_counts_as_dead_only_some_seconds_after_its_lease(place: Workplace) -> None:
    place.put()
    place.register("late", lease=timedelta(seconds=-2))
    async with place.store() as store:
        await claim_one(store, owner="late")
    assert place.locks().reap_dead_servers() == []


async def test_a_dead_server_is_struck_off_and_told_so_when_it_renews(place: Workplace) -> None:
    place.put()
    place.register("dead", lease=OVER)
    async with place.store() as store:
        await claim_one(store, owner="dead")
    place.locks().reap_dead_servers()
    assert place.servers.count_documents({}) == 0
    assert ServerStore(place.servers).renew("dead", {}) is None
    assert place.servers.count_documents({}) == 0


def test_a_server_that_died_without_a_lock_is_forgotten_after_a_day(place: Workplace) -> None:
    for id_, lease in (("alive", timedelta(minutes=1)), ("dead", OVER), ("long dead", timedelta(days=-2))):
        place.register(id_, lease=lease)
    place.servers.insert_one({"_id": "a hand's", "leaseUntil": "yesterday"})
    place.locks().reap_dead_servers()
    place.locks().forget_dead_servers()
    assert {server["_id"] for server in place.servers.find()} == {"alive", "dead", "a hand's"}


async def test_servers_that_a_hand_has_written_do_not_keep_the_dead_alive(place: Workplace) -> None:
    place.put_many(6)
    hands: list[dict[str, Any]] = [
        {"_id": "no lease"},
        {"_id": "text", "leaseUntil": "tomorrow"},
        {"_id": "number", "leaseUntil": 9_999_999_999_999},
        {"_id": "list", "leaseUntil": [LONG_AGO]},
        {"_id": "the end of time", "leaseUntil": DatetimeMS(2**63 - 1)},
        {"_id": {"a": "mapping"}, "leaseUntil": "x"},
    ]
    place.servers.insert_many(hands)
    place.register("alive")
    async with place.store() as store:
        mine = await claim_one(store, limit=1, owner="alive")
        for owner in ("no lease", "text", "number", "list"):
            await claim_one(store, limit=1, owner=owner)
        forever = await claim_one(store, limit=1, owner="the end of time")
    reaped = place.locks().reap_dead_servers()
    assert {job.document["lockedBy"] for job in reaped} == {"no lease", "text", "number", "list"}
    assert {mine.id, forever.id} == {document["_id"] for document in place.jobs.find({"lockToken": {"$gt": ""}})}


async def test_a_process_whose_end_was_seen_gives_its_locks_up_at_once(place: Workplace) -> None:
    place.put_many(4)
    place.register("worker", supervisor="boss", pid=17)
    place.register("sibling", supervisor="boss", pid=18)
    place.register("namesake", supervisor="other", pid=17)
    async with place.store() as store:
        theirs = {owner: await claim_one(store, limit=1, owner=owner) for owner in ("worker", "sibling", "namesake")}
    reaped = place.locks().reap_process(supervisor="boss", pid=17, reason="it was killed")
    assert ids(reaped) == [theirs["worker"].id]
    assert place.get(theirs["worker"].id)["lastCrashReason"] == "it was killed"
    async with place.store() as store:
        late = await claim_one(store, limit=1, owner="worker")  # sent before its end, carried out after it
    crashes = place.get(late.id).get("crashes")
    assert place.locks().sign_off(supervisor="boss", pids=[16, 17]) == 1
    assert (place.get(late.id)["status"], place.get(late.id).get("crashes")) == ("queued", crashes)
    assert {server["_id"] for server in place.servers.find()} == {"sibling", "namesake"}
    assert place.locks().sign_off(supervisor="boss", pids=[16, 17]) == 0


async def test_a_process_that_its_supervisor_has_killed_gives_its_locks_back_without_a_crash(place: Workplace) -> None:
    place.put()
    place.register("worker", supervisor="boss", pid=17)
    async with place.store() as store:
        held = await claim_one(store, owner="worker")
    place.locks().release_process(supervisor="boss", pid=17)
    assert (place.get(held.id)["status"], place.get(held.id).get("crashes")) == ("queued", None)
    assert [server["_id"] for server in place.servers.find()] == ["worker"]


async def test_a_crash_is_no_attempt_and_no_failure(place: Workplace) -> None:
    id_ = place.put()
    async with place.store() as store:
        await store.settle([to_retry(await claim_one(store), timedelta(), error="the real failure")])
        crashed = await claim_one(store, owner="dying")
        assert crashed.attempt == 2
        place.locks().reap_server("dying")
        document = place.get(id_)
        assert (document["attempt"], document["crashes"], document["failCount"]) == (1, 1, 1)
        assert document["lastError"] == "the real failure"
        assert document["lastCrashReason"] == "server dying died while it ran"
        again = await claim_one(store)
    assert (again.attempt, again.scheduled_at) == (2, LONG_AGO)


@pytest.mark.parametrize("how", ["server died", "run was stuck", "own server stopped it"])
async def test_the_third_crash_makes_it_poison_and_it_is_not_run_again(place: Workplace, how: str) -> None:
    id_ = place.put(uniqueKey="order 7", type="normal")
    async with place.store() as store:
        for crash in range(MAX_CRASHES):
            assert "poison" not in place.get(id_)
            await crash_by(how, place, store)
            assert place.get(id_)["crashes"] == crash + 1
        assert await claim(store) == []
    document = place.get(id_)
    assert (document["status"], document["poison"], document["failCount"]) == ("failed", True, 1)
    assert document["lastError"] == document["failReason"]
    assert "3 crashes" in document["lastError"]
    assert document["failedAt"] == document["lastFinishedAt"] == document["lastCrashAt"]
    assert {"nextRunAt", "uniqueKey"}.isdisjoint(document)
    assert locks_in(document) == set()


async def crash_by(how: str, place: Workplace, store: Store) -> None:
    lifetime = -timedelta(milliseconds=1) if how == "run was stuck" else LIFETIME  # over within this millisecond
    job = await claim_one(store, lane(lifetime=lifetime), owner="dying")
    match how:
        case "server died":
            assert ids(place.locks().reap_dead_servers()) == [job.id]
        case "run was stuck":
            assert ids(place.locks().reap_stuck()) == [job.id]
        case _:
            assert await store.settle([ending(job, Transition.REAP, reason="stuck")]) == []


async def test_crashes_are_counted_within_one_occurrence(place: Workplace) -> None:
    id_ = place.put(type="single")
    async with place.store() as store:
        for _ in range(4):
            await claim_one(store, owner="dying")
            place.locks().reap_server("dying")
            await store.settle([completed(await claim_one(store), next_run_at=LONG_AGO)])
    assert place.get(id_)["status"] == "completed"
    assert "crashes" not in place.get(id_)


async def test_every_run_that_was_taken_back_is_in_the_history_once(place: Workplace) -> None:
    place.put_many(3)
    async with place.store() as store:
        jobs = await claim(store, owner="dying")
    assert len(place.locks().reap_server("dying", reason="it is gone")) == 3
    assert place.locks().reap_server("dying", reason="it is gone") == []
    entries = {entry["_id"]: entry for entry in place.runs.find()}
    assert set(entries) == {job.run_id for job in jobs}
    for job in jobs:
        entry = entries[job.run_id]
        assert (entry["jobId"], entry["name"], entry["status"], entry["server"]) == (job.id, "job", "failed", "dying")
        assert (entry["error"], entry["attempt"], entry["fence"]) == ("it is gone", 1, 1)
        assert (entry["scheduledAt"], entry["startedAt"]) == (LONG_AGO, job.started_at)
        assert entry["finishedAt"] == place.get(job.id)["lastCrashAt"]
        assert entry["duration"] == (entry["finishedAt"] - job.started_at) // timedelta(milliseconds=1)


async def test_eight_reapers_at_once_count_one_crash_each_and_write_one_entry_each(place: Workplace) -> None:
    place.put_many(300)
    async with place.store() as store:
        jobs = await claim(store, owner="dying")
    with ThreadPoolExecutor(8) as reapers:
        found = list(reapers.map(lambda _: place.locks().reap_server("dying"), range(8)))
    assert {id_ for share in found for id_ in ids(share)} == set(ids(jobs))
    assert place.jobs.count_documents({"crashes": 1, "attempt": 0, "status": "queued"}) == 300
    assert {entry["_id"] for entry in place.runs.find()} == {job.run_id for job in jobs}


async def test_a_run_that_has_settled_in_the_last_moment_has_not_crashed(place: Workplace) -> None:
    id_ = place.put()
    async with place.store() as store:
        job = await claim_one(store, owner="slow")
        await store.settle([completed(job)])
    assert place.locks().reap_server("slow") == []
    assert place.get(id_)["status"] == "completed"
    assert place.runs.count_documents({}) == 0


class BeforeUpdate(CommandListener):
    """Does something in the moment before a client's first update leaves it."""

    def __init__(self, work: Callable[[], object]) -> None:
        self._work: Callable[[], object] | None = work

    def started(self, event: CommandStartedEvent) -> None:
        work = self._work
        if work is not None and event.command_name == "update":
            self._work = None
            work()

    def succeeded(self, event: Any) -> None:
        pass

    def failed(self, event: Any) -> None:
        pass


async def test_a_run_that_settles_between_the_look_and_the_taking_back_has_not_crashed(place: Workplace) -> None:
    id_ = place.put()
    async with place.store() as store:
        job = await claim_one(store, owner="slow")
    end = completed(job)
    change = transitions.settle(end, retention=RETENTION, failed_retention=FAILED_RETENTION)
    meanwhile = BeforeUpdate(lambda: place.jobs.update_one(transitions.owned(end), change))
    with MongoClient[dict[str, Any]](place.uri, event_listeners=[meanwhile]) as client:
        chores = deciding_sync(client[place.db.name])
        locks = LockStore(jobs=chores[NAMES.jobs], runs=chores[NAMES.runs], servers=chores[NAMES.servers])
        assert locks.reap_server("slow") == []
    document = place.get(id_)
    assert (document["status"], document["settledBy"], "crashes" in document) == ("completed", job.token, False)
    assert place.runs.count_documents({}) == 0


async def test_only_runs_without_a_sign_of_life_for_their_lock_lifetime_are_stuck(place: Workplace) -> None:
    place.put_many(2)
    place.put(name="slow")
    place.register("server")
    async with place.store() as store:
        jobs = await claim(store, lane(), lane("slow", lifetime=-timedelta(milliseconds=1)), owner="server")
        stuck = [job for job in jobs if job.name == "slow"]
        assert ids(place.locks().reap_stuck()) == ids(stuck)
        assert place.get(stuck[0].id)["lastCrashReason"] == "no progress within the lock lifetime, the lock expired"
        assert place.locks().reap_dead_servers() == []
    assert place.servers.count_documents({"_id": "server"}) == 1


async def test_a_touch_saves_a_run_from_being_stuck(place: Workplace) -> None:
    place.put()
    async with place.store() as store:
        job = await claim_one(store, lane(lifetime=-timedelta(milliseconds=1)))
        assert await store.touch(job, lock_lifetime=LIFETIME)
    assert place.locks().reap_stuck() == []


TORN: list[dict[str, Any]] = [
    {"$unset": {"lockedBy": ""}},
    {"$unset": {"lockUntil": ""}},
    {"$unset": {"lockedBy": "", "lockUntil": "", "fence": "", "attempt": "", "lastRunAt": "", "scheduledFor": ""}},
    {"$set": {"lockedBy": None}},
    {"$set": {"lockedBy": 7}},
    {"$set": {"lockedBy": {"server": "x"}}},
    {"$set": {"lockedBy": ["dying"]}},
    {"$set": {"lockUntil": "soon"}},
    {"$set": {"attempt": "first"}},
    {"$set": {"fence": "first"}},
    {"$unset": {"scheduledFor": ""}},
    {"$set": {"lastRunAt": "just now"}},
    {"$set": {"lastRunAt": DatetimeMS(2**62)}},
    {"$set": {"lockedAt": "just now"}},
    {"$set": {"crashes": "none", "failCount": [1], "runCount": {"a": 1}}},
    {"$set": {"crashes": Int64(2**62), "name": ["job"]}},
    {"$unset": {"name": ""}},
]


@pytest.mark.parametrize("tear", TORN, ids=str)
async def test_a_lock_that_a_hand_has_torn_is_freed_all_the_same_and_the_sound_ones_with_it(
    place: Workplace, tear: dict[str, Any]
) -> None:
    place.put_many(3)
    place.register("alive")
    async with place.store() as store:
        torn, sound, kept = await claim(store, owner="dying")
        place.jobs.update_one({"_id": kept.id}, {"$set": {"lockedBy": "alive"}})
        place.jobs.update_one({"_id": torn.id}, tear)
    reaped = [*place.locks().reap_dead_servers(), *place.locks().reap_stuck()]
    assert sound.id in ids(reaped)
    assert sound.run_id in {entry["_id"] for entry in place.runs.find()}
    assert locks_in(place.get(torn.id)) == set()
    assert locks_in(place.get(sound.id)) == set()
    assert place.get(kept.id)["lockedBy"] == "alive"


async def test_what_a_pulse_worker_has_locked_is_free_again_after_the_lock_lifetime(place: Workplace) -> None:
    now = place.now()
    lifetimes = {"job": timedelta(minutes=10), "other": timedelta(hours=10)}
    expired = place.put(lockedAt=now - timedelta(minutes=11))
    working = place.put(lockedAt=now - timedelta(minutes=9))
    patient = place.put(name="other", lockedAt=now - timedelta(minutes=11))
    foreign = place.put(name="not ours", lockedAt=LONG_AGO)
    ours = place.put(lockedAt=LONG_AGO, lockToken="t", lockedBy="s")
    listed = place.put(lockedAt=[LONG_AGO])
    assert place.strays().release_foreign(lifetimes) == 2
    assert "lockedAt" not in place.get(expired)
    assert all("lockedAt" in place.get(id_) for id_ in (working, patient, foreign, ours))
    async with place.store() as store:
        assert set(ids(await claim(store))) == {expired, listed}


@pytest.mark.parametrize("token", ["", 0, False, [], {"a": 1}], ids=repr)
async def test_a_token_that_a_hand_has_overwritten_locks_no_longer_than_a_pulse_worker_does(
    place: Workplace, token: Any
) -> None:
    id_ = place.put(status="running")
    async with place.store() as store:
        await claim_one(store)
        place.jobs.update_one({"_id": id_}, {"$set": {"lockToken": token}})
        assert place.strays().release_foreign({"job": LIFETIME}) == 0
        place.jobs.update_one({"_id": id_}, {"$set": {"lockedAt": LONG_AGO}})
        assert place.strays().release_foreign({"job": LIFETIME}) == 1
        assert (await claim_one(store)).id == id_


async def test_what_another_reaper_has_taken_back_meanwhile_is_not_told_as_overdue(place: Workplace) -> None:
    id_ = place.put(type="single", lastFinishedAt=LONG_AGO)
    async with place.store() as store:
        job = await claim_one(store, owner="dead")
    place.jobs.update_one({"_id": id_}, {"$set": {"deadlineAt": LONG_AGO}})
    meanwhile = BeforeUpdate(lambda: place.locks().reap_dead_servers())
    with MongoClient[dict[str, Any]](place.uri, event_listeners=[meanwhile]) as client:
        assert place.locks(client).fail_overdue() == []
    (entry,) = place.runs.find({"_id": job.run_id})
    assert "died while it ran" in entry["error"]
    assert entry["duration"] >= 0


async def test_a_lock_that_a_starting_pulse_worker_has_stripped_can_be_reaped_again(place: Workplace) -> None:
    """Pulse removes `lockedAt` from every running document when it starts."""
    id_ = place.put()
    async with place.store() as store:
        await claim_one(store, owner="dying")
        place.jobs.update_one({"_id": id_}, {"$unset": {"lockedAt": ""}})
        assert await claim(store) == []
        assert place.strays().restore_stripped(["job", "another"]) == 1
        assert place.strays().restore_stripped(["job"]) == 0
        assert ids(place.locks().reap_dead_servers()) == [id_]


async def test_a_document_without_a_priority_is_given_its_jobs(place: Workplace) -> None:
    bare = place.put()
    stated = place.put(priority=3)
    null = place.put(name="other", priority=None)
    foreign = place.put(name="not ours")
    assert place.strays().adopt({"job": 5, "other": -5}) == 2
    found = [place.get(id_).get("priority") for id_ in (bare, stated, null, foreign)]
    assert found == [5, 3, -5, None]
    assert (place.get(bare)["type"], place.get(bare)["status"]) == ("normal", "queued")
    assert "type" not in place.get(stated)


async def test_the_locks_that_a_server_holds_are_known_by_their_runs(place: Workplace) -> None:
    place.put_many(4)
    async with place.store() as store:
        ours = await claim(store, limit=2, owner="ours")
        await claim(store, limit=1, owner="theirs")
    assert place.locks().held_runs("ours") == {job.run_id for job in ours}
    assert place.locks().held_runs("nobody") == set()


def test_a_lease_is_taken_renewed_and_given_up_on_the_clock_of_the_database(place: Workplace) -> None:
    servers = ServerStore(place.servers, lease=timedelta(seconds=30))
    me = Identity(id="me", host="$host", pid=7, version="1", supervisor="boss")
    started = servers.register(me, {"running": 0, "jobs": ["$name"]})
    first = place.servers.find_one({"_id": "me"})
    assert first == {
        "_id": "me",
        **{"host": "$host", "pid": 7, "version": "1", "supervisor": "boss", "running": 0, "jobs": ["$name"]},
        **{"startedAt": started, "heartbeatAt": started, "leaseUntil": started + timedelta(seconds=30)},
    }
    renewed = servers.renew("me", {"running": 3})
    assert renewed is not None
    assert renewed >= started
    second = place.servers.find_one({"_id": "me"})
    assert second is not None
    assert (second["running"], second["startedAt"], second["leaseUntil"] - renewed) == (
        3,
        started,
        timedelta(seconds=30),
    )
    servers.end("me")
    servers.end("me")
    assert servers.renew("me", {}) is None
    assert place.servers.count_documents({}) == 0


@pytest.mark.parametrize("back", [True, False])
async def test_a_server_that_is_back_between_the_look_and_the_reaping_keeps_its_locks(
    place: Workplace, mongo_uri: str, back: bool
) -> None:
    """The look may also have been a primary's that is none any more: it shows leases as they once were."""
    place.put_many(3)
    place.register("late", lease=OVER)
    async with place.store() as store:
        held = await claim(store, owner="late")
    with (
        Network.start(mongo_uri) as network,
        sync_client((way := network.way()).uri) as client,
        ThreadPoolExecutor(1) as reaper,
    ):
        way.lose_reply("find", of="jobServers", hang=True)
        reaping = reaper.submit(place.locks(client).reap_dead_servers)
        eventually(lambda: way.lost)
        if back:
            leases = ServerStore(deciding_sync(place.db)[NAMES.servers], lease=timedelta(minutes=1))
            assert leases.renew("late", {}) is not None
        way.heal()
        reaped = reaping.result()
    assert set(ids(reaped)) == (set() if back else set(ids(held)))
    assert place.jobs.count_documents({"lockedBy": "late"}) == (3 if back else 0)
    assert (place.servers.find_one({"_id": "late"}) is not None) is back
