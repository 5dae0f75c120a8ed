"""The judge of the fleet proof finds every kind of bad history, and lets pass what a crash explains."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.fleet.check import SECOND, Expected, Fault, Verdict, check
from tests.fleet.history import End, History, Note, Run, Skip

FIRST = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(milliseconds=250)
EXPECTED = Expected(job="a", first=FIRST, last=FIRST + 4 * SECOND)
DEAD, ALIVE = 1, 2


def at(second: float) -> datetime:
    return FIRST + second * SECOND


def run(second: float, number: int | None = None, *, end: End = End.COMPLETED, job: str = "a") -> Run:
    return Run(job=job, run=f"{job}:{second if number is None else number}", at=at(second), end=end)


def note(second: float, number: int | None = None, *, pid: int = ALIVE) -> Note:
    return Note(job="a", run=f"a:{second if number is None else number}", at=at(second), pid=pid)


def skip(second: float, until: float | None = None) -> Skip:
    return Skip(job="a", at=at(second), until=None if until is None else at(until))


def judged(*more: Any, without: int | None = None, expected: Expected = EXPECTED) -> Verdict:
    """Five moments that all went well, except for one, and more."""
    seconds = [second for second in range(5) if second != without]
    records = [*map(run, seconds), *map(note, seconds), *more]
    history = History(
        runs=tuple(each for each in records if isinstance(each, Run)),
        skips=tuple(each for each in records if isinstance(each, Skip)),
        notes=tuple(each for each in records if isinstance(each, Note)),
        killed=frozenset({DEAD}),
    )
    return check([expected], history)


def faults(verdict: Verdict) -> list[tuple[Fault, datetime]]:
    return [(each.fault, each.at) for each in verdict.differences]


def test_moments_that_were_all_run_once_are_right() -> None:
    verdict = judged()
    assert faults(verdict) == []
    assert (verdict.expected, verdict.ran, verdict.skipped, verdict.crashes) == (5, 5, 0, 0)


def test_moments_before_and_after_those_that_are_looked_at_must_be_of_the_schedule_too() -> None:
    assert faults(judged(run(-3), note(-3), run(7), note(7), skip(8))) == []


def test_a_missing_moment_is_found_inside_and_at_both_ends() -> None:
    for missing in (0, 2, 4):
        assert faults(judged(without=missing)) == [(Fault.MISSING, at(missing))]


def test_a_moment_that_was_recorded_as_skipped_is_not_missing() -> None:
    verdict = judged(skip(2), without=2)
    assert faults(verdict) == []
    assert (verdict.ran, verdict.skipped) == (4, 1)


def test_an_entry_that_covers_many_moments_ends_before_its_last() -> None:
    assert faults(judged(skip(2, until=3), without=2)) == []
    assert faults(judged(skip(2, until=3))) == [(Fault.BOTH, at(2))]
    assert faults(judged(skip(1, until=2), without=2)) == [(Fault.BOTH, at(1)), (Fault.MISSING, at(2))]
    assert faults(judged(skip(-2, until=1))) == [(Fault.BOTH, at(0))]


def test_a_moment_that_ran_twice_is_found() -> None:
    assert faults(judged(run(2, 9), note(2, 9))) == [(Fault.TWICE, at(2))]


def test_one_run_whose_code_was_called_twice_is_found() -> None:
    assert faults(judged(note(2))) == [(Fault.TWICE, at(2))]


def test_a_moment_that_is_none_of_the_schedule_is_found() -> None:
    assert faults(judged(run(1.5, 9), note(1.5, 9))) == [(Fault.EXTRA, at(1.5))]
    assert faults(judged(skip(1.5))) == [(Fault.EXTRA, at(1.5))]
    assert faults(judged(run(1.5, 9, end=End.CRASHED))) == [(Fault.EXTRA, at(1.5))]


def test_a_moment_that_ran_and_was_recorded_as_skipped_is_found() -> None:
    assert faults(judged(skip(2))) == [(Fault.BOTH, at(2))]


def test_a_crash_allows_one_more_call_and_no_third() -> None:
    crash = [run(2, 8, end=End.CRASHED), note(2, 8, pid=DEAD)]
    verdict = judged(*crash)
    assert faults(verdict) == []
    assert (verdict.ran, verdict.crashes) == (5, 1)
    assert faults(judged(*crash, run(2, 9), note(2, 9))) == [(Fault.TWICE, at(2))]


def test_a_crash_before_the_code_was_called_excuses_nothing() -> None:
    crash = run(2, 8, end=End.CRASHED)
    assert faults(judged(crash, run(2, 9), note(2, 9))) == [(Fault.TWICE, at(2))]


def test_a_crash_alone_leaves_its_moment_missing_until_it_is_recorded_as_skipped() -> None:
    crash = [run(2, 8, end=End.CRASHED), note(2, 8, pid=DEAD)]
    assert faults(judged(*crash, without=2)) == [(Fault.MISSING, at(2))]
    assert faults(judged(*crash, skip(2), without=2)) == []


def test_a_run_without_an_entry_counts_if_its_server_was_killed_and_is_a_fault_if_not() -> None:
    verdict = judged(note(2, 8, pid=DEAD), without=2)
    assert faults(verdict) == []
    assert (verdict.ran, verdict.unrecorded) == (5, 1)
    assert faults(judged(note(2, 8, pid=DEAD))) == [(Fault.TWICE, at(2))]
    assert faults(judged(note(2, 8, pid=DEAD), skip(2), without=2)) == [(Fault.BOTH, at(2))]
    assert faults(judged(note(2, 8), without=2)) == [(Fault.UNRECORDED, at(2)), (Fault.MISSING, at(2))]


def test_an_entry_of_a_run_whose_code_was_never_called_is_found() -> None:
    assert faults(judged(run(2), without=2)) == [(Fault.UNTOLD, at(2))]


def test_a_run_that_failed_by_itself_is_found() -> None:
    failure = [run(2, 8, end=End.FAILED), note(2, 8)]
    assert faults(judged(*failure, without=2)) == [(Fault.FAILED, at(2)), (Fault.MISSING, at(2))]


def test_a_document_that_nobody_made_is_found() -> None:
    assert faults(judged(run(2, job="b"))) == [(Fault.UNKNOWN, at(2))]


@pytest.mark.parametrize("seconds", [0, 1, 59])
def test_the_expected_moments_are_every_second_with_both_ends(seconds: int) -> None:
    moments = list(Expected(job="a", first=FIRST, last=at(seconds + 0.9)).moments())
    assert moments == [FIRST + timedelta(seconds=n) for n in range(seconds + 1)]
