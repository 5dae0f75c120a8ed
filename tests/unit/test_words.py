from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from bson import Decimal128, ObjectId
from hypothesis import given, settings
from hypothesis import strategies as st

from jobserver.words import clock, due, one_line, plain, printable, printable_json, relative, took, value, when

NOW = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("away", "words"),
    [
        (timedelta(), "now"),
        (timedelta(seconds=0.4), "now"),
        (timedelta(seconds=5), "in 5 s"),
        (timedelta(seconds=-59), "59 s ago"),
        (timedelta(seconds=1), "in 1 s"),
        (timedelta(seconds=119), "in 119 s"),
        (timedelta(seconds=120), "in 2 min"),
        (timedelta(minutes=90), "in 90 min"),
        (timedelta(minutes=-120), "2 h ago"),
        (timedelta(hours=41), "in 41 h"),
        (timedelta(hours=48), "in 2 d"),
        (timedelta(days=-400), "400 d ago"),
    ],
)
def test_a_distance_is_told_in_the_largest_unit_that_fits_twice(away: timedelta, words: str) -> None:
    assert relative(NOW + away, NOW) == words


def test_a_moment_is_told_with_its_distance_and_the_local_clock() -> None:
    soon = NOW + timedelta(minutes=3)
    assert when(soon, NOW) == f"in 3 min ({soon.astimezone():%H:%M:%S})"
    later = NOW + timedelta(days=3)
    assert clock(later, NOW) == f"{later.astimezone():%Y-%m-%d %H:%M}"
    assert when(None, NOW) == "-"


def test_what_should_have_begun_is_due() -> None:
    assert due(NOW - timedelta(minutes=1), NOW).startswith("due (")
    assert due(NOW + timedelta(minutes=1), NOW).startswith("in 60 s (")
    assert due(None, NOW) == "-"


@pytest.mark.parametrize(
    ("milliseconds", "words"),
    [
        (None, "-"),
        (0, "0 ms"),
        (999, "999 ms"),
        (1_440, "1.4 s"),
        (59_940, "59.9 s"),
        (59_960, "1 min 0 s"),
        (125_000, "2 min 5 s"),
        (3_780_000, "1 h 3 min"),
    ],
)
def test_a_length_is_told_in_one_or_two_units(milliseconds: float | None, words: str) -> None:
    assert took(milliseconds) == words


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (None, ""),
        ("", ""),
        ("short", "short"),
        ("\n\nfirst\nsecond", "first…"),
        ("x" * 80, "x" * 80),
        ("x" * 81, "x" * 79 + "…"),
    ],
)
def test_text_in_a_table_is_one_line(text: str | None, line: str) -> None:
    assert one_line(text) == line


def test_stored_values_become_what_json_can_hold() -> None:
    id_ = ObjectId()
    berlin = datetime(2026, 1, 1, 1, 30, tzinfo=timezone(timedelta(hours=1)))
    assert plain({"id": id_, 5: [berlin, timedelta(seconds=1.5)], "none": None, "x": Decimal128("1.5")}) == {
        "id": str(id_),
        "5": ["2026-01-01T00:30:00.000Z", 1500],
        "none": None,
        "x": "1.5",
    }
    assert plain([float("nan"), float("inf"), 1.5, True]) == ["nan", "inf", 1.5, True]


def test_a_value_is_shown_as_json_and_cut() -> None:
    assert value({"a": "ü"}) == '{"a": "ü"}'
    assert value("y" * 100, 10) == '"yyyyyyyy…'


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.datetimes(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner) | st.tuples(inner, inner),
        max_leaves=8,
    )
)
def test_anything_stored_can_be_written_as_json(anything: Any) -> None:
    assert json.dumps(plain(anything), allow_nan=False)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, also ü and 🦆", "plain, also ü and 🦆"),
        ("two\n\tlines", "two\n\tlines"),
        ("\x1b[2J\r\x07\x7f\x9b", r"\x1b[2J\r\x07\x7f\x9b"),
        ("\u202egnihton\ufeff", r"\u202egnihton\ufeff"),
    ],
)
def test_text_that_would_steer_a_terminal_is_shown_by_its_codes(text: str, shown: str) -> None:
    assert printable(text) == shown


@settings(deadline=None)
@given(st.dictionaries(st.text(), st.text()))
def test_json_that_is_printable_says_the_same(anything: Any) -> None:
    encoded = printable_json(json.dumps(anything, indent=1, ensure_ascii=False))
    assert json.loads(encoded) == anything
    assert encoded.replace("\n", "").isprintable()
