"""What tests of whole servers may ask for."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from structlog.testing import capture_logs

from tests.own_mongo import OwnMongo
from tests.project import Project, Records, forgive_cut_off_connects, scratch_project


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """For the tests in this folder."""
    forgive_cut_off_connects(items, Path(__file__).parent)


@pytest.fixture(scope="module", autouse=True)
def found_while_forgiven() -> Iterator[None]:
    """What connects that were cut off have left is found here, not when the session ends."""
    yield
    gc.collect()


@pytest.fixture
def project(tmp_path: Path, mongo_client: MongoClient[dict[str, Any]], mongo_uri: str) -> Iterator[Project]:
    """A project of this test's own."""
    with scratch_project(tmp_path / "project", mongo_client, mongo_uri) as project:
        yield project


@pytest.fixture
def mongo_folder(tmp_path: Path) -> Path:
    """Where `own_mongo` keeps its data."""
    return tmp_path / "mongo"


@pytest.fixture
def own_mongo(mongo_folder: Path) -> Iterator[OwnMongo]:
    """A mongod that only this test has."""
    mongo = OwnMongo(mongo_folder)
    try:
        yield mongo
    finally:
        mongo.end()


@pytest.fixture
def own_project(tmp_path: Path, own_mongo: OwnMongo) -> Iterator[Project]:
    """A project on that mongod."""
    with (
        MongoClient[dict[str, Any]](own_mongo.uri, tz_aware=True, serverSelectionTimeoutMS=500) as client,
        scratch_project(tmp_path / "project", client, own_mongo.uri) as project,
    ):
        yield project


@pytest.fixture
def log() -> Iterator[Records]:
    """What servers in this process have logged so far: the fields of each record, its text in `event`."""
    with capture_logs() as records:
        yield records
