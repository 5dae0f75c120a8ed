"""Excerpts: a value in an error message is short, whatever it is."""

from __future__ import annotations

import pytest

from jobserver.excerpt import excerpt

RECURSIVE: list[object] = []
RECURSIVE.append(RECURSIVE)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("abc", "'abc'"),
        ("a\nb\x00", r"'a\nb\x00'"),
        ("x" * 61, "'" + "x" * 60 + "…'"),
        (5, "5"),
        (1.5, "1.5"),
        (True, "True"),
        (None, "None"),
        (10**5000, "a number of 16610 bits"),
        (RECURSIVE, "a value of type list"),
        (b"abc", "a value of type bytes"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_is_shown_short_and_on_one_line(value: object, shown: str) -> None:
    assert excerpt(value) == shown
