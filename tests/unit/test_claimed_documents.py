"""Reading a locked document that a hand has torn between the lock and the look."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from jobserver.store.claims import as_claimed

NOW = datetime(2026, 1, 2, tzinfo=UTC)
SOUND: dict[str, Any] = {"_id": 7, "name": "job", "lockToken": "t", "fence": 3, "attempt": 1, "lastRunAt": NOW}


@pytest.mark.parametrize("torn", [None, [], [3, "x"], {"$a": 1}, "text", float("nan"), b"bytes"], ids=repr)
@pytest.mark.parametrize("field", ["name", "fence", "attempt", "lastRunAt", "scheduledFor"])
def test_a_torn_field_is_read_as_something_that_the_rest_can_work_with(field: str, torn: Any) -> None:
    job = as_claimed({**SOUND, field: torn})
    assert isinstance(job.name, str)
    assert isinstance(job.started_at + timedelta(seconds=1), datetime)
    assert isinstance(job.scheduled_at, datetime)
    assert job.fence + job.attempt >= 0


def test_a_sound_document_is_read_as_it_stands() -> None:
    job = as_claimed(SOUND)
    assert (job.name, job.fence, job.attempt, job.started_at, job.run_id) == ("job", 3, 1, NOW, "7:3")
