"""Schedules as a whole: what is accepted, what it is called, and everything that is no schedule."""

from __future__ import annotations

import dataclasses
import pickle
import time
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobserver.errors import ScheduleError
from jobserver.excerpt import excerpt
from jobserver.schedule import Schedule, ScheduleKind

NOON = datetime(2026, 1, 14, 12, tzinfo=UTC)
MOMENT = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("source", "key"),
    [
        ("*/5 * * * *", "cron:*/5 * * * *@UTC"),
        ("  0  9 * *  MON-FRI ", "cron:0 9 * * mon-fri@UTC"),
        ("0 1/5 * * * *", "cron:0 1/5 * * * *@UTC"),
        ("@hourly", "cron:0 * * * *@UTC"),
        ("manual", "manual"),
        (" NOW ", "now"),
        (timedelta(minutes=5), "interval:300000"),
        ("5 minutes", "interval:300000"),
        ("2h30m", "interval:9000000"),
        ("3 days and 4 hours", "interval:273600000"),
        (300_000, "interval:300000"),
        (MOMENT, "once:2026-03-01T09:30:00.000Z"),
        (MOMENT.replace(tzinfo=None), "once:2026-03-01T09:30:00.000Z"),
        (datetime(2026, 3, 1, 10, 30, tzinfo=timezone(timedelta(hours=1))), "once:2026-03-01T09:30:00.000Z"),
        ("2026-03-01T09:30Z", "once:2026-03-01T09:30:00.000Z"),
        ("2026-03-01 10:30:00+01:00", "once:2026-03-01T09:30:00.000Z"),
        ("2026-03-01", "once:2026-03-01T00:00:00.000Z"),
        ({"type": "schedule", "value": "0 * * * *"}, "cron:0 * * * *@UTC"),
        ({"type": "cron", "value": "0 * * * *", "timezone": "Europe/Vienna"}, "cron:0 * * * *@Europe/Vienna"),
        ({"type": "cron", "value": "0 * * * *", "timezone": None}, "cron:0 * * * *@UTC"),
        ({"type": "once", "value": MOMENT}, "once:2026-03-01T09:30:00.000Z"),
        ({"type": "once", "value": "2026-03-01T09:30:00Z"}, "once:2026-03-01T09:30:00.000Z"),
        ({"type": "once", "value": 1772357400000}, "once:2026-03-01T09:30:00.000Z"),
        ({"type": "once", "value": 1772357400000.0}, "once:2026-03-01T09:30:00.000Z"),
        ({"type": "interval", "value": 300000}, "interval:300000"),
        ({"type": "interval", "value": 300000.0}, "interval:300000"),
        ({"type": "interval", "value": "5 minutes"}, "interval:300000"),
        ({"type": "interval", "value": timedelta(minutes=5)}, "interval:300000"),
        ({"type": "now"}, "now"),
        ({"type": "manual", "value": "0 * * * *"}, "manual"),  # somebody edited the type alone
        (Schedule(kind=ScheduleKind.MANUAL), "manual"),
    ],
    ids=str,
)
def test_every_form_of_a_schedule_is_known_by_its_key_and_survives_the_document(source: Any, key: str) -> None:
    schedule = Schedule.parse(source)
    assert schedule.key == key
    assert Schedule.parse(schedule.to_document()) == schedule


@pytest.mark.parametrize(
    ("source", "document"),
    [
        ("0 9 * * *", {"type": "schedule", "value": "0 9 * * *"}),
        ("5 minutes", {"type": "interval", "value": 300_000}),
        (MOMENT, {"type": "once", "value": MOMENT}),
        ("manual", {"type": "manual"}),
        ("now", {"type": "now"}),
    ],
)
def test_the_document_has_only_what_applies(source: Any, document: dict[str, Any]) -> None:
    stored = Schedule.parse(source).to_document()
    assert stored == document
    assert type(stored["type"]) is str  # a plain string is what every driver can store


