"""`jobConfigs` and its history: made once, completed but never overwritten, each decision won by one server."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from bson import Int64
from pymongo.collection import Collection

from jobserver.definition import JobDefaults
from jobserver.errors import DatabaseError
from jobserver.manager.history import HistoryKeeper, changes_between
from jobserver.manager.overrides import default_config
from jobserver.schedule import Schedule
from jobserver.store.configs import ConfigFull, ConfigStore
from jobserver.store.connection import async_client, deciding, deciding_sync
from jobserver.store.indexes import ensure_indexes
from tests.faults import failing
from tests.stores import LONG_AGO, NAMES, Workplace

pytestmark = pytest.mark.timeout(60)

DEFAULTS = default_config(JobDefaults(schedule=Schedule.parse("*/5 * * * *"), concurrency=3))
SERVERS = 8


def config(place: Workplace, name: str = "job") -> dict[str, Any]:
    """The one document of this job."""
    (found,) = place.configs.find({"jobName": name})
    return found


@contextmanager
def without_index(place: Workplace, collection: Collection[dict[str, Any]]) -> Iterator[None]:
    """A hand has dropped the collection's indexes; afterwards all is as it was."""
    collection.drop_indexes()
    yield
    collection.drop()
    ensure_indexes(deciding_sync(place.db), NAMES)


async def test_a_new_job_gets_its_document(place: Workplace) -> None:
    async with place.config_stores() as (store,):
        assert await store.create("job", checksum="c1", enabled=False, defaults=DEFAULTS)
    document = config(place)
    made_at = document.pop("createdAt")
    assert document == {
        "_id": document["_id"],
        "jobName": "job",
        "enabled": False,
        "checksum": "c1",
        "schedule": {"type": "schedule", "value": "*/5 * * * *"},
        "retry": DEFAULTS["retry"],
        "runNow": False,
        "defaultConfig": DEFAULTS,
        "updatedAt": made_at,
    }
    assert DEFAULTS["concurrency"] == 3


async def test_eight_servers_at_once_make_one_document(place: Workplace) -> None:
    async with place.config_stores(SERVERS) as stores:
        for name in ("a", "b", "c", "d", "e"):
            made = await asyncio.gather(
                *(store.create(name, checksum="c1", enabled=True, defaults=DEFAULTS) for store in stores)
            )
            assert sum(made) == 1
            assert config(place, name)["checksum"] == "c1"


@pytest.mark.parametrize("checksum", [{}, {"checksum": None}], ids=["absent", "null"])
async def test_a_document_that_a_person_wrote_first_is_completed_and_not_overwritten(
    place: Workplace, checksum: dict[str, Any]
) -> None:
    mine = {"jobName": "job", "enabled": False, "retry": {"attempts": 9}, "note": "mine", "createdAt": LONG_AGO}
    id_ = place.configs.insert_one({**mine, **checksum}).inserted_id
    async with place.config_stores() as (store,):
        assert not await store.create("job", checksum="c1", enabled=True, defaults=DEFAULTS)
        assert not await store.reset("job", checksum="c1", defaults=DEFAULTS)
    document = config(place)
    assert {key: document[key] for key in mine} == mine
    assert document["_id"] == id_
    assert (document["checksum"], document["schedule"]) == ("c1", DEFAULTS["schedule"])


async def test_a_document_that_is_there_is_left_alone(place: Workplace) -> None:
    async with place.config_stores() as (store,):
        await store.create("job", checksum="c1", enabled=True, defaults=DEFAULTS)
        place.configs.update_one({}, {"$set": {"enabled": False}, "$unset": {"retry": ""}})
        before = config(place)
        assert not await store.create("job", checksum="c2", enabled=True, defaults=DEFAULTS)
    assert config(place) == before


async def test_new_code_resets_everything_but_enabled(place: Workplace) -> None:
    async with place.config_stores(SERVERS) as stores:
        await stores[0].create("job", checksum="c1", enabled=True, defaults=DEFAULTS)
        edit = {
            "enabled": False,
            "schedule": {"type": "manual"},
            "retry": {"attempts": 9},
            "runNow": True,
            "note": "mine",
            "configError": {"field": "priority", "message": "old"},
            **dict.fromkeys(("concurrency", "globalConcurrency", "lockLifetime", "priority"), 7),
        }
        place.configs.update_one({}, {"$set": edit})
        new = {**DEFAULTS, "schedule": {"type": "now"}}
        done = await asyncio.gather(*(store.reset("job", checksum="c2", defaults=new) for store in stores))
    assert sum(done) == 1
    document = config(place)
    assert (document["enabled"], document["runNow"], document["note"]) == (False, True, "mine")
    assert (document["checksum"], document["schedule"], document["retry"]) == ("c2", {"type": "now"}, DEFAULTS["retry"])
    assert document["defaultConfig"] == new
    gone = {"concurrency", "globalConcurrency", "lockLifetime", "priority", "configError"}
    assert gone.isdisjoint(document)


