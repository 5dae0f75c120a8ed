"""Lengths: what a person may write for one, and how one is written back."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobserver.errors import ConfigError
from jobserver.lengths import LONGEST_LENGTH, describe_length, parse_length, to_milliseconds

MILLISECOND = timedelta(milliseconds=1)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (timedelta(minutes=5), timedelta(minutes=5)),
        (timedelta(0), timedelta(0)),
        (0, timedelta(0)),
        (60_000, timedelta(minutes=1)),
        (1500.0, timedelta(milliseconds=1500)),
        ("30 minutes", timedelta(minutes=30)),
        ("3 seconds", timedelta(seconds=3)),
        ("5m", timedelta(minutes=5)),
        ("5 mins", timedelta(minutes=5)),
        ("4h", timedelta(hours=4)),
        ("10 sec", timedelta(seconds=10)),
        ("2h30m", timedelta(hours=2, minutes=30)),
        ("2h 30m", timedelta(hours=2, minutes=30)),
        ("1.5 hours", timedelta(minutes=90)),
        ("3 days and 4 hours", timedelta(days=3, hours=4)),
        ("3 days, 4 hours and 36 seconds", timedelta(days=3, hours=4, seconds=36)),
        ("500ms", timedelta(milliseconds=500)),
        ("1 week", timedelta(days=7)),
        ("  1 HOUR ", timedelta(hours=1)),
        ("3000", timedelta(seconds=3)),  # a setting from the environment is always text
        ("36500 days", LONGEST_LENGTH),
        ("one minute", timedelta(minutes=1)),
        ("a minute", timedelta(minutes=1)),
        ("an hour", timedelta(hours=1)),
        ("minute", timedelta(minutes=1)),
        ("half an hour", timedelta(minutes=30)),
        ("half hour", timedelta(minutes=30)),
        ("twenty-five seconds", timedelta(seconds=25)),
        ("Ninety Nine days", timedelta(days=99)),
        ("fourteen days", timedelta(days=14)),
        ("two and a half hours", timedelta(hours=2, minutes=30)),
        ("an hour and a half", timedelta(minutes=90)),
        ("a day and an hour", timedelta(hours=25)),
        ("one hour, twenty minutes", timedelta(minutes=80)),
        ("PT5M", timedelta(minutes=5)),
        ("P1DT2H", timedelta(days=1, hours=2)),
        ("P2W", timedelta(weeks=2)),
        ("pt0.5s", timedelta(milliseconds=500)),
        ("PT1,5H", timedelta(minutes=90)),
        ("P1DT2H3M4S", timedelta(days=1, hours=2, minutes=3, seconds=4)),
    ],
)
def test_what_a_person_writes_is_read_as_that_length(written: object, meant: timedelta) -> None:
    assert parse_length(written, field="delay") == meant


@pytest.mark.parametrize(
    "nonsense",
    [
        *(None, True, False, math.nan, math.inf, -math.inf, -1, -0.5, 10**400, b"5m", [], {}, ...),
        *("", " ", "m", "minutes", "a m", "one", "a", "five", "5 5", "-5m", "+5m", "5m-", "1e3", "5m,", "and 5m"),
        *(
            "every 5 minutes",
            "5 m 3 m",
            "5 min 3 minutes",
            "half",
            "half a",
            "-2 minutes",
            "twenty five six seconds",
            "P",
            "PT",
            "P1DT",
            "PT1H1H",
            "PT..5S",
            "P1H",
            "nan",
            "inf",
            "٣ minutes",
            "5\x00m",
            "9" * 500,
            "0" * 101,
        ),
        *(timedelta(seconds=-1), timedelta(days=36_501), "36501 days", 1e30),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_nonsense_is_refused_with_the_fields_name(nonsense: object) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_length(nonsense, field="retry.delay")
    assert caught.value.field == "retry.delay"
    assert len(caught.value.message) < 300


@pytest.mark.parametrize(
    ("written", "advice"),
    [
        ("5 minuts", "did you mean 'minutes'?"),
        ("2 months", "'months' has no fixed length; write days"),
        ("1y", "'y' has no fixed length; write days"),
        ("5 m 3 m", "names a unit twice"),
        ("every 5 minutes", "is a schedule, not a length of time; leave out 'every'"),
        ("P1M", "has no fixed length; write days"),
        ("P1YT5M", "has no fixed length; write days"),
        ("P5", "is not an ISO 8601 length"),
        ("soon", "write '30 minutes', '2h30m' or a number of milliseconds"),
        (-5, "-5 is not between 0 seconds and 36500 days; a number alone is milliseconds"),
        ("9" * 15, "is not between 0 seconds and 36500 days; a number alone is milliseconds"),
        (True, "True is not a length of time"),
    ],
)
def test_a_refusal_says_what_would_do(written: object, advice: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_length(written, field="delay")
    assert advice in caught.value.message


def test_the_callers_bounds_are_kept_and_named() -> None:
    bounds: dict[str, Any] = {"field": "every", "at_least": timedelta(seconds=1), "at_most": timedelta(hours=1)}
    assert parse_length("1s", **bounds) == timedelta(seconds=1)
    assert parse_length("1h", **bounds) == timedelta(hours=1)
    for beyond in ("999ms", "3601s", timedelta(0)):
        with pytest.raises(ConfigError, match="between 1 second and 1 hour"):
            parse_length(beyond, **bounds)


def test_a_length_is_whole_milliseconds_and_never_rounded_to_nothing() -> None:
    assert parse_length(timedelta(microseconds=1_400), field="delay") == MILLISECOND
    assert parse_length(timedelta(microseconds=1_600), field="delay") == 2 * MILLISECOND
    assert parse_length(timedelta(microseconds=1), field="delay") == MILLISECOND
    assert parse_length(0.2, field="delay") == MILLISECOND


def test_milliseconds_are_rounded_down() -> None:
    assert to_milliseconds(timedelta(seconds=1, microseconds=999)) == 1000
    assert to_milliseconds(timedelta(days=1)) == 86_400_000


@pytest.mark.parametrize(
    ("length", "words"),
    [
        (timedelta(minutes=5), "5 minutes"),
        (timedelta(hours=1), "1 hour"),
        (timedelta(hours=2, minutes=30), "2 hours 30 minutes"),
        (timedelta(days=7), "7 days"),
        (timedelta(seconds=1, milliseconds=500), "1 second 500 milliseconds"),
        (timedelta(0), "0 seconds"),
    ],
)
def test_a_length_is_described_in_words(length: timedelta, words: str) -> None:
    assert describe_length(length) == words


@given(st.integers(min_value=0, max_value=to_milliseconds(LONGEST_LENGTH)))
def test_words_numbers_and_timedeltas_of_one_length_are_read_alike(milliseconds: int) -> None:
    length = milliseconds * MILLISECOND
    readings = [parse_length(form, field="delay") for form in (milliseconds, length, describe_length(length))]
    assert readings == [length] * 3
    assert to_milliseconds(length) == milliseconds


@given(st.one_of(st.text(), st.from_regex(r"[0-9.]+ ?[a-z]{1,12}([ ,]*(and )?[0-9.]+ ?[a-z]{1,12})*"), st.floats()))
def test_whatever_is_written_either_is_a_length_or_a_config_error(written: str | float) -> None:
    try:
        length = parse_length(written, field="delay")
    except ConfigError:
        return
    assert timedelta(0) <= length <= LONGEST_LENGTH
