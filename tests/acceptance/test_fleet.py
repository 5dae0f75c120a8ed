"""Several servers, one killed, one standing still, and jobs due each second: the short form of `make fleet`."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from tests.fleet.fleet import Fleet, Plan
from tests.project import LEASE, scratch_project

PLAN = Plan(servers=3, jobs=40, seconds=15, kills=1, stalls=1, lease=timedelta(seconds=LEASE), back_after=2.0)


@pytest.mark.timeout(180)
async def test_each_moment_is_run_once_or_recorded_by_a_fleet_of_which_one_is_killed_and_one_stands_still(
    tmp_path: Path, mongo_client: MongoClient[dict[str, Any]], mongo_uri: str
) -> None:
    with scratch_project(tmp_path / "project", mongo_client, mongo_uri) as project:
        verdict = await Fleet(project, PLAN, lambda _: None).prove()
    assert [str(difference) for difference in verdict.differences] == []
    assert verdict.expected >= 40 * 15
    assert verdict.ran + verdict.skipped == verdict.expected
    assert verdict.crashes
    assert verdict.ran > verdict.expected / 2
