"""What stands beside a schedule's value: misfire, jitter, start and end, and the document that keeps them."""

from __future__ import annotations

import dataclasses
import pickle
import re
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobserver.errors import ScheduleError
from jobserver.excerpt import excerpt
from jobserver.schedule import DstPolicy, Misfire, MisfireKind, Schedule, ScheduleKind

NOON = datetime(2026, 1, 14, 12, tzinfo=UTC)
DAILY: dict[str, Any] = {"type": "schedule", "value": "0 9 * * *"}
EVERYTHING = {
    "type": "schedule",
    "value": "0 9 * * *",
    "timezone": "Europe/Vienna",
    "dst": "skip",
    "misfire": "all(max=10)",
    "jitter": 30_000,
    "startDate": datetime(2026, 1, 1, tzinfo=UTC),
    "endDate": datetime(2026, 12, 31, tzinfo=UTC),
    "exclude": ["2026-12-24..2026-12-26", "05-01", "sat", "sun"],
}


def test_a_document_with_every_option_is_read_and_written_back() -> None:
    schedule = Schedule.parse(EVERYTHING)
    assert schedule.to_document() == EVERYTHING
    assert Schedule.parse(schedule.to_document()) == schedule
    assert pickle.loads(pickle.dumps(schedule)) == schedule
    assert hash(schedule) == hash(Schedule.parse(EVERYTHING))
    assert (schedule.dst, schedule.jitter) == (DstPolicy.SKIP, timedelta(seconds=30))
    assert schedule.misfire == Misfire(kind=MisfireKind.ALL, max=10)


def test_keywords_say_the_same_as_the_document() -> None:
    schedule = Schedule.parse(
        "0 9 * * *",
        "Europe/Vienna",
        dst="skip",
        misfire={"type": "all", "max": 10},
        jitter="30 seconds",
        start="2026-01-01T00:00Z",
        end=datetime(2026, 12, 31, tzinfo=UTC),
        exclude=["weekend", "05-01", date(2026, 12, 24), "2026-12-25..2026-12-26"],
    )
    assert schedule == Schedule.parse(EVERYTHING)
    fields = {field.name: getattr(schedule, field.name) for field in dataclasses.fields(schedule)}
    assert Schedule(**fields) == schedule


def test_keywords_are_only_for_what_the_document_leaves_out() -> None:
    schedule = Schedule.parse({**DAILY, "dst": "both", "misfire": None}, dst="skip", misfire="skip")
    assert schedule.dst is DstPolicy.BOTH
    assert schedule.misfire.kind is MisfireKind.SKIP
    assert Schedule.parse({**DAILY, "dst": "default", "misfire": "latest"}, dst="skip", misfire="skip") == (
        Schedule.parse(DAILY)
    )


def test_a_schedule_can_be_changed_in_one_option() -> None:
    weekdays = dataclasses.replace(Schedule.parse(DAILY), exclude="weekend")
    assert weekdays == Schedule.parse({**DAILY, "exclude": "sat,sun"})


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({}, "cron:0 9 * * *@UTC"),
        ({"misfire": "all", "jitter": "5m"}, "cron:0 9 * * *@UTC"),  # they change no fire
        ({"dst": "first"}, "cron:0 9 * * *@UTC;dst=first"),
        ({"startDate": "2026-01-01"}, "cron:0 9 * * *@UTC;startDate=2026-01-01T00:00:00.000Z"),
        ({"endDate": "2026-01-01T10:00Z"}, "cron:0 9 * * *@UTC;endDate=2026-01-01T10:00:00.000Z"),
        ({"exclude": "sun, 2026-12-25,SAT"}, "cron:0 9 * * *@UTC;exclude=2026-12-25,sat,sun"),
    ],
)
def test_the_key_holds_what_changes_the_fires(options: dict[str, Any], key: str) -> None:
    assert Schedule.parse({**DAILY, **options}).key == key