async def test_code_that_is_known_already_resets_nothing(place: Workplace) -> None:
    async with place.config_stores() as (store,):
        await store.create("job", checksum="c1", enabled=True, defaults=DEFAULTS)
        place.configs.update_one({}, {"$set": {"priority": 7}})
        before = config(place)
        assert not await store.reset("job", checksum="c1", defaults=DEFAULTS)
    assert config(place) == before


async def test_values_that_look_like_expressions_are_values(place: Workplace) -> None:
    strange = {"schedule": "$jobName", "retry": {"$where": "x"}, "a.b": "$$ROOT"}
    async with place.config_stores() as (store,):
        await store.create("$name", checksum="$$NOW", enabled=True, defaults=strange)
        document = config(place, "$name")
        assert (document["schedule"], document["retry"], document["checksum"]) == ("$jobName", {"$where": "x"}, "$$NOW")
        assert document["defaultConfig"] == strange
        await store.mark_error(document["_id"], {"field": "$jobName", "message": "$$ROOT"})
        assert config(place, "$name")["configError"]["message"] == "$$ROOT"
        await store.record("$name", version=1, changes=[{"from": "$a"}], values={"x": "$b"}, by="$c")
        applied = await store.applied("$name")
    assert applied is not None
    assert applied.values == {"x": "$b"}


async def test_run_now_has_one_winner_of_eight(place: Workplace) -> None:
    async with place.config_stores(SERVERS) as stores:
        await stores[0].create("job", checksum="c1", enabled=True, defaults=DEFAULTS)
        id_ = config(place)["_id"]
        for _ in range(50):
            place.configs.update_one({}, {"$set": {"runNow": True}})
            taken = await asyncio.gather(*(store.take_run_now(id_) for store in stores))
            (request,) = [each for each in taken if each is not None]
            document = config(place)
            assert (document["runNow"], document["runNowRequest"]) == (False, request)
            await asyncio.gather(*(store.finish_run_now(id_, request) for store in stores))
            assert "runNowRequest" not in config(place)


@pytest.mark.parametrize("value", [False, None, 1, "true"], ids=repr)
async def test_only_true_asks_for_a_run(place: Workplace, value: Any) -> None:
    id_ = place.configs.insert_one({"jobName": "job", "runNow": value}).inserted_id
    async with place.config_stores() as (store,):
        assert await store.take_run_now(id_) is None
    assert config(place)["runNow"] == value


async def test_a_request_that_has_been_replaced_is_not_forgotten_by_the_end_of_the_old_one(place: Workplace) -> None:
    id_ = place.configs.insert_one({"jobName": "job", "runNow": True}).inserted_id
    async with place.config_stores() as (store,):
        old = await store.take_run_now(id_)
        place.configs.update_one({}, {"$set": {"runNow": True}})
        new = await store.take_run_now(id_)
        await store.finish_run_now(id_, old)
    assert config(place)["runNowRequest"] == new


async def test_an_error_is_shown_once_and_written_again_only_when_it_differs(place: Workplace) -> None:
    id_ = place.configs.insert_one({"jobName": "job"}).inserted_id
    error = {"field": "retry", "message": "no number"}
    async with place.config_stores(2) as (one, other):
        await one.mark_error(id_, None)
        assert "configError" not in config(place)
        await one.mark_error(id_, error)
        shown = config(place)["configError"]
        assert {key: shown[key] for key in error} == error
        await other.mark_error(id_, error)
        assert config(place)["configError"] == shown
        await other.mark_error(id_, {"field": "retry", "message": "worse"})
        assert config(place)["configError"]["message"] == "worse"
        await one.mark_error(id_, None)
    assert "configError" not in config(place)


@pytest.mark.parametrize("written", ["oops", 7, [1, 2], {"field": "other"}, None], ids=repr)
async def test_an_error_takes_the_place_of_whatever_a_hand_has_written_there(place: Workplace, written: Any) -> None:
    id_ = place.configs.insert_one({"jobName": "job", "configError": written}).inserted_id
    async with place.config_stores() as (store,):
        await store.mark_error(id_, {"field": "retry", "message": "no number"})
        shown = config(place)["configError"]
        assert (shown["field"], shown["message"]) == ("retry", "no number")
        await store.mark_error(id_, None)
    assert "configError" not in config(place)


