"""A workplace of each test's own."""

from __future__ import annotations

from typing import Any

import pytest
from pymongo.database import Database

from tests.stores import Workplace


@pytest.fixture
def place(mongo_uri: str, db: Database[dict[str, Any]]) -> Workplace:
    """This test's database, with every index."""
    return Workplace(mongo_uri, db)