def test_an_interval_keeps_its_zone_only_where_it_needs_it() -> None:
    plain = Schedule.parse("1 hour", "Europe/Vienna", start="2026-01-01")
    assert plain.key == "interval:3600000;startDate=2025-12-31T23:00:00.000Z"
    assert plain.timezone == "UTC"
    excluding = Schedule.parse("1 hour", "Europe/Vienna", exclude="sun")
    assert excluding.key == "interval:3600000@Europe/Vienna;exclude=sun"
    assert Schedule.parse(excluding.to_document()) == excluding


@pytest.mark.parametrize(
    ("options", "field", "advice"),
    [
        ({"dst": "nextvalid"}, "schedule.dst", "did you mean 'next_valid'?"),
        ({"dst": 5}, "schedule.dst", "known: default, skip, next_valid, first, both"),
        ({"misfire": "newest"}, "schedule.misfire", "write 'latest', 'skip', 'all' or 'all(max=10)'"),
        ({"misfire": "al"}, "schedule.misfire", "did you mean 'all'?"),
        ({"misfire": 5}, "schedule.misfire", "5 is no misfire policy"),
        ({"misfire": "skip(max=3)"}, "schedule.misfire", "only 'all' takes a max"),
        ({"misfire": "all(max=0)"}, "schedule.misfire", "is not between 1 and 1000"),
        ({"misfire": {"type": "all", "max": 1_001}}, "schedule.misfire", "1001 is not between 1 and 1000"),
        ({"misfire": {"type": "all", "max": 1.5}}, "schedule.misfire", "1.5 is not a whole number"),
        ({"misfire": {"type": "all", "max": True}}, "schedule.misfire", "True is not a whole number"),
        ({"misfire": {"type": "all", "most": 1}}, "schedule.misfire", "unknown key 'most'"),
        ({"misfire": {"max": 1}}, "schedule.misfire", "a type is missing"),
        ({"jitter": -1}, "schedule.jitter", "is not between 0 seconds and 7 days"),
        ({"jitter": "8 days"}, "schedule.jitter", "is not between"),
        ({"jitter": "soon"}, "schedule.jitter", "is not a length of time"),
        ({"startDate": "tomorrow"}, "schedule.startDate", "is not a moment"),
        ({"endDate": True}, "schedule.endDate", "True is not a moment"),
        ({"startDate": "2026-02-01", "endDate": "2026-01-01"}, "schedule.endDate", "ends before its startDate"),
        ({"startdate": "2026-02-01"}, "schedule", "did you mean 'startDate'?"),
        ({"startDate": "2026-01-01T10:00Z", "endDate": "2026-01-02T08:00Z"}, "schedule.value", "never fires"),
    ],
    ids=excerpt,
)
def test_a_bad_option_is_refused_by_its_name(options: dict[str, Any], field: str, advice: str) -> None:
    with pytest.raises(ScheduleError) as caught:
        Schedule.parse({**DAILY, **options})
    assert caught.value.field == field
    assert advice in caught.value.message


@pytest.mark.parametrize("kind", ["manual", "now", "once", "interval"])
@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("dst", "skip"), ("misfire", "skip"), ("jitter", 5)),
        *(("startDate", "2026-01-01"), ("endDate", "2026-01-01"), ("exclude", "sat")),
    ],
)
def test_an_option_that_makes_no_sense_for_a_kind_is_refused_by_its_name(kind: str, key: str, value: object) -> None:
    document = {"type": kind, "value": {"once": "2026-03-01", "interval": 5000}.get(kind), key: value}
    sensible = {"once": ("misfire", "jitter"), "interval": ("misfire", "jitter", "startDate", "endDate", "exclude")}
    if key in sensible.get(kind, ()):
        assert Schedule.parse(Schedule.parse(document).to_document()) == Schedule.parse(document)
        return
    with pytest.raises(ScheduleError, match="makes no sense here") as caught:
        Schedule.parse(document)
    assert caught.value.field == f"schedule.{key}"


