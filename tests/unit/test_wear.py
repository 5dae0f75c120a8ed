"""When a process has done enough, and what it says of that."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import structlog

from jobserver.runner.pulse.wear import Wear, WearLimits, resident_memory
from jobserver.store.documents import Settlement
from jobserver.store.states import Transition

NO_JOB: Any = None


def ends(*transitions: Transition) -> list[Settlement]:
    return [Settlement(job=NO_JOB, transition=each, duration=timedelta()) for each in transitions]


def wear(resident: int = 0, stuck: int = 0, **limits: Any) -> Wear:
    return Wear(limits=WearLimits(**limits), stuck=lambda: stuck, tell=lambda _reason: None, resident=lambda: resident)


def test_without_limits_nothing_wears_out() -> None:
    process = wear(resident=10**15, stuck=10**6)
    process.settled(ends(*[Transition.COMPLETE] * 1000), [])
    assert process.reason() is None


def test_every_end_counts_but_what_was_given_back() -> None:
    process = wear(runs=3)
    process.settled(ends(Transition.COMPLETE, Transition.RELEASE, Transition.RELEASE, Transition.FAIL), [])
    assert process.reason() is None
    process.settled(ends(Transition.RETRY), [])
    assert process.reason() == "3 runs have ended here; recycle_after_runs is 3"


def test_stuck_runs_count_while_their_code_goes_on() -> None:
    assert wear(stuck=2, **{"runs": 0}).reason() is None
    limits = WearLimits(stuck=3)
    told: list[int] = [2]
    process = Wear(limits=limits, stuck=lambda: told[-1], tell=lambda _reason: None)
    assert process.reason() is None
    told.append(3)
    assert process.reason() == "3 runs were given up and their code goes on; recycle_stuck is 3"
    told.append(1)
    assert process.reason() is None


def test_memory_counts_once_something_has_run() -> None:
    process = wear(resident=500_000_000, memory=500_000_000)
    process.settled(ends(Transition.COMPLETE), [])
    assert process.reason() == "this process takes 500 MB; recycle_memory is 500 MB"


def test_a_ceiling_that_a_fresh_process_is_above_is_said_once_and_ignored() -> None:
    process = wear(resident=90_000_000, memory=80_000_000)
    with structlog.testing.capture_logs() as records:
        assert process.reason() is None
        process.settled(ends(Transition.COMPLETE), [])
        assert process.reason() is None
    assert [(each["event"], each["recycle_memory"], each["used"]) for each in records] == [
        ("memory limit ignored", "80 MB", "90 MB")
    ]


def test_the_memory_of_this_process_is_what_it_has_now() -> None:
    before = resident_memory()
    kept = bytearray(b"x" * 80_000_000)
    with_it = resident_memory()
    del kept
    assert before + 60_000_000 < with_it
    assert resident_memory() < with_it - 60_000_000
