"""The light clients: documents as servers expect them, dated by MongoDB, refused by name, atomic with the caller."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from bson import Int64, ObjectId
from pymongo import AsyncMongoClient, MongoClient
from pymongo.database import Database
from pymongo.errors import PyMongoError

from jobserver import JobClient, JobServerError, SyncJobClient
from jobserver.errors import DatabaseError, DataError
from jobserver.store.enqueue import MAX_DATA_BYTES, MAX_DEPTH
from tests.faults import failing
from tests.stores import Workplace, claim_one, completed, failed

pytestmark = pytest.mark.timeout(60)

Db = Database[dict[str, Any]]
HOUR = timedelta(hours=1)


@asynccontextmanager
async def async_db(uri: str, name: str) -> AsyncIterator[Any]:
    """The database as a program has it that knows nothing of ours."""
    async with AsyncMongoClient[dict[str, Any]](uri) as client:
        yield client[name]


@pytest.fixture
def plain_db(mongo_uri: str, database_name: str) -> Iterator[Db]:
    """The same without asyncio."""
    with MongoClient[dict[str, Any]](mongo_uri) as client:
        yield client[database_name]


def the_one(db: Db) -> dict[str, Any]:
    (document,) = db.pulseJobs.find()
    return document


def server_time(db: Db) -> datetime:
    told: datetime = db.command("hello")["localTime"]
    return told.replace(tzinfo=UTC)


async def test_a_job_is_queued_as_a_server_expects_it(mongo_uri: str, db: Db) -> None:
    """In a database that nobody has used before."""
    before = server_time(db)
    async with async_db(mongo_uri, db.name) as there:
        id_ = await JobClient(there).enqueue("api:report", {"month": "2026-11", "$a.b": [1, None]})
    document = the_one(db)
    assert document == {
        "_id": id_,
        "name": "api:report",
        "type": "normal",
        "data": {"month": "2026-11", "$a.b": [1, None]},
        "priority": 0,
        "status": "queued",
        "nextRunAt": document["createdAt"],
        "createdAt": document["createdAt"],
    }
    assert before - timedelta(seconds=1) <= document["createdAt"] <= server_time(db)


def test_the_client_without_asyncio_does_the_same(plain_db: Db, db: Db) -> None:
    id_ = SyncJobClient(plain_db).enqueue("api:report", {"month": 11}, priority=5, unique_key="k")
    document = the_one(db)
    kept = ("_id", "name", "type", "data", "priority", "status", "uniqueKey")
    assert [document[field] for field in kept] == [id_, "api:report", "normal", {"month": 11}, 5, "queued", "k"]
    assert document["nextRunAt"] == document["createdAt"]


def test_both_clients_ask_in_the_same_words() -> None:
    for name in ("enqueue", "enqueue_many"):
        one, other = (inspect.signature(getattr(client, name)).parameters for client in (JobClient, SyncJobClient))
        assert list(one) == list(other)
        assert [each.default for each in one.values()] == [each.default for each in other.values()]


def test_without_data_a_run_gets_an_empty_mapping(plain_db: Db, db: Db) -> None:
    SyncJobClient(plain_db).enqueue("job")
    assert the_one(db)["data"] == {}


@pytest.mark.parametrize(
    "data", [0, False, "", [], {}, "text", 7, [1, {"a": None}], Int64(2**62), ObjectId("6" * 24)], ids=repr
)
def test_data_of_every_storable_kind_is_kept_as_it_is(plain_db: Db, db: Db, data: Any) -> None:
    SyncJobClient(plain_db).enqueue("job", data)
    assert the_one(db)["data"] == data
    assert type(the_one(db)["data"]) is type(data)


def test_a_moment_and_a_delay_say_when_it_is_due(plain_db: Db, db: Db) -> None:
    client = SyncJobClient(plain_db)
    at = datetime(2100, 1, 1, 12, 0, 0, 123_456, tzinfo=timezone(HOUR))
    moment = db.pulseJobs.find_one({"_id": client.enqueue("job", at=at)})
    delayed = db.pulseJobs.find_one({"_id": client.enqueue("job", delay=HOUR)})
    past = db.pulseJobs.find_one({"_id": client.enqueue("job", at=datetime(1950, 1, 1, tzinfo=UTC))})
    naive = db.pulseJobs.find_one({"_id": client.enqueue("job", at=datetime(2100, 1, 1))})  # noqa: DTZ001
    at_once = db.pulseJobs.find_one({"_id": client.enqueue("job", delay=timedelta())})
    assert moment is not None
    assert delayed is not None
    assert past is not None
    assert naive is not None
    assert at_once is not None
    assert (moment["nextRunAt"], moment["status"]) == (
        datetime(2100, 1, 1, 11, 0, 0, 123_000, tzinfo=UTC),
        "scheduled",
    )
    assert (delayed["nextRunAt"] - delayed["createdAt"], delayed["status"]) == (HOUR, "scheduled")
    assert (past["nextRunAt"], past["status"]) == (datetime(1950, 1, 1, tzinfo=UTC), "queued")
    assert naive["nextRunAt"] == datetime(2100, 1, 1, tzinfo=UTC)
    assert at_once["status"] == "queued"


@pytest.mark.parametrize("error", [-3600.0, 3600.0], ids=["an hour slow", "an hour fast"])
def test_dates_follow_the_clock_of_mongodb_and_not_that_of_this_machine(
    plain_db: Db, db: Db, monkeypatch: pytest.MonkeyPatch, error: float
) -> None:
    true_time = time.time
    monkeypatch.setattr(time, "time", lambda: true_time() + error)
    client = SyncJobClient(plain_db)
    for _ in range(3):
        client.enqueue("job")
    client.enqueue("job", delay=HOUR)
    now = server_time(db)
    found = list(db.pulseJobs.find().sort("nextRunAt"))
    assert all(timedelta() <= now - document["createdAt"] < timedelta(seconds=30) for document in found)
    assert [document["nextRunAt"] <= now for document in found] == [True, True, True, False]


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (None, 0),
        ({"priority": 10}, 10),
        ({"priority": None, "defaultConfig": {"priority": -10}}, -10),
        ({"defaultConfig": {"priority": 20}}, 20),
        ({"priority": "high", "defaultConfig": {"priority": 5}}, 10),
        ({"priority": "loud", "defaultConfig": {"priority": 5}}, 5),
        ({"priority": 99, "defaultConfig": "none"}, 0),
        ({"priority": True}, 0),
        ({"jobName": ["job"], "priority": 10}, 0),
    ],
    ids=str,
)
def test_a_document_carries_the_priority_that_its_job_has(plain_db: Db, db: Db, config: Any, expected: int) -> None:
    if config is not None:
        db.jobConfigs.insert_one({"jobName": "job", **config})
    client = SyncJobClient(plain_db)
    client.enqueue("job")
    assert the_one(db)["priority"] == expected
    assert db.pulseJobs.find_one({"_id": client.enqueue("job", priority=-3)}, {"priority": 1, "_id": 0}) == {
        "priority": -3
    }


async def test_many_are_queued_in_their_order_by_few_commands(mongo_uri: str, db: Db) -> None:
    jobs = [(f"job {number % 3}", {"number": number}) for number in range(2500)]
    async with async_db(mongo_uri, db.name) as there:
        ids = await JobClient(there).enqueue_many(iter(jobs), delay=HOUR, priority=7)
        assert await JobClient(there).enqueue_many([]) == []
    found = {document["_id"]: document for document in db.pulseJobs.find()}
    assert [(found[id_]["name"], found[id_]["data"]) for id_ in ids] == jobs
    assert {document["priority"] for document in found.values()} == {7}
    assert {document["nextRunAt"] - document["createdAt"] for document in found.values()} == {HOUR}


def test_of_many_none_is_queued_when_one_cannot_be_stored(plain_db: Db, db: Db) -> None:
    with pytest.raises(DataError, match=r"data\.when"):
        SyncJobClient(plain_db).enqueue_many([("job", {}), ("job", {"when": date(2026, 1, 1)}), ("job", {})])
    assert db.pulseJobs.count_documents({}) == 0


def cyclic() -> Any:
    data: dict[str, Any] = {"a": [1, {}]}
    data["a"][1]["back"] = data
    return data


def nested(levels: int) -> Any:
    data: Any = "core"
    for _ in range(levels):
        data = {"x": data}
    return data


@pytest.mark.parametrize(
    ("data", "named"),
    [
        ({"a": [0, 0, 0, {"b": object()}]}, "data.a[3].b"),
        ({"a": {"b": {1, 2}}}, "data.a.b"),
        ({"when": date(2026, 1, 1)}, "data.when"),
        ([{"n": 2**64}], "data[0].n"),
        ({"price": Decimal("1.5")}, "data.price"),
        ({"id": uuid4()}, "data.id"),
        ({"text": "\ud800"}, "data.text"),
        ({"a": {7: "x"}}, "data.a"),
        ({"a": {"k\0": 1}}, "data.a"),
        (set(), "data"),
        (Decimal(0), "data"),
        (cyclic(), "data.a"),
        ({"deep": nested(150)}, "data cannot be stored in MongoDB: it is nested more than 100 levels"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_data_that_cannot_be_stored_is_refused_by_the_name_of_its_key(
    plain_db: Db, db: Db, data: Any, named: str
) -> None:
    client = SyncJobClient(plain_db)
    with pytest.raises(DataError) as refused:
        client.enqueue("job", data)
    assert str(refused.value).startswith(named)
    with pytest.raises(DataError):
        client.enqueue("job", data, unique_key="k")
    assert db.pulseJobs.count_documents({}) == 0


def test_data_a_hundred_levels_deep_is_stored(plain_db: Db, db: Db) -> None:
    SyncJobClient(plain_db).enqueue("job", nested(MAX_DEPTH))
    assert the_one(db)["data"] == nested(MAX_DEPTH)
    with pytest.raises(DataError):
        SyncJobClient(plain_db).enqueue("job", nested(MAX_DEPTH + 1))


@pytest.mark.parametrize("size", [MAX_DATA_BYTES + 1, 17 * 1024 * 1024])
def test_data_that_is_too_large_is_refused_with_its_size_and_the_limit(plain_db: Db, db: Db, size: int) -> None:
    with pytest.raises(DataError, match=r"takes [\d,]+ bytes, the limit is 262,144"):
        SyncJobClient(plain_db).enqueue("job", {"blob": "x" * size})
    assert db.pulseJobs.count_documents({}) == 0


def test_data_up_to_the_limit_is_stored(plain_db: Db, db: Db) -> None:
    SyncJobClient(plain_db).enqueue("job", "x" * (MAX_DATA_BYTES - 20))
    assert len(the_one(db)["data"]) == MAX_DATA_BYTES - 20


@pytest.mark.parametrize("name", ["", "  ", "x" * 201, None, 7, b"job", ["job"], "\ud800"], ids=ascii)
def test_a_name_that_is_none_is_refused(plain_db: Db, db: Db, name: Any) -> None:
    with pytest.raises(DataError, match="name"):
        SyncJobClient(plain_db).enqueue(name)
    assert db.pulseJobs.count_documents({}) == 0


@pytest.mark.parametrize("name", ["$name", "a.b", "x" * 200, "Ünïcödé ✓", "{}", "a\nb"], ids=ascii)
def test_any_other_text_is_a_name(plain_db: Db, db: Db, name: str) -> None:
    client = SyncJobClient(plain_db)
    assert client.enqueue(name, unique_key="$k.e.y") == client.enqueue(name, unique_key="$k.e.y")
    assert the_one(db)["name"] == name


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"at": datetime(2100, 1, 1, tzinfo=UTC), "delay": HOUR}, "not both"),
        ({"delay": -HOUR}, "negative"),
        ({"delay": 5000}, "timedelta"),
        ({"delay": "5 minutes"}, "timedelta"),
        ({"delay": timedelta.max}, "delay"),
        ({"at": "tomorrow"}, "datetime"),
        ({"at": date(2100, 1, 1)}, "datetime"),
        ({"at": 0}, "datetime"),
        ({"slots": 0}, "slots=0 is not a whole number from 1 to 1000000; leave it out for the job's"),
        ({"slots": True}, "slots=True is not a whole number"),
        ({"slots": 1.5}, "slots=1.5 is not a whole number"),
        ({"slots": 10**7}, "from 1 to 1000000"),
        ({"priority": 21}, "-20 to 20"),
        ({"priority": "HIGH"}, "-20 to 20"),
        ({"priority": 1.5}, "-20 to 20"),
        ({"priority": True}, "-20 to 20"),
        ({"unique_key": "\ud800"}, "unique_key"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused_in_words(plain_db: Db, db: Db, how: dict[str, Any], says: str) -> None:
    with pytest.raises(DataError, match=says):
        SyncJobClient(plain_db).enqueue("job", **how)
    assert db.pulseJobs.count_documents({}) == 0


async def test_a_document_carries_the_slots_that_were_asked_for_and_otherwise_none(
    mongo_uri: str, plain_db: Db, db: Db
) -> None:
    client = SyncJobClient(plain_db)
    ids = [
        client.enqueue("job", slots=512),
        client.enqueue("job", slots=512, unique_key="k"),
        *client.enqueue_many([("job", 1), ("job", 2)], slots=512),
        client.schedule("job", recurrence="1 hour", slots=512).id,
    ]
    async with async_db(mongo_uri, db.name) as there:
        ids += [
            await JobClient(there).enqueue("job", slots=512),
            *await JobClient(there).enqueue_many([("job", 3)], slots=512),
            (await JobClient(there).schedule("job", slots=512)).id,
        ]
    assert db.pulseJobs.count_documents({"_id": {"$in": ids}, "slots": 512}) == len(ids) == 8
    others = [client.enqueue("job"), client.schedule("job").id, *client.enqueue_many([("job", 4)])]
    assert db.pulseJobs.count_documents({"_id": {"$in": others}, "slots": {"$exists": False}}) == 3


async def test_of_sixty_four_that_ask_at_once_under_one_key_one_is_active(mongo_uri: str, db: Db) -> None:
    async with async_db(mongo_uri, db.name) as there:
        asked = (JobClient(there).enqueue("job", {"number": number}, unique_key="k") for number in range(64))
        ids = await asyncio.gather(*asked)
    assert set(ids) == {the_one(db)["_id"]}


def test_threads_that_ask_at_once_under_one_key_get_one_document(plain_db: Db, db: Db) -> None:
    with ThreadPoolExecutor(16) as pool:
        ids = set(pool.map(lambda _: SyncJobClient(plain_db).enqueue("job", unique_key="k"), range(64)))
    assert ids == {the_one(db)["_id"]}


@pytest.mark.parametrize("end", [completed, failed], ids=["completed", "failed"])
async def test_a_key_is_free_again_once_its_run_has_ended(mongo_uri: str, db: Db, end: Callable[..., Any]) -> None:
    place = Workplace(mongo_uri, db)
    async with async_db(mongo_uri, db.name) as there, place.store() as store:
        client = JobClient(there)
        first = await client.enqueue("job", unique_key="k")
        running = await claim_one(store)
        assert await client.enqueue("job", unique_key="k") == first
        await store.settle([end(running)])
        second = await client.enqueue("job", unique_key="k")
    assert second != first
    assert place.jobs.count_documents({}) == 2


def test_a_key_counts_for_one_job_alone(plain_db: Db) -> None:
    client = SyncJobClient(plain_db)
    ids = {client.enqueue(name, unique_key=key) for name in ("a", "b") for key in ("k", "l")}
    assert len(ids) == 4


def test_the_one_that_waits_under_a_key_is_left_as_it_is(plain_db: Db, db: Db) -> None:
    client = SyncJobClient(plain_db)
    client.enqueue("job", {"first": True}, unique_key="k", delay=HOUR)
    before = the_one(db)
    client.enqueue("job", {"second": True}, unique_key="k", priority=20)
    assert the_one(db) == before


@pytest.mark.parametrize("unique", [{}, {"unique_key": "k"}], ids=["plain", "with a key"])
async def test_what_is_asked_for_in_a_transaction_is_there_when_it_commits(
    mongo_uri: str, db: Db, unique: dict[str, Any]
) -> None:
    Workplace(mongo_uri, db)
    async with async_db(mongo_uri, db.name) as there:
        client = JobClient(there)
        async with there.client.start_session() as session, await session.start_transaction():
            await there.orders.insert_one({"_id": 1}, session=session)
            id_ = await client.enqueue("job", {"order": 1}, session=session, **unique)
            assert await client.enqueue("job", session=session, **unique) == id_ or not unique
            assert db.pulseJobs.count_documents({}) == 0
    assert db.pulseJobs.count_documents({"_id": id_, "data": {"order": 1}}) == 1
    assert db.orders.count_documents({}) == 1


@pytest.mark.parametrize("unique", [{}, {"unique_key": "k"}], ids=["plain", "with a key"])
async def test_what_is_asked_for_in_a_transaction_that_aborts_never_was(
    mongo_uri: str, db: Db, unique: dict[str, Any]
) -> None:
    Workplace(mongo_uri, db)
    async with async_db(mongo_uri, db.name) as there:
        client = JobClient(there)
        async with there.client.start_session() as session:
            await session.start_transaction()
            await there.orders.insert_one({"_id": 1}, session=session)
            await client.enqueue("job", {"order": 1}, session=session, **unique)
            await session.abort_transaction()
        assert db.pulseJobs.count_documents({}) == 0
        await client.enqueue("job", **unique)
    assert db.pulseJobs.count_documents({}) == 1
    assert db.orders.count_documents({}) == 0


@pytest.mark.parametrize("unique", [{}, {"unique_key": "k"}], ids=["plain", "with a key"])
async def test_a_transaction_may_be_the_first_to_use_a_database(mongo_uri: str, db: Db, unique: dict[str, Any]) -> None:
    """The index of keys is made meanwhile, so MongoDB may ask once for another try."""
    tries = 0

    async def order(session: Any) -> None:
        nonlocal tries
        tries += 1
        await session.client[db.name].orders.insert_one({"_id": 1}, session=session)
        await client.enqueue("job", session=session)
        await client.enqueue("job", session=session, **unique)

    async with async_db(mongo_uri, db.name) as there:
        client = JobClient(there)
        async with there.client.start_session() as session:
            await session.with_transaction(order)
    assert tries <= 2
    assert db.pulseJobs.count_documents({}) == 2
    assert db.orders.count_documents({}) == 1


def test_a_transaction_without_asyncio_is_atomic_too(plain_db: Db, db: Db) -> None:
    client = SyncJobClient(plain_db)

    def order(session: Any, *, void: bool) -> None:
        client.enqueue_many([("job", {"n": n}) for n in range(3)], session=session)
        if void:
            raise RuntimeError("the order is void")

    with plain_db.client.start_session() as session:
        with pytest.raises(RuntimeError):
            session.with_transaction(lambda session: order(session, void=True))
        assert db.pulseJobs.count_documents({}) == 0
        session.with_transaction(lambda session: order(session, void=False))
    assert db.pulseJobs.count_documents({}) == 3


def test_a_key_may_come_after_other_jobs_in_one_transaction(plain_db: Db, db: Db) -> None:
    """The index of keys cannot be made while a transaction holds the collection."""
    client = SyncJobClient(plain_db)
    with plain_db.client.start_session() as session, session.start_transaction():
        client.enqueue("job", session=session)
        client.enqueue("job", unique_key="k", session=session)
    assert db.pulseJobs.count_documents({}) == 2


def test_two_transactions_under_one_key_leave_one_document(plain_db: Db, db: Db) -> None:
    """The later one is refused in a way that makes the driver try it again, and then finds what is there."""
    client = SyncJobClient(plain_db)
    client.enqueue("another job", unique_key="k")
    tries = 0

    def late(session: Any) -> Any:
        nonlocal tries
        tries += 1
        plain_db.pulseJobs.find_one({}, session=session)  # from here on it sees the database as it is now
        if tries == 1:
            client.enqueue("job", unique_key="k")
        return client.enqueue("job", unique_key="k", session=session)

    with plain_db.client.start_session() as session:
        id_ = session.with_transaction(late)
    assert tries == 2
    assert [document["_id"] for document in db.pulseJobs.find({"name": "job"})] == [id_]


def test_errors_inside_a_transaction_keep_their_labels(plain_db: Db, db: Db) -> None:
    client = SyncJobClient(plain_db)
    client.enqueue("another job", unique_key="k")
    with plain_db.client.start_session() as session:
        session.start_transaction()
        plain_db.pulseJobs.find_one({}, session=session)
        client.enqueue("job", unique_key="k")
        with pytest.raises(PyMongoError) as error:
            client.enqueue("job", unique_key="k", session=session)
    assert error.value.has_error_label("TransientTransactionError")


async def test_a_database_that_refuses_is_quoted_in_our_own_words(mongo_uri: str, db: Db) -> None:
    with failing(db.client, "insert", "find", errorCode=13) as app_name:
        async with AsyncMongoClient[dict[str, Any]](mongo_uri, appname=app_name) as client:
            with pytest.raises(DatabaseError):
                await JobClient(client[db.name]).enqueue("job")
        with MongoClient[dict[str, Any]](mongo_uri, appname=app_name) as plain, pytest.raises(JobServerError):
            SyncJobClient(plain[db.name]).enqueue_many([("job", {})], priority=0)


def test_another_collection_takes_the_documents_when_it_is_named(plain_db: Db, db: Db) -> None:
    SyncJobClient(plain_db, collection="otherJobs").enqueue("job", unique_key="k")
    assert db.otherJobs.count_documents({}) == 1
    assert "pulseJobs" not in db.list_collection_names()