@pytest.mark.parametrize(
    ("text", "misfire"),
    [
        (None, Misfire(kind=MisfireKind.LATEST, max=1)),
        ("latest", Misfire()),
        ("Skip", Misfire(kind=MisfireKind.SKIP, max=0)),
        ("all", Misfire(kind=MisfireKind.ALL, max=100)),
        ("all(max=10)", Misfire(kind=MisfireKind.ALL, max=10)),
        ("all ( 10 )", Misfire(kind=MisfireKind.ALL, max=10)),
        ("all(1000)", Misfire(kind=MisfireKind.ALL, max=1_000)),
        ({"type": "all"}, Misfire(kind=MisfireKind.ALL, max=100)),
        ({"kind": "all", "max": 10.0}, Misfire(kind=MisfireKind.ALL, max=10)),
        ({"type": "latest"}, Misfire()),
    ],
    ids=str,
)
def test_every_form_of_a_misfire_policy(text: object, misfire: Misfire) -> None:
    assert Misfire.parse(text) == misfire
    assert Misfire.parse(str(misfire)) == misfire


@pytest.mark.parametrize(
    ("values", "advice"),
    [
        ({"kind": "al"}, "did you mean 'all'?"),
        ({"kind": 5}, "unknown policy 5; write"),
        ({"kind": "all", "max": 0}, "0 is not between 1 and 1000"),
        ({"kind": "all", "max": "3"}, "'3' is not a whole number"),
        ({"kind": "skip", "max": 3}, "only 'all' takes a max"),
    ],
)
def test_a_misfire_policy_that_is_not_valid_cannot_be_made(values: dict[str, Any], advice: str) -> None:
    with pytest.raises(ScheduleError, match=re.escape(advice)) as caught:
        Misfire(**values)
    assert caught.value.field == "schedule.misfire"


def test_a_misfire_policy_can_be_written_as_a_value() -> None:
    assert Misfire(kind="all") == Misfire(kind=MisfireKind.ALL, max=100)
    assert dataclasses.replace(Misfire(kind="all"), max=7) == Misfire.parse("all(max=7)")
    assert dataclasses.replace(Misfire()) == Misfire.parse("latest")
    assert Schedule.parse(DAILY, misfire=Misfire(kind="skip")) == Schedule.parse(DAILY, misfire="skip")


def test_it_fires_neither_before_its_start_nor_after_its_end() -> None:
    bounded = Schedule.parse({**DAILY, "startDate": "2026-01-16T09:00Z", "endDate": "2026-01-18T09:00Z"})
    assert bounded.upcoming(9, after=NOON) == [datetime(2026, 1, day, 9, tzinfo=UTC) for day in (16, 17, 18)]


def test_a_date_as_the_end_means_the_end_of_that_day_in_the_zone() -> None:
    hourly = Schedule.parse("0 * * * *", "America/New_York", end="2026-01-14")
    assert hourly.upcoming(99, after=NOON)[-1] == datetime(2026, 1, 15, 4, tzinfo=UTC)


def test_an_interval_counts_from_its_start_and_then_needs_no_anchor() -> None:
    every = Schedule.parse("7 hours", start="2026-01-14T01:00Z")
    assert every.next_after(datetime(2020, 1, 1, tzinfo=UTC)) == datetime(2026, 1, 14, 1, tzinfo=UTC)
    assert every.next_after(NOON) == datetime(2026, 1, 14, 15, tzinfo=UTC)
    assert every.next_after(NOON, anchor=NOON) == datetime(2026, 1, 14, 15, tzinfo=UTC)


def test_jitter_moves_a_fire_by_its_random_share_and_nothing_else() -> None:
    schedule = Schedule.parse(DAILY, jitter="30 seconds")
    assert schedule.next_after(NOON) == Schedule.parse(DAILY).next_after(NOON)
    assert schedule.jittered(NOON, 0.0) == NOON
    assert schedule.jittered(NOON, 0.5) == NOON + timedelta(seconds=15)
    assert schedule.jittered(NOON, 0.123_456_7) == NOON + timedelta(milliseconds=3703)
    assert Schedule.parse(DAILY).jittered(NOON, 0.9) == NOON


