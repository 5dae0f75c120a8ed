"""What is particular about the documents of one-off jobs, and about waiting for them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from jobserver.completion import LONGEST_PAUSE, Patience
from jobserver.errors import CompletionTimeout
from jobserver.one_off import OneOff, OneOffState
from jobserver.store.documents import ClaimedJob, Settlement
from jobserver.store.jobs import is_plain
from jobserver.store.one_offs import as_one_off
from jobserver.store.states import Status, Transition

NOW = datetime(2026, 11, 21, tzinfo=UTC)


def completed(**document: Any) -> Settlement:
    job = ClaimedJob(
        id=1,
        name="once",
        token="t",
        fence=1,
        attempt=1,
        started_at=NOW,
        scheduled_at=NOW,
        recurring=False,
        document=document,
        run_id="1:1",
    )
    return Settlement(job=job, transition=Transition.COMPLETE, duration=timedelta())


def test_the_end_of_a_one_off_is_not_stored_with_those_that_are_removed_after_a_while() -> None:
    assert is_plain(completed())
    assert not is_plain(completed(oneOff=True))


@pytest.mark.parametrize(
    ("status", "state"),
    [
        (Status.QUEUED, "queued"),
        (Status.SCHEDULED, "queued"),
        (None, "queued"),
        ({"a": "hand"}, "queued"),
        (Status.RUNNING, "started"),
        (Status.COMPLETED, "finished"),
        (Status.FAILED, "failed"),
        (Status.CANCELLED, "cancelled"),
        (Status.SKIPPED, "cancelled"),
    ],
)
def test_every_status_has_its_state(status: Any, state: str) -> None:
    assert as_one_off({"_id": 1, "name": "once", "status": status}).state == state


def test_only_a_document_that_does_not_say_how_it_is_run_needs_code() -> None:
    assert as_one_off({"_id": 1}).needs_code
    assert not as_one_off({"_id": 1, "byName": True}).needs_code
    assert not as_one_off({"_id": 1, "handler": {"kind": "file", "path": "a.py"}}).needs_code


def test_looks_grow_rarer_and_end_with_the_time_that_was_given() -> None:
    now, one_off = [0.0], OneOff(id=1, name="once", state=OneOffState.STARTED)
    patience = Patience(2.0, monotonic=lambda: now[0])
    pauses = [patience.pause(one_off) for _ in range(20)]
    assert pauses == sorted(pauses)
    assert pauses[-1] == LONGEST_PAUSE
    now[0] = 1.9
    assert patience.pause(one_off) == pytest.approx(0.1)
    now[0] = 2.0
    with pytest.raises(CompletionTimeout, match="still started after 2 seconds"):
        patience.pause(one_off)
