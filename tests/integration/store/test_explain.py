"""What MongoDB looks at to answer the hot queries, with 170,000 other documents in the collection."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bson import SON, ObjectId

from jobserver.store import transitions
from jobserver.store.chains import waiting_for
from jobserver.store.documents import Lane
from jobserver.store.due import due_pipeline
from jobserver.store.indexes import DUE, ONE_OFF, PRIORITY_FIRST
from jobserver.store.locks import HELD
from jobserver.store.one_offs import due_one_offs
from tests.stores import FAR_AHEAD, LONG_AGO, NAMES, Workplace, lane

pytestmark = pytest.mark.timeout(120)

DUE_HERE = 40
RUNNING = 25
TASKS = 20_000
DAILY = {"type": "interval", "value": 86_400_000}
NOT_DUE: dict[str, Any] = {"priority": 0, "nextRunAt": FAR_AHEAD}
NAMES_OF_JOBS = ["job", "other"]
CONSTANT = 60  # keys that tell a scan where one priority ends and the next begins


@pytest.fixture(scope="module")
def crowd(shared_place: Workplace) -> Workplace:
    """What a busy year leaves behind."""
    place = shared_place
    place.clear()
    make(place, 100_000, name="job", type="normal", status="completed", priority=0, lastFinishedAt=LONG_AGO)
    make(place, 30_000, name="job", type="normal", status="scheduled", priority=0, nextRunAt=FAR_AHEAD)
    make(place, 20_000, name="at its limit", type="normal", status="queued", priority=0, nextRunAt=LONG_AGO)
    make(place, TASKS, name="tasks", type="normal", task=True, recurrence=DAILY, status="scheduled", **NOT_DUE)
    for number in range(DUE_HERE):
        place.put(priority=number % 4, type="normal", nextRunAt=LONG_AGO + timedelta(seconds=number))
    place.put_many(3, name="other", priority=0)
    place.put_many(RUNNING, lockToken="t", lockedBy="s", lockedAt=LONG_AGO, lockUntil=FAR_AHEAD, priority=0)
    return place


def make(place: Workplace, count: int, **fields: Any) -> None:
    """So many documents, made where they are kept."""
    place.db.aggregate(
        [
            {"$documents": [{"number": {"$range": [0, count]}}]},
            {"$unwind": "$number"},
            {"$replaceWith": {"$literal": fields}},
            {"$merge": {"into": NAMES.jobs, "whenMatched": "fail"}},
        ]
    )


def make_named(place: Workplace, count: int, **fields: Any) -> None:
    """So many documents, each with a name of its own."""
    place.db[NAMES.jobs].insert_many([{**fields, "name": f"one-off {number}"} for number in range(count)])


class Explained:
    """What a command has cost, over all its stages."""

    def __init__(self, place: Workplace, command: Mapping[str, Any]) -> None:
        self._plan = place.db.command("explain", SON(command), verbosity="executionStats")
        stats = [found for found in self._parts() if "totalKeysExamined" in found]
        assert stats
        self.keys = sum(found["totalKeysExamined"] for found in stats)
        self.documents = sum(found["totalDocsExamined"] for found in stats)
        self.returned = sum(found["nReturned"] for found in stats)
        winners = [found["winningPlan"] for found in self._parts() if "winningPlan" in found]
        self.indexes = {found["indexName"] for winner in winners for found in parts(winner) if "indexName" in found}
        self.stages = {found["stage"] for winner in winners for found in parts(winner) if "stage" in found}

    def _parts(self) -> Iterator[Mapping[str, Any]]:
        return parts(self._plan)


def parts(plan: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(plan, Mapping):
        yield plan
        for value in plan.values():
            yield from parts(value)
    elif isinstance(plan, list):
        for value in plan:
            yield from parts(value)


def found_by(place: Workplace, which: Mapping[str, Any]) -> Explained:
    return Explained(place, {"find": NAMES.jobs, "filter": which})


def claim_of(place: Workplace, *lanes: Lane, limit: int = 500) -> Explained:
    pipeline = due_pipeline(lanes, limit, dict(PRIORITY_FIRST), NAMES.jobs)
    return Explained(place, {"aggregate": NAMES.jobs, "pipeline": pipeline, "cursor": {}})


def test_a_claim_reads_in_the_order_of_the_due_index_little_more_than_it_returns(crowd: Workplace) -> None:
    claim = claim_of(crowd, lane("job", 500))
    assert claim.indexes == {DUE}
    assert {"COLLSCAN", "SORT"}.isdisjoint(claim.stages)
    assert claim.returned == DUE_HERE
    assert claim.keys <= 3 * DUE_HERE + CONSTANT
    assert claim.documents <= 3 * DUE_HERE + CONSTANT


def test_a_claim_for_a_few_reads_only_these_few(crowd: Workplace) -> None:
    claim = claim_of(crowd, lane("job", 5), limit=5)
    assert claim.returned == 5
    assert claim.keys <= 3 * 5 + 10


def test_a_claim_for_many_jobs_reads_each_of_them_by_the_due_index(crowd: Workplace) -> None:
    names = ["job", "other", *(f"unknown {number}" for number in range(98))]
    claim = claim_of(crowd, *map(lane, names))
    assert claim.indexes == {DUE}
    assert "COLLSCAN" not in claim.stages
    assert claim.keys <= 3 * (DUE_HERE + 3 + len(names)) + CONSTANT


def test_looking_in_vain_reads_next_to_nothing(crowd: Workplace) -> None:
    assert claim_of(crowd, lane("nobody's")).keys <= 2
    crowd.put(name="later", priority=0, nextRunAt=FAR_AHEAD)
    assert claim_of(crowd, lane("later")).keys <= 3


def test_a_claim_reads_nothing_of_twenty_thousand_recurring_tasks_but_those_that_are_due(crowd: Workplace) -> None:
    assert crowd.jobs.count_documents({"name": "tasks"}) == TASKS
    claim = claim_of(crowd, lane("tasks", 500))
    assert (claim.indexes, claim.returned, claim.documents) == ({DUE}, 0, 0)
    assert claim.keys <= 3
    for number in range(DUE_HERE):
        crowd.put(name="tasks", priority=0, nextRunAt=LONG_AGO + timedelta(seconds=number))
    claim = claim_of(crowd, lane("tasks", 500))
    assert (claim.returned, claim.documents) == (DUE_HERE, DUE_HERE)
    assert claim.keys <= DUE_HERE + 3


def test_locking_reads_the_documents_that_were_found_and_no_others(crowd: Workplace) -> None:
    found = [
        document["_id"] for document in crowd.jobs.find({"name": "job", "nextRunAt": {"$lt": FAR_AHEAD}}).limit(20)
    ]
    update = {
        "q": transitions.due(["job", "other"]) | {"_id": {"$in": found}},
        "u": [{"$set": {"lockToken": "t"}}],
        "multi": True,
        "hint": "_id_",
    }
    lock = Explained(crowd, {"update": NAMES.jobs, "updates": [update]})
    assert lock.indexes == {"_id_"}
    assert lock.keys <= 2 * len(found) + 1


@pytest.mark.parametrize(
    "which",
    [
        pytest.param({"lockedAt": {"$exists": True}}, id="active jobs"),
        pytest.param({"lockedAt": {"$lt": datetime(2026, 1, 1, tzinfo=UTC)}}, id="stale locks"),
        pytest.param({**HELD, "lockedBy": "s"}, id="what a server holds"),
        pytest.param({**HELD, "$expr": {"$lt": ["$lockUntil", "$$NOW"]}}, id="stuck runs"),
    ],
)
def test_questions_about_locks_read_the_locked_documents_alone(crowd: Workplace, which: dict[str, Any]) -> None:
    asked = found_by(crowd, which)
    assert asked.indexes == {"locks"}
    assert asked.keys <= RUNNING + 1
    assert asked.documents <= RUNNING + 1


def test_the_owners_of_locks_are_read_from_the_locked_documents_alone(crowd: Workplace) -> None:
    asked = Explained(crowd, {"distinct": NAMES.jobs, "key": "lockedBy", "query": HELD})
    assert asked.indexes == {"locks"}
    assert asked.documents <= RUNNING + 1


def test_counting_active_jobs_reads_the_locked_documents_alone(crowd: Workplace) -> None:
    pipeline = [{"$match": {"lockedAt": {"$exists": True}}}, {"$group": {"_id": 1, "n": {"$sum": 1}}}]
    asked = Explained(crowd, {"aggregate": NAMES.jobs, "pipeline": pipeline, "cursor": {}})
    assert asked.indexes == {"locks"}
    assert asked.keys <= RUNNING + 1


def test_taken_slots_are_read_from_the_documents_that_have_one(crowd: Workplace) -> None:
    asked = Explained(crowd, {"distinct": NAMES.jobs, "key": "globalSlot", "query": {"globalSlot": {"$gt": ""}}})
    assert asked.indexes == {"one_per_global_slot"}
    assert asked.keys <= 1


def test_a_unique_key_is_looked_up_by_its_index(crowd: Workplace) -> None:
    asked = found_by(crowd, {"name": "job", "uniqueKey": "order 7"})
    assert asked.indexes == {"one_active_per_key"}
    assert asked.keys <= 1


def test_due_one_offs_are_found_among_those_that_wait_alone(crowd: Workplace) -> None:
    ended = {"type": "normal", "oneOff": True, "status": "completed", "handler": {"kind": "file", "path": "a.py"}}
    make_named(crowd, 20_000, **ended)
    crowd.put(name="waits", type="normal", oneOff=True, handler=ended["handler"], nextRunAt=LONG_AGO)
    due = due_one_offs(handed_over=["mine"], known=NAMES_OF_JOBS, without=["other"])
    found = Explained(crowd, {"find": NAMES.jobs, "filter": due, "sort": {"nextRunAt": 1}, "limit": 50})
    assert found.indexes == {"one_offs_due"}
    assert (found.returned, found.documents) == (1, 1)


def test_a_one_off_is_looked_up_by_its_index(crowd: Workplace) -> None:
    found = found_by(crowd, {"name": "waits", "oneOff": True})
    assert found.indexes == {ONE_OFF}
    assert found.documents <= 1


def test_the_holder_of_a_job_is_looked_up_by_its_index(crowd: Workplace) -> None:
    asked = found_by(crowd, {"name": "job", "type": "single"})
    assert asked.indexes == {"one_holder"}
    assert asked.keys <= 1


@pytest.mark.parametrize("parents", [None, [ObjectId() for _ in range(500)]], ids=["any", "five hundred"])
def test_what_waits_for_the_end_of_others_is_found_among_what_does_so_alone(crowd: Workplace, parents: Any) -> None:
    asked = found_by(crowd, waiting_for(parents))
    assert asked.indexes == {"chains"}
    assert (asked.keys, asked.documents) <= (1, 0)
