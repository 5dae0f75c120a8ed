"""The stores against a small model of what they do, whatever happens in whatever order; `make model` tries more."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from pymongo import MongoClient

from tests.model.bench import a_bench
from tests.model.machine import explore

EXAMPLES, STEPS = 12, 50


@pytest.mark.timeout(1800)  # shortening what differs takes five minutes
def test_the_stores_do_what_the_model_says_in_whatever_order_it_comes(
    mongo_uri: str, mongo_client: MongoClient[dict[str, Any]], pytestconfig: pytest.Config
) -> None:
    number = pytestconfig.getoption("--hypothesis-seed")
    with a_bench(mongo_uri, mongo_client, f"test_{uuid4().hex}") as bench:
        explore(bench, examples=EXAMPLES, steps=STEPS, number=None if number is None else int(number))
