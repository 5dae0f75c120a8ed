"""One `jobConfigs` document → the overrides it holds, and a sentence for each field that holds nonsense."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bson import Binary, Code, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.datetime_ms import DatetimeMS
from hypothesis import given, settings
from hypothesis import strategies as st

from jobserver import validate_config
from jobserver.definition import JobDefaults
from jobserver.errors import ConfigError
from jobserver.manager.overrides import (
    PARSERS,
    as_document,
    default_config,
    parse_overrides,
    settings_in_force,
)
from jobserver.retry import Retry
from jobserver.schedule import Misfire, Schedule

pytestmark = pytest.mark.timeout(60)

FIVE_MINUTES = Schedule.parse("*/5 * * * *")
ODD_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=30),
    st.binary(max_size=5),
    st.datetimes(),
    st.sampled_from(
        [
            *(Int64(2**63 - 1), Int64(-(2**63)), 10**400, -(10**400), Decimal128("NaN"), Decimal128("3")),
            *(DatetimeMS(2**63 - 1), Timestamp(1, 1), ObjectId("6" * 24), Regex("a+"), Code("return 1")),
            *(Binary(b"x"), MinKey(), MaxKey(), "HIGH", "5 minutes", "* * * * *", "@daily", "now", "\ud800"),
        ]
    ),
)
ANYTHING = st.recursive(
    ODD_VALUES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.text(max_size=8), inner, max_size=3),
        st.fixed_dictionaries({}, optional={"type": inner, "value": inner, "timezone": inner}),
        st.fixed_dictionaries({}, optional={"enabled": inner, "attempts": inner, "delay": inner, "backoff": inner}),
        st.fixed_dictionaries({}, optional={"type": inner, "factor": inner, "maxDelay": inner, "jitter": inner}),
    ),
    max_leaves=6,
)


def the_error(document: dict[str, Any]) -> ConfigError:
    (error,) = parse_overrides(document).errors
    return error


def in_force(values: dict[str, Any], **defaults: Any) -> Any:
    stated = JobDefaults(schedule=FIVE_MINUTES, **defaults)
    return settings_in_force(stated, values, concurrency=3, lock_lifetime=timedelta(minutes=7))


def test_every_field_is_read_as_its_document_writes_it() -> None:
    overrides = parse_overrides(
        {
            "jobName": "api:job",
            "enabled": False,
            "schedule": {"type": "schedule", "value": "0 5 * * *", "timezone": "Europe/Vienna"},
            "retry": {"enabled": True, "attempts": 5, "delay": 120_000},
            "priority": 10,
            "concurrency": 4,
            "globalConcurrency": 9,
            "lockLifetime": 60_000,
            "runNow": True,
        }
    )
    assert overrides.errors == ()
    assert overrides.values == {
        "enabled": False,
        "schedule": Schedule.parse("0 5 * * *", "Europe/Vienna"),
        "retry": Retry(attempts=5, delay=timedelta(minutes=2)),
        "priority": 10,
        "concurrency": 4,
        "globalConcurrency": 9,
        "lockLifetime": timedelta(minutes=1),
        "runNow": True,
    }


@pytest.mark.parametrize("field", PARSERS)
def test_null_and_absent_both_mean_the_default_of_the_class(field: str) -> None:
    assert parse_overrides({field: None}) == parse_overrides({})


@pytest.mark.parametrize(
    ("field", "value", "meaning"),
    [
        ("priority", "high", 10),
        ("priority", "LOWEST", -20),
        ("priority", -20, -20),
        ("priority", 7.0, 7),
        ("concurrency", 0, 0),
        ("concurrency", 3.0, 3),
        ("concurrency", Int64(10_000), 10_000),
        ("globalConcurrency", 1, 1),
        ("lockLifetime", "90 minutes", timedelta(minutes=90)),
        ("lockLifetime", 1000, timedelta(seconds=1)),
        ("schedule", "*/10 * * * *", Schedule.parse("*/10 * * * *")),
        ("schedule", 60_000, Schedule.parse(timedelta(minutes=1))),
        ("schedule", {"type": "manual"}, Schedule.parse("manual")),
        ("retry", False, Retry.OFF),
        ("retry", 2, Retry(attempts=2)),
    ],
    ids=str,
)
def test_a_value_may_be_written_in_more_than_one_way(field: str, value: Any, meaning: Any) -> None:
    overrides = parse_overrides({field: value})
    assert (overrides.errors, overrides.values) == ((), {field: meaning})


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("enabled", "false", "'false' is neither true nor false"),
        ("enabled", 1, "1 is neither true nor false"),
        ("runNow", "yes", "'yes' is neither true nor false"),
        ("priority", 21, "21 is not a whole number from -20 to 20; or one of LOWEST"),
        ("priority", "urgent", "'urgent' is not a whole number"),
        ("priority", True, "True is not a whole number"),
        ("concurrency", -1, "-1 is not a whole number from 0 to 10000; 0 pauses the job"),
        ("concurrency", 1.5, "1.5 is not a whole number"),
        ("concurrency", 10_001, "10001 is not"),
        ("concurrency", float("nan"), "nan is not"),
        ("concurrency", float("inf"), "inf is not"),
        ("concurrency", 10**400, "a number of 1329 bits is not"),
        ("concurrency", {"max": 3}, "a value of type dict is not"),
        ("globalConcurrency", 0, "0 is not a whole number from 1 to 10000; remove it for no limit"),
        ("lockLifetime", 0, "0 is not between 1 second and 30 days"),
        ("lockLifetime", "forever", "'forever' is not a length of time"),
        ("lockLifetime", 10**400, "is not between"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_nonsense_is_named_with_what_would_do(field: str, value: Any, says: str) -> None:
    error = the_error({field: value})
    assert error.field == field
    assert says in error.message
    assert field not in parse_overrides({field: value}).values


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({"schedule": {"type": "schedule", "value": "61 * * * *"}}, "schedule.value"),
        ({"schedule": {"type": "sometimes"}}, "schedule.type"),
        ({"schedule": {"type": "schedule", "value": "* * * * *", "timezone": "Nowhere"}}, "schedule.timezone"),
        ({"retry": {"attempts": "many"}}, "retry.attempts"),
        ({"retry": {"delay": -1}}, "retry.delay"),
        ({"retry": {"backoff": {"type": "fixed", "factor": 0}}}, "retry.backoff.factor"),
        ({"retry": "always"}, "retry"),
    ],
    ids=str,
)
def test_an_error_inside_a_field_names_the_inner_one(document: dict[str, Any], field: str) -> None:
    assert the_error(document).field == field


DAILY = {"type": "schedule", "value": "30 2 * * *"}
FRIDAY = datetime(2026, 3, 27, 12, tzinfo=UTC)
"""The clocks in Berlin are put forward on the following Sunday, at 01:00 UTC."""


@pytest.mark.parametrize(
    ("options", "fires"),
    [
        ({}, ["28T02:30", "29T02:30", "30T02:30"]),
        ({"timezone": "Europe/Berlin"}, ["28T01:30", "29T01:00", "30T00:30"]),
        ({"timezone": "Europe/Berlin", "dst": "skip"}, ["28T01:30", "30T00:30", "31T00:30"]),
        ({"timezone": "Europe/Berlin", "dst": "first"}, ["28T01:30", "29T01:30", "30T00:30"]),
        ({"startDate": datetime(2026, 3, 30, tzinfo=UTC)}, ["30T02:30", "31T02:30"]),
        ({"startDate": 1_774_828_800_000}, ["30T02:30", "31T02:30"]),
        ({"endDate": "2026-03-29"}, ["28T02:30", "29T02:30"]),
        ({"exclude": ["weekend", "03-30"]}, ["31T02:30"]),
        ({"exclude": "2026-03-28..2026-03-30"}, ["31T02:30"]),
        ({"value": "every monday at 9:00"}, ["30T09:00"]),
        (
            {"type": "interval", "value": "30 hours", "startDate": "2026-03-28T10:00Z"},
            ["28T10:00", "29T16:00", "30T22:00"],
        ),
        ({"type": "once", "value": "2026-03-29T10:00Z"}, ["29T10:00"]),
        ({"type": "manual"}, []),
    ],
    ids=str,
)
def test_every_key_of_a_schedule_decides_when_it_fires(options: dict[str, Any], fires: list[str]) -> None:
    overrides = parse_overrides({"schedule": {**DAILY, **options}})
    assert overrides.errors == ()
    schedule: Schedule = in_force(dict(overrides.values)).schedule
    found = [f"{fire:%dT%H:%M}" for fire in schedule.upcoming(3, after=FRIDAY) if fire.month == 3]
    assert found == fires


def test_the_keys_of_a_schedule_that_move_no_fire_reach_those_who_run_it() -> None:
    stored = {**DAILY, "misfire": {"type": "all", "max": 7}, "jitter": "30 seconds"}
    schedule: Schedule = in_force(dict(parse_overrides({"schedule": stored}).values)).schedule
    assert schedule.misfire == Misfire(kind="all", max=7)
    assert schedule.jittered(FRIDAY, 0.5) == FRIDAY + timedelta(seconds=15)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("type", "sometimes"),
        ("value", "61 * * * *"),
        ("timezone", "Europe/Berlim"),
        ("dst", "nextvalid"),
        ("misfire", "some"),
        ("misfire", {"type": "all", "max": 10_001}),
        ("jitter", "8 days"),
        ("startDate", "tomorrow"),
        ("endDate", "2026-02-30"),
        ("exclude", ["easter"]),
    ],
    ids=str,
)
def test_a_bad_key_of_a_schedule_is_named_and_takes_the_schedule_with_it_and_nothing_else(key: str, value: Any) -> None:
    overrides = parse_overrides({"schedule": {**DAILY, key: value}, "priority": 3})
    assert [error.field for error in overrides.errors] == [f"schedule.{key}"]
    assert overrides.values == {"priority": 3}


def test_a_bad_field_does_not_take_the_good_ones_with_it() -> None:
    overrides = parse_overrides({"priority": 99, "concurrency": 2, "retry": "x", "enabled": False})
    assert overrides.values == {"concurrency": 2, "enabled": False}
    assert {error.field for error in overrides.errors} == {"priority", "retry"}


@pytest.mark.parametrize(
    ("written", "meant"),
    [("concurency", "concurrency"), ("Schedule", "schedule"), ("lock_lifetime", "lockLifetime"), ("run_now", "runNow")],
)
def test_a_misspelt_field_is_an_edit_without_effect_and_is_said_to_be_one(written: str, meant: str) -> None:
    error = the_error({written: 1})
    assert (error.field, error.message) == (written, f"has no meaning here; did you mean '{meant}'?")


def test_fields_of_ones_own_are_fine() -> None:
    ours = dict.fromkeys(("_id", "jobName", "checksum", "createdAt", "updatedAt", "updatedBy", "defaultConfig"), "x")
    shown = dict.fromkeys(("configError", "missingSince", "runNowRequest"), "x")
    assert validate_config({**ours, **shown, "note": "mine", "owner": {"team": "a"}, "ticket": 7}) == []


@pytest.mark.parametrize("config", [None, "text", 7, ["enabled"], object()], ids=lambda value: type(value).__name__)
def test_what_is_no_document_at_all_is_said_to_be_none(config: Any) -> None:
    (error,) = validate_config(config)
    assert "is not a configuration document" in str(error)


def test_in_code_the_same_is_said_as_in_the_document() -> None:
    document = {"priority": 99, "retry": {"attempts": -1}, "enabled": True}
    assert [str(error) for error in validate_config(document)] == [
        str(error) for error in parse_overrides(document).errors
    ]


def test_what_the_document_leaves_open_the_class_says_and_then_the_server() -> None:
    assert in_force({}).concurrency == 3
    assert in_force({}).lock_lifetime == timedelta(minutes=7)
    stated = in_force({}, concurrency=0, lock_lifetime=timedelta(hours=1), priority=5, enabled=False)
    assert (stated.concurrency, stated.lock_lifetime, stated.priority, stated.enabled) == (
        0,
        timedelta(hours=1),
        5,
        False,
    )
    values = {"concurrency": 0, "globalConcurrency": 2, "enabled": True, "priority": -5}
    overridden = in_force(values, concurrency=9, enabled=False, priority=5)
    assert (overridden.concurrency, overridden.global_concurrency) == (0, 2)
    assert (overridden.enabled, overridden.priority) == (True, -5)
    assert overridden.schedule == FIVE_MINUTES


def test_the_default_configuration_says_only_what_the_class_says() -> None:
    assert default_config(JobDefaults(schedule=FIVE_MINUTES)) == {
        "schedule": {"type": "schedule", "value": "*/5 * * * *"},
        "retry": Retry.OFF.to_document(),
        "priority": 0,
    }
    full = default_config(
        JobDefaults(
            schedule=FIVE_MINUTES,
            retry=Retry(attempts=2),
            priority=10,
            concurrency=4,
            global_concurrency=9,
            lock_lifetime=timedelta(minutes=1),
        )
    )
    assert (full["concurrency"], full["globalConcurrency"], full["lockLifetime"]) == (4, 9, 60_000)
    assert validate_config(full) == []


@pytest.mark.parametrize(
    "document",
    [
        {"enabled": False, "priority": 3, "concurrency": 0, "globalConcurrency": 2, "lockLifetime": 61_500},
        {"schedule": {"type": "schedule", "value": "0 5 * * *", "timezone": "Europe/Vienna"}},
        {"schedule": {"type": "interval", "value": 90_000}},
        {"schedule": {"type": "once", "value": datetime(2026, 5, 1, tzinfo=UTC)}},
        {
            "schedule": {
                **{"type": "schedule", "value": "every weekday at 9:00", "timezone": "Europe/Vienna", "dst": "both"},
                **{"misfire": "all(max=10)", "jitter": 30_000, "exclude": ["2026-05-01", "12-25", "sun"]},
                **{"startDate": datetime(2026, 1, 1, tzinfo=UTC), "endDate": datetime(2027, 1, 1, tzinfo=UTC)},
            }
        },
        {"schedule": {"type": "interval", "value": 90_000, "timezone": "Europe/Vienna", "exclude": ["sat"]}},
        {"schedule": {"type": "manual"}, "retry": {"attempts": 7, "backoff": {"type": "linear", "jitter": 0.5}}},
    ],
    ids=str,
)
def test_what_was_read_is_written_so_that_it_reads_the_same(document: dict[str, Any]) -> None:
    values = parse_overrides(document).values
    assert values
    assert parse_overrides(as_document(values)).values == values


@settings(max_examples=400, deadline=None)
@given(
    st.one_of(
        st.fixed_dictionaries({}, optional=dict.fromkeys((*PARSERS, "jobName", "_id", "configError"), ANYTHING)),
        st.dictionaries(st.text(max_size=12), ANYTHING, max_size=4),
        ANYTHING,
    )
)
def test_no_document_whatever_makes_reading_it_fail(document: Any) -> None:
    errors = validate_config(document)
    assert all(isinstance(error, ConfigError) and len(str(error)) < 2000 for error in errors)
    if isinstance(document, dict):
        overrides = parse_overrides(document)
        in_force(dict(overrides.values))
        assert parse_overrides(as_document(overrides.values)).values == overrides.values