def test_the_document_names_a_zone_that_is_not_utc() -> None:
    assert Schedule.parse("0 9 * * *", "Europe/Vienna").to_document()["timezone"] == "Europe/Vienna"


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("5 minutes", "every 5 minutes"),
        ("*/5 * * * *", "every 5 minutes"),
        ("2026-01-01 10:00", "once at 2026-01-01 10:00 UTC"),
        ("2026-01-01 10:00:05.250", "once at 2026-01-01 10:00:05.250000 UTC"),
        ("manual", "by hand"),
        ("now", "once per version"),
    ],
)
def test_a_schedule_is_described_in_few_words(source: str, words: str) -> None:
    assert Schedule.parse(source).describe() == words


@pytest.mark.parametrize(
    ("source", "field", "advice"),
    [
        (None, "schedule", "is not a schedule; write cron"),
        (True, "schedule", "is not a schedule"),
        (b"* * * * *", "schedule", "a value of type bytes"),
        (date(2026, 1, 1), "schedule", "a value of type date"),
        (["* * * * *"], "schedule", "a value of type list"),
        ("", "schedule", "is not a schedule"),
        ("manuel", "schedule", "did you mean 'manual'?"),
        ("evry 5 minutes", "schedule", "did you mean 'every'?"),
        ("tomorrow", "schedule", "words ('every weekday at 9:00')"),
        ("20260101", "schedule", "may mean a moment or a length"),
        ("5 minuts", "schedule", "did you mean 'minutes'?"),
        ("2 months", "schedule", "no fixed length"),
        ("2026-02-30", "schedule", "day is out of range for month"),
        ("2026-1-1", "schedule", "is not a moment"),
        ("@dayly", "schedule", "did you mean '@daily'?"),
        ("* * * *", "schedule", "has 4 fields"),
        ("x" * 10**6, "schedule", "longer than 250 characters"),
        (0, "schedule", "between 1 second and 3650 days"),
        (-5, "schedule", "between 1 second and 3650 days"),
        (999, "schedule", "between 1 second and 3650 days"),
        (float("nan"), "schedule", "nan is not a length"),
        (10**5000, "schedule", "is not between"),
        (timedelta(0), "schedule", "0 seconds is not between"),
        (timedelta(days=3651), "schedule", "3651 days is not between"),
        ({}, "schedule.type", "a type is missing; known: schedule, once, now, manual, interval, cron"),
        ({"value": "* * * * *"}, "schedule.type", "a type is missing"),
        ({"type": "schedul", "value": "* * * * *"}, "schedule.type", "did you mean 'schedule'?"),
        ({"type": None}, "schedule.type", "None is not a type"),
        ({"type": "schedule", "valu": "* * * * *"}, "schedule", "did you mean 'value'?"),
        ({"type": "schedule", 5: 5}, "schedule", "unknown key 5"),
        ({"type": "schedule"}, "schedule.value", "None is not a cron expression"),
        ({"type": "schedule", "value": 5}, "schedule.value", "5 is not a cron expression"),
        ({"type": "schedule", "value": "5 minutes"}, "schedule.value", "has 2 fields"),
        ({"type": "interval", "value": "* * * * *"}, "schedule.value", "not a length of time"),
        ({"type": "interval", "value": True}, "schedule.value", "True is not a length"),
        ({"type": "interval"}, "schedule.value", "None is not a length"),
        ({"type": "once", "value": 1772357400}, "schedule.value", "looks like epoch seconds"),
        ({"type": "once", "value": -1}, "schedule.value", "out of range"),
        ({"type": "once", "value": float("inf")}, "schedule.value", "out of range"),
        ({"type": "once", "value": float("nan")}, "schedule.value", "out of range"),
        ({"type": "once", "value": "1772357400000"}, "schedule.value", "not a moment"),
        ({"type": "once", "value": "tomorrow"}, "schedule.value", "not a moment"),
        ({"type": "once", "value": True}, "schedule.value", "True is not a moment"),
        ({"type": "once", "value": datetime.max.replace(tzinfo=UTC)}, "schedule.value", "the year 9999"),
        ({"type": "once", "value": datetime.min.replace(tzinfo=UTC)}, "schedule.value", "the year 1 "),
        ({"type": "now", "timezone": "Europe/Wien"}, "schedule.timezone", "unknown time zone 'Europe/Wien'"),
    ],
    ids=excerpt,
)
def test_what_is_no_schedule_is_refused_with_field_and_advice(source: Any, field: str, advice: str) -> None:
    with pytest.raises(ScheduleError) as caught:
        Schedule.parse(source)
    assert caught.value.field == field
    assert advice in caught.value.message
    assert len(caught.value.message) < 400


