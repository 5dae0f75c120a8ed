"""The indexes: made once, changed in place where a setting has changed, and named with what stands in their way."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from pymongo.database import Database
from pymongo.errors import DuplicateKeyError

from jobserver.errors import DatabaseError
from jobserver.store.connection import sync_client
from jobserver.store.indexes import PRIORITY_FIRST, IndexRefused, ensure_indexes, job_indexes
from tests.faults import failing
from tests.stores import FAR_AHEAD, LONG_AGO, NAMES

pytestmark = pytest.mark.timeout(30)

Db = Database[dict[str, Any]]
SOONEST_FIRST = (("nextRunAt", 1), ("priority", -1))


def names_of(db: Db, collection: str) -> set[str]:
    return set(db[collection].index_information()) - {"_id_"}


def test_every_collection_gets_its_indexes_and_a_second_time_changes_nothing(db: Db) -> None:
    ensure_indexes(db, NAMES)
    first = {name: db[name].index_information() for name in db.list_collection_names()}
    ensure_indexes(db, NAMES)
    assert {name: db[name].index_information() for name in db.list_collection_names()} == first
    unique = {"one_holder", "one_active_per_key", "one_per_global_slot", "one_off_per_name"}
    assert names_of(db, NAMES.jobs) >= {"due", "locks", "retention", *unique}
    assert {name for name, each in first[NAMES.jobs].items() if each.get("unique")} == unique
    assert first[NAMES.configs]["one_per_job"]["unique"]
    assert first[NAMES.history]["one_per_version"]["unique"]


def test_another_order_of_claims_has_an_index_of_its_own(db: Db) -> None:
    ensure_indexes(db, NAMES)
    ensure_indexes(db, NAMES, sort=SOONEST_FIRST)
    ensure_indexes(db, NAMES, sort=PRIORITY_FIRST)
    assert {"due", "due_nextRunAt_1_priority_-1"} <= names_of(db, NAMES.jobs)


def test_a_retention_that_was_edited_is_changed_in_place(db: Db) -> None:
    ensure_indexes(db, NAMES, history_retention=timedelta(days=30))
    db[NAMES.runs].insert_one({"finishedAt": FAR_AHEAD})
    ensure_indexes(db, NAMES, history_retention=timedelta(days=7))
    assert db[NAMES.runs].index_information()["retention"]["expireAfterSeconds"] == 7 * 86_400
    assert db[NAMES.runs].count_documents({}) == 1


@pytest.mark.parametrize(
    ("collection", "documents"),
    [
        (NAMES.jobs, [{"name": "job", "type": "single"}] * 2),
        (NAMES.jobs, [{"name": "job", "uniqueKey": "k"}] * 2),
        (NAMES.jobs, [{"globalSlot": "job#1"}] * 2),
        (NAMES.configs, [{"jobName": "job"}] * 2),
        (NAMES.history, [{"jobName": "job", "version": 1}] * 2),
    ],
    ids=str,
)
def test_a_unique_index_keeps_what_has_to_be_single_single(
    db: Db, collection: str, documents: list[dict[str, Any]]
) -> None:
    ensure_indexes(db, NAMES)
    db[collection].insert_one(dict(documents[0]))
    with pytest.raises(DuplicateKeyError):
        db[collection].insert_one(dict(documents[1]))


def test_documents_without_these_fields_may_be_as_many_as_they_like(db: Db) -> None:
    ensure_indexes(db, NAMES)
    db[NAMES.jobs].insert_many([{"name": "job", "type": "normal", "nextRunAt": LONG_AGO} for _ in range(3)])
    db[NAMES.jobs].insert_many([{} for _ in range(3)])
    assert db[NAMES.jobs].count_documents({}) == 6


def test_duplicates_that_are_there_already_stop_the_start_and_are_named(db: Db) -> None:
    db[NAMES.configs].insert_many([{"jobName": "job"}, {"jobName": "job"}])
    with pytest.raises(DatabaseError, match=r"'one_per_job' on .*\.jobConfigs.*remove the duplicates.*job"):
        ensure_indexes(db, NAMES)


def test_an_index_of_a_persons_own_in_the_way_is_named_by_the_name_it_has(db: Db) -> None:
    db[NAMES.configs].create_index("jobName", name="mine", unique=True)
    with pytest.raises(DatabaseError, match=r"'one_per_job'.*db\.jobConfigs\.dropIndex\('mine'\)"):
        ensure_indexes(db, NAMES)
    db[NAMES.configs].drop_indexes()
    db[NAMES.configs].create_index("enabled", name="one_per_job")
    with pytest.raises(DatabaseError, match=r"'one_per_job'.*db\.jobConfigs\.dropIndex\('one_per_job'\)"):
        ensure_indexes(db, NAMES)


@pytest.mark.parametrize("own", ["one_holder", "due", "retention"])
def test_an_index_of_ours_with_the_same_keys_is_not_taken_for_the_one_in_the_way(db: Db, own: str) -> None:
    ensure_indexes(db, NAMES)
    (ours,) = (each.document for each in job_indexes() if each.document["name"] == own)
    db[NAMES.jobs].drop_index(own)
    db[NAMES.jobs].create_index(list(ours["key"].items()), **{**ours, "name": "mine"})
    with pytest.raises(DatabaseError, match=rf"'{own}'.*db\.pulseJobs\.dropIndex\('mine'\)"):
        ensure_indexes(db, NAMES)


PASSING: dict[str, dict[str, Any]] = {
    "no majority": {"writeConcernError": {"code": 64, "errmsg": "timed out", "errInfo": {"wtimeout": True}}},
    "dropped meanwhile": {"errorCode": 276},
    "held by others": {"errorCode": 46},
}


@pytest.mark.parametrize("how", PASSING)
def test_what_passes_by_itself_is_no_refusal(db: Db, mongo_uri: str, how: str) -> None:
    ensure_indexes(db, NAMES)
    with (
        failing(db.client, "createIndexes", **PASSING[how]) as app_name,
        sync_client(mongo_uri, app_name=app_name) as client,
        pytest.raises(DatabaseError) as told,
    ):
        ensure_indexes(client[db.name], NAMES)
    assert not isinstance(told.value, IndexRefused)


def test_a_persons_own_retention_in_the_way_is_named_too(db: Db) -> None:
    db[NAMES.runs].create_index("finishedAt", name="mine", expireAfterSeconds=60)
    with pytest.raises(DatabaseError, match=r"'retention' on .*\.jobRuns.*dropIndex\('mine'\)"):
        ensure_indexes(db, NAMES)


def test_a_document_that_no_index_can_take_in_is_said_to_be_one(db: Db) -> None:
    db[NAMES.jobs].insert_one({"name": "job", "nextRunAt": [LONG_AGO], "priority": [1]})
    with pytest.raises(DatabaseError, match=r"'due' .*cannot index parallel arrays") as refused:
        ensure_indexes(db, NAMES)
    assert "right" not in str(refused.value)


def test_a_user_without_the_right_is_told_so(db: Db, mongo_uri: str) -> None:
    with (
        failing(db.client, "createIndexes", errorCode=13) as app_name,
        sync_client(mongo_uri, app_name=app_name) as client,
        pytest.raises(DatabaseError, match="needs the right to create indexes"),
    ):
        ensure_indexes(client[db.name], NAMES)
