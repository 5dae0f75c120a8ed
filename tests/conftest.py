"""What every test may ask for: a real MongoDB, a database of its own in it, and `async def`."""

from __future__ import annotations

import asyncio
import inspect
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp
from typing import Any
from uuid import uuid4

import pytest
from pymongo import MongoClient, ReadPreference, WriteConcern
from pymongo.database import Database
from pymongo.read_concern import ReadConcern

from jobserver.embedded import EmbeddedMongo
from tests.faults import MONGOD_DIRECTORY

LONG = {"test_model.py", "test_nonsense.py", "test_shutdown_matrix.py", "test_broken_streams.py", "test_failover.py"}


def pytest_configure() -> None:
    """One directory for the whole session; pytest-xdist's workers inherit the variable and so share its mongod."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        os.environ[MONGOD_DIRECTORY] = mkdtemp(prefix="jobserver-tests-")


def pytest_unconfigure() -> None:
    """Runs last, and in the process that made the directory: every worker has ended."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        shutil.rmtree(os.environ.pop(MONGOD_DIRECTORY))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes minutes goes first, so that nobody waits for it alone in the end."""
    items.sort(key=lambda item: item.path.name not in LONG)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """An `async def` test runs on an event loop of its own."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in inspect.signature(pyfuncitem.obj).parameters}
    with asyncio.Runner() as runner:
        runner.run(pyfuncitem.obj(**arguments))
    return True


@pytest.fixture(scope="session")
def mongod() -> Iterator[EmbeddedMongo]:
    """The session's mongod, a replica set of one that knows `failCommand`."""
    directory = Path(os.environ[MONGOD_DIRECTORY])
    with EmbeddedMongo.start(
        directory, cache_gb=0.5, extra_args=("--setParameter", "enableTestCommands=1")
    ) as embedded:
        yield embedded


@pytest.fixture(scope="session")
def mongo_uri(mongod: EmbeddedMongo) -> str:
    """Where the session's mongod is."""
    return mongod.uri


@pytest.fixture(scope="session")
def mongo_client(mongo_uri: str) -> Iterator[MongoClient[dict[str, Any]]]:
    """A client for looking at what happened; its moments are aware."""
    with MongoClient[dict[str, Any]](mongo_uri, tz_aware=True, datetime_conversion="DATETIME_AUTO") as client:
        yield client


@pytest.fixture
def database_name(mongo_client: MongoClient[dict[str, Any]]) -> Iterator[str]:
    """The name of a database that this test alone has, dropped afterwards."""
    name = f"test_{uuid4().hex}"
    yield name
    mongo_client.drop_database(name)


@pytest.fixture
def db(mongo_client: MongoClient[dict[str, Any]], database_name: str) -> Database[dict[str, Any]]:
    """This test's database: majority reads and writes on the primary."""
    return mongo_client.get_database(
        database_name,
        read_preference=ReadPreference.PRIMARY,
        read_concern=ReadConcern("majority"),
        write_concern=WriteConcern("majority"),
    )