@pytest.mark.parametrize(
    "zone",
    [
        *("", "europe/vienna", "Europe", "Vienna", "posix/Europe/Vienna", "right/UTC", "localtime", "Factory"),
        *(
            "../../etc/passwd",
            "/etc/localtime",
            "Europe/Vienna\x00",
            "Europe/Vienna/",
            "+02:00",
            "x" * 10**6,
            5,
            ["UTC"],
        ),
    ],
    ids=excerpt,
)
def test_what_is_no_time_zone_everywhere_is_refused(zone: Any) -> None:
    with pytest.raises(ScheduleError) as caught:
        Schedule.parse({"type": "schedule", "value": "* * * * *", "timezone": zone})
    assert caught.value.field == "schedule.timezone"


def test_the_nearest_time_zone_is_suggested() -> None:
    with pytest.raises(ScheduleError, match="did you mean 'Europe/Vienna'"):
        Schedule.parse("* * * * *", "europe/vienna")


def test_a_document_s_own_zone_wins_over_the_one_that_is_handed_in() -> None:
    document = {"type": "schedule", "value": "* * * * *", "timezone": "Asia/Tokyo"}
    assert Schedule.parse(document, "Europe/Vienna").timezone == "Asia/Tokyo"
    assert Schedule.parse({"type": "cron", "value": "* * * * *"}, "Europe/Vienna").timezone == "Europe/Vienna"


@pytest.mark.parametrize("source", [MOMENT, "5 minutes", "now", "manual"])
def test_only_cron_keeps_its_zone_for_a_moment_is_a_moment(source: Any) -> None:
    schedule = Schedule.parse(source, "Europe/Vienna")
    assert schedule == Schedule.parse(source)
    assert "timezone" not in schedule.to_document()


def test_an_invalid_schedule_cannot_be_made_in_code_either() -> None:
    good = Schedule(kind=ScheduleKind.CRON, value="0 9 * * *", timezone="Europe/Vienna")
    with pytest.raises(ScheduleError, match="never fires"):
        Schedule(kind=ScheduleKind.CRON, value="0 0 30 2 *")
    with pytest.raises(ScheduleError, match="unknown time zone"):
        dataclasses.replace(good, timezone="Europe/Venna")
    with pytest.raises(ScheduleError, match="unknown type"):
        Schedule(kind="cronn", value="0 9 * * *")


def test_a_schedule_made_in_code_equals_the_one_that_is_parsed() -> None:
    assert Schedule(kind="cron", value="@daily") == Schedule.parse("0 0 * * *")
    assert Schedule(kind=ScheduleKind.INTERVAL, value="5m") == Schedule.parse(timedelta(minutes=5))
    assert Schedule(kind=ScheduleKind.ONCE, value="2026-03-01T09:30Z") == Schedule.parse(MOMENT)


def test_a_schedule_is_a_value() -> None:
    schedule = Schedule.parse("0 9 * * *", "Europe/Vienna")
    assert pickle.loads(pickle.dumps(schedule)) == schedule
    assert len({schedule, Schedule.parse("0 9 * * *", "Europe/Vienna")}) == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        schedule.value = "* * * * *"  # type: ignore[misc]


