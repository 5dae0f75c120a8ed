"""The policies for changes of clocks: each one's gap and overlap, and the preview that says what it did."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from jobserver.errors import ScheduleError
from jobserver.schedule import Fire, Schedule

BERLIN = "Europe/Berlin"  # 2026: forward on 29 March at 02:00, back on 25 October at 03:00
LORD_HOWE = "Australia/Lord_Howe"  # 2026: back by 30 minutes on 5 April at 02:00, forward on 4 October at 02:00
BEFORE_GAP, BEFORE_OVERLAP = "2026-03-29T00:59", "2026-10-25T01:59"


def fires(expression: str, dst: str | None, start: str, count: int, zone: str = BERLIN) -> str:
    """The fires after a wall-clock time, as day, wall-clock time and hours from UTC."""
    after = datetime.fromisoformat(start).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
    moments = Schedule.parse(expression, zone, dst=dst).upcoming(count, after=after)
    one_by_one = Schedule.parse(expression, zone, dst=dst)
    assert all(one_by_one.next_after(moment - timedelta(microseconds=1)) == moment for moment in moments)
    return " ".join(moment.astimezone(ZoneInfo(zone)).strftime("%d/%H:%M%z") for moment in moments)


@pytest.mark.parametrize(
    ("dst", "expression", "expected"),
    [
        (None, "30 2 * * *", "29/03:00+0200 30/02:30+0200"),
        ("skip", "30 2 * * *", "30/02:30+0200"),
        ("next_valid", "30 2 * * *", "29/03:00+0200 30/02:30+0200"),
        ("first", "30 2 * * *", "29/03:30+0200 30/02:30+0200"),
        ("both", "30 2 * * *", "29/03:00+0200 30/02:30+0200"),
        (None, "*/20 2,3 * * *", "29/03:00+0200 29/03:20+0200 29/03:40+0200 30/02:00+0200"),
        ("skip", "*/20 2,3 * * *", "29/03:00+0200 29/03:20+0200 29/03:40+0200 30/02:00+0200"),
        ("next_valid", "*/20 2 * * *", "29/03:00+0200 30/02:00+0200"),
        ("first", "*/20 2 * * *", "29/03:00+0200 29/03:20+0200 29/03:40+0200 30/02:00+0200"),
        ("both", "*/20 2 * * *", "29/03:00+0200 30/02:00+0200"),
        ("skip", "*/20 2 * * *", "30/02:00+0200"),
        ("next_valid", "50 2,3 * * *", "29/03:00+0200 29/03:50+0200 30/02:50+0200"),
        ("first", "10,50 2,3 * * *", "29/03:10+0200 29/03:50+0200 30/02:10+0200"),  # both meet there
        ("first", "50 2 * * *", "29/03:50+0200 30/02:50+0200"),
        ("first", "5 2-3 * * *", "29/03:05+0200 30/02:05+0200"),
        ("first", "30 2 29 3 *", "29/03:30+0200 29/02:30+0200"),
    ],
)
def test_a_time_in_a_gap(dst: str | None, expression: str, expected: str) -> None:
    assert fires(expression, dst, BEFORE_GAP, expected.count("/")) == expected


@pytest.mark.parametrize(
    ("dst", "expression", "expected"),
    [
        (None, "30 2 * * *", "25/02:30+0200 26/02:30+0100"),
        ("skip", "30 2 * * *", "25/02:30+0200 26/02:30+0100"),
        ("next_valid", "30 2 * * *", "25/02:30+0200 26/02:30+0100"),
        ("first", "30 2 * * *", "25/02:30+0200 26/02:30+0100"),
        ("both", "30 2 * * *", "25/02:30+0200 25/02:30+0100 26/02:30+0100"),
        (None, "*/30 2 * * *", "25/02:00+0200 25/02:30+0200 25/02:00+0100 25/02:30+0100 26/02:00+0100"),
        ("skip", "*/30 2 * * *", "25/02:00+0200 25/02:30+0200 26/02:00+0100"),
        ("next_valid", "*/30 2 * * *", "25/02:00+0200 25/02:30+0200 26/02:00+0100"),
        ("first", "*/30 * * * *", "25/02:00+0200 25/02:30+0200 25/03:00+0100 25/03:30+0100"),
        ("both", "0 2,3 * * *", "25/02:00+0200 25/02:00+0100 25/03:00+0100 26/02:00+0100"),
    ],
)
def test_a_time_that_comes_twice(dst: str | None, expression: str, expected: str) -> None:
    assert fires(expression, dst, BEFORE_OVERLAP, expected.count("/")) == expected


@pytest.mark.parametrize(
    ("dst", "expected"),
    [
        ("skip", "05/02:15+1100"),
        ("next_valid", "04/02:30+1100 05/02:15+1100"),
        ("first", "04/02:45+1100 05/02:15+1100"),
        ("both", "04/02:30+1100 05/02:15+1100"),
    ],
)
def test_a_gap_of_half_an_hour(dst: str, expected: str) -> None:
    assert fires("15 2 * * *", dst, "2026-10-04T01:30", expected.count("/"), LORD_HOWE) == expected


def test_a_whole_day_that_was_left_out_is_carried_into_the_next() -> None:
    assert fires("0 12 * * *", "first", "2011-12-29T13:00", 2, "Pacific/Apia") == "31/12:00+1400 01/12:00+1400"
    assert fires("0 9,12 30 12 *", "first", "2011-12-29T13:00", 2, "Pacific/Apia") == "31/09:00+1400 31/12:00+1400"
    assert fires("0 12 * * *", "skip", "2011-12-29T13:00", 1, "Pacific/Apia") == "31/12:00+1400"


def test_what_its_policy_never_lets_run_is_refused() -> None:
    only_in_gaps = {"type": "cron", "value": "30 2 * 3 L7", "timezone": BERLIN}
    assert Schedule.parse(only_in_gaps).next_after(datetime(2026, 1, 1, tzinfo=UTC))
    with pytest.raises(ScheduleError, match="never fires") as caught:
        Schedule.parse({**only_in_gaps, "dst": "skip"})
    assert caught.value.field == "schedule.value"


def previewed(source: Any, start: str, count: int, **keywords: Any) -> list[tuple[str, str | None]]:
    schedule = Schedule.parse(source, BERLIN, **keywords)
    after = datetime.fromisoformat(start).replace(tzinfo=ZoneInfo(BERLIN)).astimezone(UTC)
    shown = schedule.preview(count, after=after, anchor=after, timezone=BERLIN)
    assert [fire.moment for fire in shown] == schedule.upcoming(count, after=after, anchor=after)
    assert all(fire.wall.astimezone(UTC) == fire.moment and fire.moment.tzinfo is UTC for fire in shown)
    return [(f"{fire.wall:%d/%H:%M}", fire.note) for fire in shown]


@pytest.mark.parametrize(
    ("dst", "expected"),
    [
        (None, [("29/03:00", "02:30 does not exist on 2026-03-29: runs at 03:00"), ("30/02:30", None)]),
        ("skip", [("30/02:30", "02:30 does not exist on 2026-03-29: nothing runs"), ("31/02:30", None)]),
        ("first", [("29/03:30", "02:30 does not exist on 2026-03-29: runs at 03:30"), ("30/02:30", None)]),
    ],
)
def test_a_preview_says_what_became_of_a_time_that_does_not_exist(dst: str | None, expected: object) -> None:
    assert previewed("30 2 * * *", BEFORE_GAP, 2, dst=dst) == expected


def test_a_preview_says_of_each_time_where_it_was_carried_to() -> None:
    assert previewed("15,45 2 * * *", BEFORE_GAP, 3, dst="first") == [
        ("29/03:15", "02:15 does not exist on 2026-03-29: runs at 03:15"),
        ("29/03:45", "02:45 does not exist on 2026-03-29: runs at 03:45"),
        ("30/02:15", None),
    ]


def test_a_preview_says_which_pass_a_repeated_time_runs_in() -> None:
    first = ("25/02:30", "02:30 comes twice: runs in the first pass")
    assert previewed("30 2 * * *", BEFORE_OVERLAP, 2) == [first, ("26/02:30", None)]
    assert previewed("30 2 * * *", BEFORE_OVERLAP, 3, dst="both") == [
        ("25/02:30", "02:30 comes twice: runs in the first pass and the second"),
        ("25/02:30", "02:30 comes twice: runs in the second pass too"),
        ("26/02:30", None),
    ]


def test_a_preview_sums_up_several_times_of_one_gap() -> None:
    summed_up = "02:00 to 03:00 do not exist on 2026-03-29"
    assert previewed("*/20 * * * *", BEFORE_GAP, 5) == [
        *(("29/01:00", None), ("29/01:20", None), ("29/01:40", None)),
        ("29/03:00", f"{summed_up}: nothing runs"),
        ("29/03:20", None),
    ]
    assert previewed("0,20 2 * * *", BEFORE_GAP, 1) == [("29/03:00", f"{summed_up}: runs at 03:00")]


def test_a_preview_of_other_kinds_has_no_notes() -> None:
    assert previewed("30m", "2026-03-29T01:00", 3) == [("29/01:30", None), ("29/03:00", None), ("29/03:30", None)]
    assert previewed("2026-10-25 02:30", BEFORE_OVERLAP, 3) == [("25/02:30", None)]
    assert previewed("manual", BEFORE_GAP, 3) == []


def test_a_preview_is_shown_in_the_zone_that_is_asked_for() -> None:
    schedule = Schedule.parse("0 9 * * *", BERLIN)
    (fire,) = schedule.preview(1, after=datetime(2026, 7, 1, tzinfo=UTC), timezone="America/New_York")
    assert fire == Fire(moment=datetime(2026, 7, 1, 7, tzinfo=UTC), wall=fire.wall)
    assert fire.wall.isoformat() == "2026-07-01T03:00:00-04:00"
    with pytest.raises(ScheduleError, match="unknown time zone"):
        schedule.preview(1, after=datetime(2026, 7, 1, tzinfo=UTC), timezone="Mars/Olympus")
