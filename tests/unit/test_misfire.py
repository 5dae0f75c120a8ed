"""Which of the occurrences that came due during a downtime run, and which are skipped."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from jobserver.runner.pulse.misfire import GRACE, MOST_RECORDED, Due, due_by, skipped
from jobserver.runner.pulse.recurrence import Recurrence
from jobserver.schedule import Schedule

NINE = datetime(2026, 3, 2, 9, tzinfo=UTC)
HOUR = timedelta(hours=1)


def hourly(misfire: str) -> Recurrence:
    return Recurrence(Schedule.parse("0 * * * *", misfire=misfire), NINE)


def hours(due: Due) -> list[int]:
    return [each.at.hour for each in due.skipped]


@pytest.mark.parametrize("misfire", ["latest", "skip", "all"])
def test_an_occurrence_in_its_time_runs_whatever_the_policy(misfire: str) -> None:
    for late in (timedelta(0), GRACE):
        assert due_by(NINE + late, NINE, hourly(misfire)) == Due(occurrence=NINE)


@pytest.mark.parametrize(
    ("misfire", "now", "occurrence", "runs", "left_out"),
    [
        ("latest", NINE + 30 * GRACE, 9, True, []),
        ("latest", NINE + 3.5 * HOUR, 12, True, [9, 10, 11]),
        ("skip", NINE + 30 * GRACE, 9, False, []),
        ("skip", NINE + 3.5 * HOUR, 12, False, [9, 10, 11]),
        ("skip", NINE + 3 * HOUR + GRACE, 12, True, [9, 10, 11]),
        ("all", NINE + 3.5 * HOUR, 9, True, []),
        ("all(max=4)", NINE + 3.5 * HOUR, 9, True, []),
        ("all(max=3)", NINE + 3.5 * HOUR, 10, True, [9]),
        ("all(max=1)", NINE + 3.5 * HOUR, 12, True, [9, 10, 11]),
    ],
)
def test_after_a_downtime_the_policy_decides(
    misfire: str, now: datetime, occurrence: int, runs: bool, left_out: list[int]
) -> None:
    due = due_by(now, NINE, hourly(misfire))
    assert (due.occurrence.hour, due.runs, hours(due)) == (occurrence, runs, left_out)


@pytest.mark.parametrize("misfire", ["latest", "skip", "all"])
def test_a_moment_that_a_hand_has_set_is_no_occurrence_and_always_runs(misfire: str) -> None:
    by_hand = NINE + timedelta(minutes=7)
    assert due_by(NINE + 9 * HOUR, by_hand, hourly(misfire)) == Due(occurrence=by_hand)


def test_a_single_moment_in_the_past_runs_late_or_is_skipped() -> None:
    for misfire, runs in (("latest", True), ("skip", False), ("all", True)):
        once = Recurrence(Schedule.parse(NINE, misfire=misfire), NINE)
        assert due_by(NINE + 9 * HOUR, NINE, once) == Due(occurrence=NINE, runs=runs)


def test_an_interval_is_counted_from_its_anchor() -> None:
    every = Recurrence(Schedule.parse("90 minutes"), NINE)
    due = due_by(NINE + 5 * HOUR, NINE + 1.5 * HOUR, every)
    assert due.occurrence == NINE + 4.5 * HOUR
    assert [each.at for each in due.skipped] == [NINE + 1.5 * HOUR, NINE + 3 * HOUR]


def test_a_year_of_seconds_is_skipped_at_once_and_the_last_of_them_share_an_entry() -> None:
    every = Recurrence(Schedule.parse("* * * * * *"), NINE)
    now = NINE + timedelta(days=365)
    due = due_by(now, NINE, every)
    assert due.occurrence == now
    assert len(due.skipped) == MOST_RECORDED + 1
    rest = due.skipped[-1]
    assert (rest.at, rest.until) == (NINE + timedelta(seconds=MOST_RECORDED), now)
    assert all(each.until is None for each in due.skipped[:-1])


def test_nothing_is_skipped_where_nothing_lies_between() -> None:
    assert skipped(hourly("latest"), NINE, NINE) == ()


@pytest.mark.parametrize("count", [1, 2, 7, 100])
@pytest.mark.parametrize("text", ["0 9 * * mon", "*/7 * * * *", "0 0 1 * *", "every 11 minutes"])
def test_every_occurrence_is_run_or_skipped_and_none_is_both(text: str, count: int) -> None:
    follows = Recurrence(Schedule.parse(text, misfire=f"all(max={count})"), NINE)
    first: Any = follows.after(NINE)
    now = first + timedelta(days=40)
    due = due_by(now, first, follows)
    every = [first, *follows.schedule.occurrences(after=first, until=now, anchor=NINE)]
    run = [each for each in every if each >= due.occurrence]
    assert len(run) == min(count, len(every))
    told = [each.at for each in due.skipped][:MOST_RECORDED]
    assert told == every[: len(every) - len(run)][:MOST_RECORDED]


@pytest.mark.parametrize("year", [1, 500])
def test_a_moment_of_long_ago_that_a_hand_has_set_fails_nothing(year: int) -> None:
    first = datetime(year, 1, 1, tzinfo=UTC)
    yearly = Recurrence(Schedule.parse("0 0 1 1 *", misfire="all(max=1000)"), first)
    assert due_by(NINE, first, yearly) == Due(occurrence=first)