async def test_a_job_without_a_file_is_marked_from_when_it_was_missed(place: Workplace) -> None:
    place.configs.insert_one({"jobName": "job", "priority": 3})
    async with place.config_stores() as (store,):
        await store.mark_missing("job", missing=True)
        since = config(place)["missingSince"]
        await store.mark_missing("job", missing=True)
        assert config(place)["missingSince"] == since
        assert config(place)["priority"] == 3
        await store.mark_missing("job", missing=False)
        await store.mark_missing("unknown", missing=True)
    assert "missingSince" not in config(place)
    assert place.configs.count_documents({}) == 1


async def test_all_documents_are_read_by_name_whatever_they_hold(place: Workplace) -> None:
    place.configs.insert_many([{"jobName": "b"}, {"jobName": 7}, {"note": "no name"}, {"jobName": "a", "x": LONG_AGO}])
    async with place.config_stores() as (store,):
        assert [found.get("jobName") for found in await store.read_all()] == [None, 7, "a", "b"]
        found = await store.read("a")
        assert found is not None
        assert found["x"] == LONG_AGO
        assert await store.read("c") is None


async def test_each_version_of_the_history_is_written_by_one_server(place: Workplace) -> None:
    async with place.config_stores(SERVERS) as stores:
        for version in range(1, 6):
            written = await asyncio.gather(
                *(
                    store.record(
                        "job", version=version, changes=[], values={"priority": version}, by=f"server {number}"
                    )
                    for number, store in enumerate(stores)
                )
            )
            assert sum(written) == 1
        applied = await stores[0].applied("job")
        assert await stores[0].applied("unknown") is None
    assert applied is not None
    assert (applied.version, applied.values) == (5, {"priority": 5})
    assert [entry["version"] for entry in place.history.find().sort("version")] == [1, 2, 3, 4, 5]


async def test_eight_servers_that_apply_the_same_edit_keep_one_version_of_it(place: Workplace) -> None:
    async with place.config_stores(SERVERS) as stores:
        keepers = [
            HistoryKeeper(store=store, server=lambda number=number: f"server {number}")  # type: ignore[misc]
            for number, store in enumerate(stores)
        ]
        for priority in (1, 2, 2, 3):
            document = {"jobName": "job", "priority": priority}
            place.configs.replace_one({"jobName": "job"}, document, upsert=True)
            await asyncio.gather(*(keeper.keep("job", {"priority": priority}, document) for keeper in keepers))
    entries = list(place.history.find().sort("version"))
    assert [entry["values"]["priority"] for entry in entries] == [1, 2, 3]
    assert entries[1]["changes"] == [{"field": "priority", "from": 1, "to": 2}]
    assert entries[1]["by"].startswith("seen by server ")


async def test_a_server_that_read_before_an_edit_does_not_take_it_back_in_the_history(place: Workplace) -> None:
    async with place.config_stores(2) as stores:
        behind, ahead = (HistoryKeeper(store=store, server=lambda: "server") for store in stores)
        before, after = ({"jobName": "job", "priority": priority} for priority in (7, 8))
        place.configs.insert_one(dict(before))
        await ahead.keep("job", {"priority": 7}, before)
        place.configs.replace_one({"jobName": "job"}, after)
        await ahead.keep("job", {"priority": 8}, after)
        await behind.keep("job", {"priority": 7}, before)
        await behind.keep("job", {"priority": 8}, after)
    assert [entry["values"]["priority"] for entry in place.history.find().sort("version")] == [7, 8]


TORN: list[dict[str, Any]] = [
    {"version": 9},
    {"version": 9, "values": "all"},
    {"version": "nine", "values": {"priority": 9}},
    {"values": {"priority": 9}},
    {"version": None, "values": None},
]


@pytest.mark.parametrize("torn", TORN, ids=str)
async def test_an_entry_that_a_hand_has_torn_does_not_count_and_stands_in_nobodys_way(
    place: Workplace, torn: dict[str, Any]
) -> None:
    async with place.config_stores() as (store,):
        await store.record("job", version=8, changes=[], values={"priority": 8}, by="a server")
        place.history.insert_one({"jobName": "job", **torn})
        applied = await store.applied("job")
        assert applied is not None
        assert applied.values == {"priority": 8}
        keeper = HistoryKeeper(store=store, server=lambda: "server")
        for priority in (10, 11):
            document = {"jobName": "job", "priority": priority}
            place.configs.replace_one({"jobName": "job"}, document, upsert=True)
            await keeper.keep("job", {"priority": priority}, document)
        assert await HistoryKeeper(store=store, server=lambda: "another").last_good("job") == {"priority": 11}


