"""The virtual clock kit on a real MongoDB: each test has a database of its own, lent as a server lends it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
from pymongo import AsyncMongoClient, MongoClient
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.database import Database

from jobserver import Job
from jobserver.embedded import EmbeddedMongo
from jobserver.errors import ConfigError
from jobserver.testing import VirtualJobs

START = datetime(2026, 3, 1, tzinfo=UTC)


class Fetch(Job):
    name, schedule = "fetch", "0 */6 * * *"

    async def run(self, db: AsyncDatabase[Any], context: Any) -> int:
        await db.orders.insert_one({"at": context.scheduled_at, "lent": type(db).__name__})
        return await db.orders.count_documents({})


class Report(Job):
    name, schedule = "report", "@daily"

    def run(self, db: Database[Any], progress: Any) -> int:
        orders = db.orders.count_documents({"lent": "AsyncDatabase"})
        progress(orders, orders)
        return orders


class Motorised(Job):
    name, schedule, driver = "motorised", "manual", "motor"

    async def run(self, db: Any) -> str:
        await db.orders.insert_one({})
        return type(db).__module__


def leftovers(client: MongoClient[dict[str, Any]]) -> list[str]:
    return [name for name in client.list_database_names() if name.startswith("virtual_")]


async def test_coroutines_and_threads_work_on_one_real_database(
    mongod: EmbeddedMongo, mongo_client: MongoClient[dict[str, Any]]
) -> None:
    async with VirtualJobs([Fetch, Report], start=START, database=mongod) as jobs:
        await jobs.advance(timedelta(days=30))
        assert [run.result for run in jobs.runs("fetch")] == list(range(1, 121))
        assert [run.status for run in jobs.runs("report")] == ["completed"] * 30
        assert await jobs.db.orders.count_documents({}) == 120
        last = await jobs.db.orders.find_one({}, sort=[("at", -1)])
        assert last["at"].replace(tzinfo=UTC) == START + timedelta(days=30)
        assert len(leftovers(mongo_client)) == 1
    assert leftovers(mongo_client) == []


def test_the_same_without_an_event_loop_and_with_motor(
    mongo_uri: str, mongo_client: MongoClient[dict[str, Any]]
) -> None:
    with VirtualJobs([Fetch, Report, Motorised], start=START, database=mongo_uri) as jobs:
        jobs.advance("1 day")
        assert jobs.run_now("motorised").result == "motor.motor_asyncio"
        assert jobs.db.orders.count_documents({}) == 5
    assert leftovers(mongo_client) == []


def test_embedded_brings_a_mongodb_of_its_own_and_takes_it_away() -> None:
    with VirtualJobs([Fetch], start=START, database="embedded") as jobs:
        jobs.advance("1 day")
        assert jobs.db.orders.count_documents({}) == 4
        directory = Path(jobs.db.client.admin.command("getCmdLineOpts")["parsed"]["storage"]["dbPath"])
        mongod = psutil.Process(jobs.db.client.admin.command("serverStatus")["pid"])
        assert directory.exists()
        assert mongod.is_running()
    assert not directory.exists()
    assert not mongod.is_running()


async def test_a_handle_is_lent_to_jobs_of_its_kind_only_and_is_left_as_it_is(
    mongo_uri: str, db: Database[dict[str, Any]]
) -> None:
    async with (
        AsyncMongoClient[dict[str, Any]](mongo_uri) as client,
        VirtualJobs([Fetch, Report], start=START, database=client[db.name]) as jobs,
    ):
        assert (await jobs.run_now("fetch")).result == 1
        with pytest.raises(ConfigError, match="api:report is `def run` and needs a synchronous handle"):
            await jobs.run_now("report")
    assert db.orders.count_documents({}) == 1


async def test_a_synchronous_handle_is_refused_for_a_coroutine(db: Database[dict[str, Any]]) -> None:
    async with VirtualJobs([Fetch, Report], start=START, database=db) as jobs:
        assert (await jobs.run_now("report")).result == 0
        with pytest.raises(ConfigError, match="api:fetch is `async def run` and needs an asynchronous handle"):
            await jobs.run_now("fetch")


async def test_a_test_that_fails_leaves_no_database_behind(
    mongod: EmbeddedMongo, mongo_client: MongoClient[dict[str, Any]]
) -> None:
    async def fails() -> None:
        async with VirtualJobs([Fetch], start=START, database=mongod) as jobs:
            assert (await jobs.run_now("fetch")).result == 2

    with pytest.raises(AssertionError):
        await fails()
    assert leftovers(mongo_client) == []
