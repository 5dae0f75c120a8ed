"""A workplace of each test's own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from pymongo import MongoClient

from tests.stores import Workplace


@pytest.fixture(scope="module")
def shared_place(mongo_uri: str, mongo_client: MongoClient[dict[str, Any]]) -> Iterator[Workplace]:
    """One database for the tests of a file: its indexes take longer to make than most tests to run."""
    name = f"test_{uuid4().hex}"
    yield Workplace(mongo_uri, mongo_client[name])
    mongo_client.drop_database(name)


@pytest.fixture
def place(shared_place: Workplace) -> Workplace:
    """That database, empty, with every index."""
    shared_place.clear()
    return shared_place
