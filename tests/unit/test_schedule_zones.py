"""Cron across changes of clocks: the default rule, case by case (Debian cron's), in New York and on Lord Howe."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from jobserver.schedule import Schedule

NEW_YORK = "America/New_York"  # 2026: forward on 8 March at 02:00, back on 1 November at 02:00
LORD_HOWE = "Australia/Lord_Howe"  # 2026: back by 30 minutes on 5 April at 02:00, forward on 4 October at 02:00


def fires(expression: str, zone: str, start: str, count: int) -> str:
    """The fires after a wall-clock time, as day, wall-clock time and offset."""
    after = datetime.fromisoformat(start).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
    moments = Schedule.parse(expression, zone).upcoming(count, after=after)
    assert all(moment.tzinfo is UTC for moment in moments)
    return " ".join(moment.astimezone(ZoneInfo(zone)).strftime("%d/%H:%M%z") for moment in moments)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("30 2 * * *", "08/03:00-0400 09/02:30-0400"),
        ("0,30 2 * * *", "08/03:00-0400 09/02:00-0400"),
        ("30 2,3 * * *", "08/03:00-0400 08/03:30-0400 09/02:30-0400"),
        ("0 2,3 * * *", "08/03:00-0400 09/02:00-0400"),
        ("0 1-3 * * *", "08/01:00-0500 08/03:00-0400 09/01:00-0400"),
        ("30 1 * * *", "08/01:30-0500 09/01:30-0400"),
        ("0 3 * * *", "08/03:00-0400 09/03:00-0400"),
        ("15 30 2 * * *", "08/03:00-0400 09/02:30-0400"),
        ("*/20 30 2 * * *", "08/03:00-0400 09/02:30-0400"),
    ],
)
def test_a_fixed_time_in_a_gap_runs_once_right_after_the_gap(expression: str, expected: str) -> None:
    assert fires(expression, NEW_YORK, "2026-03-08T00:00", expected.count("/")) == expected


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("30 1 * * *", "01/01:30-0400 02/01:30-0500"),
        ("0 1-3 * * *", "01/01:00-0400 01/02:00-0500 01/03:00-0500 02/01:00-0500"),
        ("0,30 1 * * *", "01/01:00-0400 01/01:30-0400 02/01:00-0500"),
        ("0 2 * * *", "01/02:00-0500 02/02:00-0500"),
        ("59 1 1 11 *", "01/01:59-0400 01/01:59-0400"),
        ("30 15 1 * * *", "01/01:15-0400 02/01:15-0500"),
    ],
)
def test_a_fixed_time_in_an_overlap_runs_once_in_the_first_pass(expression: str, expected: str) -> None:
    assert fires(expression, NEW_YORK, "2026-11-01T00:00", expected.count("/")) == expected


@pytest.mark.parametrize(
    ("expression", "start", "expected"),
    [
        (
            "*/30 * * * *",
            "2026-11-01T00:30",
            "01/01:00-0400 01/01:30-0400 01/01:00-0500 01/01:30-0500 01/02:00-0500 01/02:30-0500",
        ),
        ("30 * * * *", "2026-11-01T00:59", "01/01:30-0400 01/01:30-0500 01/02:30-0500"),
        ("*/30 1 * * *", "2026-11-01T00:59", "01/01:00-0400 01/01:30-0400 01/01:00-0500 01/01:30-0500 02/01:00-0500"),
        ("0 */2 * * *", "2026-11-01T00:59", "01/02:00-0500 01/04:00-0500"),
        ("0 30 * * * *", "2026-11-01T00:59", "01/01:30-0400 01/01:30-0500 01/02:30-0500"),
        ("*/30 * * * *", "2026-03-08T01:00", "08/01:30-0500 08/03:00-0400 08/03:30-0400"),
        ("30 * * * *", "2026-03-08T01:00", "08/01:30-0500 08/03:30-0400"),
        ("0 */2 * * *", "2026-03-08T01:00", "08/04:00-0400 08/06:00-0400 08/08:00-0400"),
        ("*/30 2 * * *", "2026-03-08T01:00", "09/02:00-0400 09/02:30-0400"),
    ],
)
def test_a_schedule_with_a_star_for_minute_or_hour_follows_real_time(
    expression: str, start: str, expected: str
) -> None:
    assert fires(expression, NEW_YORK, start, expected.count("/")) == expected


@pytest.mark.parametrize(
    ("expression", "start", "expected"),
    [
        ("15 2 * * *", "2026-10-04T00:00", "04/02:30+1100 05/02:15+1100"),
        ("45 1 * * *", "2026-04-05T00:00", "05/01:45+1100 06/01:45+1030"),
        ("*/15 * * * *", "2026-04-05T01:15", "05/01:30+1100 05/01:45+1100 05/01:30+1030 05/01:45+1030 05/02:00+1030"),
        ("*/15 * * * *", "2026-10-04T01:30", "04/01:45+1030 04/02:30+1100 04/02:45+1100"),
    ],
)
def test_half_an_hour_of_daylight_saving_follows_the_same_rule(expression: str, start: str, expected: str) -> None:
    assert fires(expression, LORD_HOWE, start, expected.count("/")) == expected


def test_a_moment_in_either_pass_of_an_overlap_is_told_apart() -> None:
    first, second = (datetime(2026, 11, 1, hour, 30, tzinfo=UTC) for hour in (5, 6))  # both are 01:30 in New York
    half_hours, fixed = (Schedule.parse(text, NEW_YORK) for text in ("*/30 * * * *", "45 1 * * *"))
    assert half_hours.next_after(first) == datetime(2026, 11, 1, 6, tzinfo=UTC)
    assert half_hours.next_after(second) == datetime(2026, 11, 1, 7, tzinfo=UTC)
    assert fixed.next_after(first) == datetime(2026, 11, 1, 5, 45, tzinfo=UTC)
    assert fixed.next_after(second) == datetime(2026, 11, 2, 6, 45, tzinfo=UTC)
    assert Schedule.parse("0 2 * * *", NEW_YORK).next_after(second) == datetime(2026, 11, 1, 7, tzinfo=UTC)


def test_a_moment_between_two_seconds_of_an_overlap_is_placed_too() -> None:
    just_begun = datetime(2026, 11, 1, 5, 0, 0, 200_000, tzinfo=UTC)
    assert Schedule.parse("* * * * *", NEW_YORK).next_after(just_begun) == datetime(2026, 11, 1, 5, 1, tzinfo=UTC)
    assert Schedule.parse("0 1 * * *", NEW_YORK).next_after(just_begun) == datetime(2026, 11, 2, 6, tzinfo=UTC)


def test_a_day_that_a_zone_left_out_runs_at_the_start_of_the_next_one() -> None:
    assert fires("0 12 * * *", "Pacific/Apia", "2011-12-29T13:00", 2) == "31/00:00+1400 31/12:00+1400"
    assert fires("0 */12 * * *", "Pacific/Apia", "2011-12-29T13:00", 2) == "31/00:00+1400 31/12:00+1400"


def test_every_second_schedules_cross_a_change_of_clocks_quickly_and_completely() -> None:
    every_second = Schedule.parse("* * * * * *", NEW_YORK)
    before_gap = datetime(2026, 3, 8, 6, 59, 59, tzinfo=UTC)
    assert every_second.next_after(before_gap) == datetime(2026, 3, 8, 7, tzinfo=UTC)
    before_end_of_first_pass = datetime(2026, 11, 1, 5, 59, 59, tzinfo=UTC)
    assert every_second.next_after(before_end_of_first_pass) == datetime(2026, 11, 1, 6, tzinfo=UTC)