def test_once_fires_at_its_moment_and_never_again() -> None:
    schedule = Schedule.parse(MOMENT)
    assert schedule.next_after(MOMENT - timedelta(microseconds=1)) == MOMENT
    assert schedule.next_after(MOMENT) is None


def test_a_moment_is_kept_as_mongodb_keeps_it() -> None:
    assert Schedule.parse(MOMENT.replace(microsecond=123_999)).value == MOMENT.replace(microsecond=123_000)


def test_a_moment_without_offset_is_the_zones_wall_clock_time() -> None:
    def once(wall: str) -> datetime | None:
        return Schedule.parse(wall, "America/New_York").next_after(datetime(2020, 1, 1, tzinfo=UTC))

    assert once("2026-01-01 10:00") == datetime(2026, 1, 1, 15, tzinfo=UTC)
    assert once("2026-03-08 02:30") == datetime(2026, 3, 8, 7, tzinfo=UTC)  # in the gap: right after it
    assert once("2026-11-01 01:30") == datetime(2026, 11, 1, 5, 30, tzinfo=UTC)  # in the overlap: the first pass


@pytest.mark.parametrize("source", ["now", "manual"])
def test_now_and_manual_have_no_next_moment(source: str) -> None:
    assert Schedule.parse(source).next_after(NOON) is None
    assert Schedule.parse(source).upcoming(3, after=NOON) == []


def test_an_interval_keeps_to_the_grid_of_its_anchor_however_late_it_is_asked() -> None:
    every = Schedule.parse(timedelta(minutes=7))
    anchor = datetime(2026, 1, 1, 0, 0, 1, tzinfo=UTC)
    moment = anchor
    for k in range(1, 500):
        fire = every.next_after(moment, anchor=anchor)
        assert fire == anchor + k * timedelta(minutes=7)
        moment = fire + timedelta(minutes=3)  # the run was late, the next one is not
    assert every.next_after(anchor + timedelta(days=3650), anchor=anchor) is not None


def test_an_interval_fires_strictly_after_the_moment_and_never_before_its_anchor() -> None:
    every = Schedule.parse("1 hour")
    assert every.next_after(NOON, anchor=NOON) == NOON + timedelta(hours=1)
    assert every.next_after(NOON - timedelta(microseconds=1), anchor=NOON) == NOON
    assert every.next_after(NOON - timedelta(days=9), anchor=NOON) == NOON