def test_occurrences_are_found_one_by_one_up_to_and_including_the_last_moment() -> None:
    hourly = Schedule.parse("0 * * * *")
    until = NOON + timedelta(hours=3)
    assert list(hourly.occurrences(after=NOON, until=until)) == [NOON + timedelta(hours=n) for n in (1, 2, 3)]
    endless = hourly.occurrences(after=NOON)
    assert [next(endless) for _ in range(1000)][-1] == NOON + timedelta(hours=1000)
    assert list(hourly.occurrences(after=NOON, until=NOON)) == []
    with pytest.raises(ValueError, match="moments are aware"):
        next(hourly.occurrences(after=NOON, until=datetime(2026, 1, 1)))  # noqa: DTZ001


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"exclude": "weekend"}, ", not on weekends"),
        ({"exclude": "mon,12-25,12-26,01-01"}, ", not on Mondays, 01-01, 12-25 and 1 more"),
        ({"jitter": "30s"}, ", up to 30 seconds late"),
        ({"misfire": "all"}, ", missed runs: all"),
        ({"dst": "both"}, ", when clocks change: both"),
        ({"startDate": "2026-01-01", "endDate": "2026-12-31"}, ", from 2026-01-01, until 2026-12-31"),
        ({"startDate": "2026-01-01T10:30Z", "endDate": "2027-01-01T10:30Z"}, ", from 2026-01-01 10:30 UTC, until 2027"),
    ],
)
def test_options_are_part_of_the_description(options: dict[str, Any], words: str) -> None:
    text = Schedule.parse({**DAILY, **options}).describe()
    assert text.startswith(f"every day at 09:00 UTC{words}")


def test_bounds_are_described_by_the_clocks_of_the_zone() -> None:
    bounds = {"timezone": "Europe/Berlin", "startDate": "2026-01-01", "endDate": "2026-12-31T17:00Z"}
    text = Schedule.parse({**DAILY, **bounds}).describe()
    assert text == "every day at 09:00 Europe/Berlin, from 2026-01-01, until 2026-12-31 18:00 Europe/Berlin"


OPTION_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=12),
    st.datetimes(timezones=st.none() | st.timezones()),
    st.dates(),
    st.sampled_from([*DstPolicy, "all", "all(max=3)", "latest", "5m", "2026-01-01", "12-25", "weekend"]),
    st.lists(st.sampled_from(["sat", "12-25", "2026-01-01..2026-02-01", "x", 5]), max_size=4),
    st.dictionaries(st.sampled_from(["type", "kind", "max", "x"]), st.sampled_from(["all", 3, None, "x"]), max_size=3),
)
VALUES = ["0 9 * * *", "*/7 * * * * *", 5000, "2026-03-01", None]


@given(
    st.fixed_dictionaries(
        {"type": st.sampled_from(ScheduleKind), "value": st.sampled_from(VALUES)},
        optional=dict.fromkeys(
            ("timezone", "dst", "misfire", "jitter", "startDate", "endDate", "exclude"), OPTION_VALUES
        ),
    )
)
def test_whatever_options_are_written_it_is_a_schedule_or_a_schedule_error(source: Any) -> None:
    try:
        schedule = Schedule.parse(source)
    except ScheduleError:
        return
    assert Schedule.parse(schedule.to_document()) == schedule
    assert Schedule.parse(schedule.to_document()).key == schedule.key
    assert schedule.describe()
    fires = schedule.upcoming(3, after=NOON, anchor=NOON)
    assert fires == sorted(set(fires))
    assert [fire.moment for fire in schedule.preview(3, after=NOON, anchor=NOON)] == fires
