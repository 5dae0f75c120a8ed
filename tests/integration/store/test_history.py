"""`jobRuns`: one entry for each attempt, written once however often it is told."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from jobserver.errors import DatabaseError
from jobserver.store.claims import as_claimed
from jobserver.store.connection import async_client, deciding
from jobserver.store.documents import ABSENT, ErrorRecord, RunRecord, Skipped
from jobserver.store.runs import RunStore
from jobserver.store.states import Status
from tests.faults import failing
from tests.stores import LONG_AGO, NAMES, Workplace

pytestmark = pytest.mark.timeout(30)


def record(fence: int, status: Status = Status.COMPLETED, **how: Any) -> RunRecord:
    document = {"_id": 7, "name": "$name", "lockToken": "t", "attempt": 2, "lastRunAt": LONG_AGO}
    job = as_claimed({**document, "fence": fence, "scheduledFor": LONG_AGO})
    return RunRecord(job=job, status=status, server="here", duration=timedelta(milliseconds=1500), **how)


async def write(place: Workplace, *records: RunRecord, app_name: str = "jobserver") -> None:
    async with async_client(place.uri, app_name=app_name) as client:
        await RunStore(deciding(client[place.db.name])[NAMES.runs]).record(records)


async def test_an_entry_says_what_became_of_an_attempt(place: Workplace) -> None:
    error = ErrorRecord(message="$error", stack="line 1")
    await write(place, record(1, result={"$a.b": 1}), record(2, Status.FAILED, error=error))
    first, second = place.runs.find().sort("fence")
    both = {
        **{"jobId": 7, "name": "$name", "attempt": 2, "scheduledAt": LONG_AGO, "startedAt": LONG_AGO},
        **{"finishedAt": LONG_AGO + timedelta(seconds=1.5), "duration": 1500, "server": "here"},
    }
    assert first == {"_id": "7:1", "fence": 1, "status": "completed", "result": {"$a.b": 1}, **both}
    failed = {"error": "$error", "stack": "line 1"}
    assert second == {"_id": "7:2", "fence": 2, "status": "failed", **failed, **both}


@pytest.mark.parametrize("result", [None, 0, False, ""], ids=repr)
async def test_a_result_is_there_unless_there_was_none(place: Workplace, result: Any) -> None:
    await write(place, record(1, result=result), record(2, result=ABSENT))
    first, second = place.runs.find().sort("fence")
    assert first["result"] == result
    assert "result" not in second


async def test_an_entry_that_is_there_stays_as_it_is_and_the_others_are_added(place: Workplace) -> None:
    await write(place, record(1, result="first"))
    await write(place, record(1, result="second"), record(2), record(3))
    assert [entry.get("result") for entry in place.runs.find().sort("fence")] == ["first", None, None]


async def test_an_entry_that_mongodb_refuses_is_told(place: Workplace) -> None:
    """Beside one that is merely there already."""
    await write(place, record(1))
    with pytest.raises(DatabaseError):
        await write(place, record(1), record(2, result="x" * (17 * 1024 * 1024)))


async def test_a_history_that_no_majority_has_is_told(place: Workplace) -> None:
    failure = {"code": 64, "errmsg": "waiting timed out"}
    with failing(place.db.client, "insert", times=1, writeConcernError=failure) as name, pytest.raises(DatabaseError):
        await write(place, record(1), app_name=name)


HOUR = timedelta(hours=1)


async def skip(place: Workplace, *skipped: Skipped) -> None:
    async with async_client(place.uri) as client:
        history = RunStore(deciding(client[place.db.name])[NAMES.runs])
        await history.record_skipped(record(1).job, skipped, server="here", at=LONG_AGO, reason="missed")


async def test_an_occurrence_that_is_skipped_twice_has_one_entry(place: Workplace) -> None:
    await skip(place, Skipped(at=LONG_AGO), Skipped(at=LONG_AGO + HOUR))
    await skip(place, Skipped(at=LONG_AGO + HOUR), Skipped(at=LONG_AGO + 2 * HOUR))
    assert [entry["scheduledAt"] for entry in place.runs.find().sort("scheduledAt")] == [
        LONG_AGO + n * HOUR for n in range(3)
    ]


@pytest.mark.parametrize("before", [None, LONG_AGO + HOUR, LONG_AGO + 9 * HOUR], ids=["one", "fewer", "more"])
async def test_an_entry_for_many_occurrences_covers_all_that_were_ever_skipped_from_there(
    place: Workplace, before: datetime | None
) -> None:
    """A server that was killed before it moved the document on has written it already, for less time."""
    until = LONG_AGO + 5 * HOUR
    await skip(place, Skipped(at=LONG_AGO, until=before))
    await skip(place, Skipped(at=LONG_AGO, until=until))
    (entry,) = place.runs.find()
    assert entry["skippedUntil"] == max(until, before or until)
    assert (entry["status"], entry["reason"], entry["scheduledAt"]) == ("skipped", "missed", LONG_AGO)