def test_an_interval_never_fires_twice_for_a_moment_that_mongodb_rounded_down() -> None:
    every = Schedule.parse("1 second")
    anchor = NOON.replace(microsecond=123_456)
    fire = every.next_after(NOON, anchor=anchor)
    assert fire is not None
    stored = fire.replace(microsecond=fire.microsecond // 1000 * 1000)
    assert every.next_after(stored, anchor=anchor) == stored + timedelta(seconds=1)


def test_upcoming_lists_the_next_fires_and_ends_where_the_schedule_ends() -> None:
    hourly = Schedule.parse("0 * * * *").upcoming(3, after=NOON)
    assert hourly == [NOON + timedelta(hours=hour) for hour in (1, 2, 3)]
    assert Schedule.parse(MOMENT).upcoming(3, after=NOON) == [MOMENT]
    assert Schedule.parse("1h").upcoming(2, after=NOON, anchor=NOON) == hourly[:2]
    assert Schedule.parse("0 * * * *").upcoming(0, after=NOON) == []


def test_mistakes_of_the_caller_are_value_errors() -> None:
    with pytest.raises(ValueError, match="moments are aware"):
        Schedule.parse("* * * * *").next_after(datetime(2026, 1, 1))  # noqa: DTZ001
    with pytest.raises(ValueError, match="counts from an anchor"):
        Schedule.parse("1h").next_after(NOON)
    with pytest.raises(ValueError, match="moments are aware"):
        Schedule.parse("1h").next_after(NOON, anchor=datetime(2026, 1, 1))  # noqa: DTZ001


@pytest.mark.parametrize("zone", ["UTC", "Pacific/Kiritimati", "Pacific/Pago_Pago"])
@pytest.mark.parametrize("source", ["0 0 * * *", "*/5 * * * *", "1h", "2026-01-01"])
def test_moments_at_the_ends_of_the_calendar_break_nothing(source: str, zone: str) -> None:
    schedule = Schedule.parse(source, zone)
    for offset in (-14, 0, 14):
        tz = timezone(timedelta(hours=offset))
        assert schedule.next_after(datetime.max.replace(tzinfo=tz), anchor=NOON) is None
        first = schedule.next_after(datetime.min.replace(tzinfo=tz), anchor=NOON)
        assert first is not None
        assert first.tzinfo is UTC


LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=30),
    st.binary(max_size=5),
    st.datetimes(timezones=st.none() | st.timezones()),
    st.timedeltas(),
    st.from_regex(r"([0-9*,/?#lhrw-]{1,7} ){4,5}[0-9a-z*,/?#-]{1,7}", fullmatch=True),
    st.from_regex(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d)?(Z|[+-]\d\d:\d\d)?)?", fullmatch=True),
    st.sampled_from(["* * * * *", "5m", "Europe/Vienna", "now", "@daily", *ScheduleKind]),
)
ANYTHING = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.text(max_size=8) | st.integers(), inner, max_size=3),
        st.fixed_dictionaries({"type": st.sampled_from(ScheduleKind)}, optional={"value": inner, "timezone": inner}),
        st.fixed_dictionaries({}, optional={"type": inner, "value": inner, "timezone": inner}),
    ),
    max_leaves=8,
)


@given(ANYTHING)
def test_whatever_is_written_is_a_schedule_or_a_schedule_error(source: Any) -> None:
    try:
        schedule = Schedule.parse(source)
    except ScheduleError:
        return
    assert Schedule.parse(schedule.to_document()) == schedule
    assert Schedule.parse(schedule.to_document()).key == schedule.key
    fires = schedule.upcoming(2, after=NOON, anchor=NOON)
    assert fires == sorted(set(fires))
    assert all(fire > NOON for fire in fires)


def deep(levels: int) -> object:
    value: object = 5
    for _ in range(levels):
        value = {"type": "schedule", "value": [value]}
    return value


@pytest.mark.parametrize(
    "source",
    [
        deep(100_000),
        "* " * 500_000,
        "5" * 10**6,
        ("1-59/1," * 40)[:-1] + " * * * *",
        {"x" * 10**6: 1},
        {"type": "x" * 10**6},
        {"type": "schedule", "value": "0" * 10**6},
        {"type": "schedule", "value": "* * * * *", "timezone": "Europe/" + "x" * 50},
        {"type": "interval", "value": "5 " * 10**6},
        {"type": "interval", "value": 10**10_000},
        {"type": "once", "value": "2026-" * 10**6},
        {"type": "schedule", "value": "*/5 2 * 3 L7", "timezone": "Europe/Berlin"},  # only ever in a gap
        {"type": "schedule", "value": "* * 2 29-31 3 *", "timezone": "Europe/Berlin"},
        "0 0 31 2,4,6,9,11 *",
        "0 0 * 2 sun#5",
    ],
    ids=lambda value: type(value).__name__,
)
def test_nothing_that_is_written_takes_long(source: Any) -> None:
    Schedule.parse("* * * * *", "Europe/Vienna")  # loads croniter and the zones, once per process

    def judged_in() -> float:
        began = time.perf_counter()
        with suppress(ScheduleError):
            Schedule.parse(source).next_after(NOON)
        return time.perf_counter() - began

    assert min(judged_in() for _ in range(3)) < 0.05
