"""Dates without runs: how they are written, and that nothing runs on them."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobserver.errors import ScheduleError
from jobserver.excerpt import excerpt
from jobserver.schedule import Exclusion, Schedule

START = datetime(2026, 12, 23, 12, tzinfo=UTC)  # a Wednesday


def days(exclude: object, zone: str = "UTC", count: int = 4) -> str:
    fires = Schedule.parse({"type": "cron", "value": "0 9 * * *", "timezone": zone, "exclude": exclude})
    return " ".join(f"{fire:%m-%d}" for fire in fires.upcoming(count, after=START))


@pytest.mark.parametrize(
    ("exclude", "expected"),
    [
        ("2026-12-25", "12-24 12-26 12-27 12-28"),
        ("2026-12-24..2027-01-06", "01-07 01-08 01-09 01-10"),
        ("2026-12-24 .. 2026-12-25, 2026-12-26", "12-27 12-28 12-29 12-30"),
        ("12-25", "12-24 12-26 12-27 12-28"),
        ("12-25..01-02", "12-24 01-03 01-04 01-05"),
        ("sat", "12-24 12-25 12-27 12-28"),
        ("Saturdays", "12-24 12-25 12-27 12-28"),
        ("weekend", "12-24 12-25 12-28 12-29"),
        ("weekdays", "12-26 12-27 01-02 01-03"),
        (["thursday", "fri"], "12-26 12-27 12-28 12-29"),
        ([date(2026, 12, 24), datetime(2026, 12, 25, tzinfo=UTC)], "12-26 12-27 12-28 12-29"),
        ([], "12-24 12-25 12-26 12-27"),
    ],
    ids=str,
)
def test_nothing_runs_on_what_is_excluded(exclude: object, expected: str) -> None:
    assert days(exclude) == expected


@pytest.mark.parametrize(
    ("exclude", "advice"),
    [
        ("christmas", "is no date"),
        ("saturdys", "did you mean 'saturdays'?"),
        ("2026-02-30", "day"),
        ("2026-12-26..2026-12-25", "ends before it begins"),
        ("13-01", "month must be in 1..12"),
        ("2026-12-25..12-26", "is no date"),
        ("", "is no date"),
        (5, "5 is no list of dates"),
        ([5], "is no date"),
        ([datetime(2026, 1, 1, 10, tzinfo=UTC)], "a moment is not a date"),
        ("weekdays, weekend", "every date is excluded"),
        ("01-01..12-31", "every date is excluded"),
        (["sat"] * 401, "more than 400"),
    ],
    ids=excerpt,
)
def test_what_is_no_date_is_refused(exclude: object, advice: str) -> None:
    with pytest.raises(ScheduleError) as caught:
        Schedule.parse({"type": "cron", "value": "0 9 * * *", "exclude": exclude})
    assert caught.value.field == "schedule.exclude"
    assert advice in caught.value.message


def test_equal_exclusions_are_written_alike() -> None:
    pieces = Exclusion.parse(["2026-01-04", "2026-01-02..2026-01-03", "2026-01-01..2026-01-02"])
    assert pieces == Exclusion.parse("2026-01-01..2026-01-04")
    assert pieces.to_texts() == ["2026-01-01..2026-01-04"]


def test_the_date_is_the_one_on_the_clocks_of_the_zone() -> None:
    hourly = Schedule.parse("0 * * * *", "America/New_York", exclude="2026-12-25")
    around = hourly.upcoming(99, after=datetime(2026, 12, 25, 3, tzinfo=UTC))
    assert around[:3] == [datetime(2026, 12, day, hour, tzinfo=UTC) for day, hour in ((25, 4), (26, 5), (26, 6))]


def test_an_interval_leaves_excluded_dates_out_and_stays_on_its_grid() -> None:
    every = Schedule.parse("7 hours", "Asia/Tokyo", exclude="2026-12-25..2026-12-27")
    fires = every.upcoming(6, after=START, anchor=START)
    tokyo = [fire.astimezone(ZoneInfo("Asia/Tokyo")) for fire in fires]
    assert [f"{fire:%d/%H}" for fire in tokyo] == ["24/04", "24/11", "24/18", "28/06", "28/13", "28/20"]
    assert all((fire - START) % timedelta(hours=7) == timedelta(0) for fire in fires)


def test_clocks_that_go_back_over_midnight_never_turn_an_interval_back() -> None:
    """St. John's, 2010: at 00:01 on 7 November clocks went back to 23:01 on the 6th."""
    every = Schedule.parse("20 minutes", "America/St_Johns", exclude="2010-11-06")
    fires = every.upcoming(3, after=datetime(2010, 11, 7, 2, tzinfo=UTC), anchor=datetime(2010, 1, 1, tzinfo=UTC))
    local = [fire.astimezone(ZoneInfo("America/St_Johns")) for fire in fires]
    assert [f"{fire:%d/%H:%M}" for fire in local] == ["07/00:10", "07/00:30", "07/00:50"]
    at_midnight = Schedule.parse("1 second", "America/St_Johns", exclude="2010-11-06")
    seconds = at_midnight.upcoming(61, after=datetime(2010, 11, 7, 2, tzinfo=UTC), anchor=START - timedelta(days=9999))
    assert [f"{fire.astimezone(ZoneInfo('America/St_Johns')):%H:%M:%S}" for fire in seconds[-2:]] == [
        "00:00:59",
        "00:00:00",  # the second midnight of that night
    ]


def test_a_day_that_a_zone_left_out_moves_nothing_onto_an_excluded_date() -> None:
    """Samoa had no 30 December 2011: what was named for it runs on the 31st, unless that is excluded."""
    after = datetime(2011, 12, 29, 23, tzinfo=UTC)
    noon = Schedule.parse("0 12 * * *", "Pacific/Apia", exclude="2011-12-31")
    assert noon.next_after(after) == datetime(2011, 12, 31, 22, tzinfo=UTC)  # noon on 1 January
    thirtieth = Schedule.parse("0 12 * * *", "Pacific/Apia", exclude="2011-12-30")
    assert thirtieth.next_after(after) == datetime(2011, 12, 30, 22, tzinfo=UTC)  # noon on the 31st


ENTRIES = st.one_of(
    st.dates(date(2026, 1, 1), date(2027, 12, 31)).map(str),
    st.tuples(st.dates(date(2026, 1, 1), date(2027, 1, 1)), st.integers(0, 400)).map(
        lambda pair: f"{pair[0]}..{pair[0] + timedelta(days=pair[1])}"
    ),
    st.dates(date(2024, 1, 1), date(2024, 12, 31)).map(lambda day: f"{day:%m-%d}"),
    st.sampled_from(["mon", "wed", "weekend"]),
)


@settings(deadline=None)
@given(st.lists(ENTRIES, max_size=8))
def test_an_exclusion_is_the_union_of_its_entries_and_survives_being_stored(entries: list[str]) -> None:
    exclusion = Exclusion.parse(entries)
    alone = [Exclusion.parse([entry]) for entry in entries]
    for day in (date(2026, 1, 1) + timedelta(days=n) for n in range(0, 800, 3)):
        assert exclusion.covers(day) == any(one.covers(day) for one in alone)
        free = exclusion.first_free(day)
        assert not exclusion.covers(free)
        assert all(exclusion.covers(day + timedelta(days=n)) for n in range((free - day).days))
    assert Exclusion.parse(exclusion.to_texts()) == exclusion
    assert bool(exclusion) == bool(entries)