NUMBERS = [2**62, Int64(2**63 - 1), 2.0**53, 1e300, float("inf"), float("-inf"), float("nan"), -3, 8.5]


@pytest.mark.parametrize("number", NUMBERS, ids=str)
async def test_no_number_that_a_hand_gives_to_an_entry_ends_the_history_or_the_server(
    place: Workplace, number: Any
) -> None:
    place.history.insert_one({"jobName": "job", "version": number, "values": {"priority": 8}})
    async with place.config_stores() as (store,):
        keeper = HistoryKeeper(store=store, server=lambda: "server")
        for priority in (10, 11):
            document = {"jobName": "job", "priority": priority}
            place.configs.replace_one({"jobName": "job"}, document, upsert=True)
            await keeper.keep("job", {"priority": priority}, document)
    entries = place.history.find({"by": {"$exists": True}}).sort("version")
    assert [entry["values"] for entry in entries] == [{"priority": 10}, {"priority": 11}]


async def test_of_two_documents_of_one_job_the_one_in_force_is_in_the_history(place: Workplace) -> None:
    first, second = ({"_id": number, "jobName": "job", "priority": number} for number in (1, 2))
    with without_index(place, place.configs):
        place.configs.insert_many([first, second])
        async with place.config_stores() as (store,):
            await HistoryKeeper(store=store, server=lambda: "server").keep("job", {"priority": 2}, second)
    assert [entry["values"] for entry in place.history.find()] == [{"priority": 2}]


@pytest.mark.parametrize("how", ["a persons own index", "duplicates"])
async def test_an_index_that_cannot_be_made_keeps_nothing_from_the_history(place: Workplace, how: str) -> None:
    document = {"jobName": "job", "priority": 1}
    place.configs.insert_one(dict(document))
    with without_index(place, place.history):
        if how == "duplicates":
            place.history.insert_many([{"jobName": "other", "version": 1} for _ in range(2)])
        else:
            place.history.create_index([("jobName", 1), ("version", -1)], name="mine", unique=True)
        async with place.config_stores(2) as stores:
            for store in stores:
                await HistoryKeeper(store=store, server=lambda: "server").keep("job", {"priority": 1}, document)
            assert not await stores[0].record("job", version=1, changes=[], values={}, by="a late one")
        assert [entry["values"] for entry in place.history.find({"jobName": "job"})] == [{"priority": 1}]


async def test_an_index_in_the_way_of_configurations_does_not_look_like_a_database_that_is_away(
    place: Workplace,
) -> None:
    with without_index(place, place.configs):
        place.configs.create_index("jobName", name="mine", unique=True)
        async with place.config_stores() as (store,):
            await store.ensure_unique()


@pytest.mark.parametrize("size", [400, 2**20], ids=["for MongoDB", "for the driver"])
async def test_an_entry_that_is_too_large_is_told_of_this_job_alone(place: Workplace, size: int) -> None:
    place.history.insert_one({"jobName": "job", "version": 1, "values": {"mine": "x" * (2**24 - 300)}})
    document = {"jobName": "job", "mine": "y" * size}
    place.configs.insert_one(dict(document))
    async with place.config_stores() as (store,):
        with pytest.raises(ConfigFull, match="the history of job"):
            await HistoryKeeper(store=store, server=lambda: "server").keep("job", {"mine": document["mine"]}, document)


async def test_an_edit_is_still_signed_when_its_entry_could_only_be_written_at_the_second_try(
    place: Workplace, mongo_uri: str
) -> None:
    document = {"_id": 1, "jobName": "job", "priority": 1, "updatedBy": "ann", "updatedAt": LONG_AGO}
    place.configs.insert_one(document)
    with failing(place.db.client, "createIndexes", times=1, errorCode=11602) as app_name:
        async with async_client(mongo_uri, app_name=app_name) as client:
            database = deciding(client[place.db.name])
            store = ConfigStore(configs=database[NAMES.configs], history=database[NAMES.history])
            keeper = HistoryKeeper(store=store, server=lambda: "server")
            with pytest.raises(DatabaseError):
                await keeper.keep("job", {"priority": 1}, document)
            await keeper.keep("job", {"priority": 1}, document)
    assert [entry["by"] for entry in place.history.find()] == ["ann"]


def test_what_changed_between_two_versions_says_what_was_absent() -> None:
    before = {"priority": 1, "concurrency": 3, "same": 7}
    after = {"priority": 2, "retry": {"attempts": 1}, "same": 7}
    assert changes_between(before, after) == [
        {"field": "concurrency", "from": 3},
        {"field": "priority", "from": 1, "to": 2},
        {"field": "retry", "to": {"attempts": 1}},
    ]
