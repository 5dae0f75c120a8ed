"""One record, one line; and which records are too much."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobserver.runlogs.caps import Caps, Drop, Gate
from jobserver.runlogs.record import Record, fitted

NOON = datetime(2026, 11, 21, 12, 0, 0, 5_000, tzinfo=UTC)
KIB = 1024


class Hostile:
    def __str__(self) -> str:
        raise RuntimeError("no")


def line(
    message: str = "said", *, longest: int = 16 * KIB, exception: str | None = None, **fields: Any
) -> dict[str, Any]:
    """The line of such a record, read back."""
    written = fitted(Record(at=NOON, level="info", message=message, fields=fields, exception=exception), longest)[1]
    assert len(written) <= longest
    assert written.endswith(b"\n")
    assert written.count(b"\n") == 1
    found: dict[str, Any] = json.loads(written.decode("utf-8", "strict"))
    return found


def test_a_line_says_when_how_grave_and_what() -> None:
    assert line(rows=3) == {
        "time": "2026-11-21T12:00:00.005Z",
        "level": "info",
        "message": "said",
        "fields": {"rows": 3},
    }


def test_what_is_empty_is_not_there() -> None:
    assert list(line()) == ["time", "level", "message"]


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        ("\udc80 half", "\\udc80 half"),
        ("nul\0", "nul\0"),
        (float("nan"), "nan"),
        (float("inf"), "inf"),
        (NOON, "2026-11-21T12:00:00.005Z"),
        (timedelta(seconds=2), 2000),
        (b"\x00\xff", "2 bytes: 00ff"),
        ({1: {2: "x"}}, {"1": {"2": "x"}}),
        ((1, 2), [1, 2]),
        pytest.param(10**5_000, "a number of 16610 bits", id="huge"),
        (Hostile(), "a value of type Hostile that cannot be shown (RuntimeError)"),
    ],
)
def test_a_field_that_json_has_no_word_for_is_kept_as_text(value: Any, stored: Any) -> None:
    assert line(field=value)["fields"] == {"field": stored}


def test_a_field_that_holds_itself_ends_somewhere() -> None:
    endless: list[Any] = []
    endless.append(endless)
    assert "…" in json.dumps(line(field=endless)["fields"], ensure_ascii=False)


def test_a_message_that_is_too_long_keeps_its_beginning_and_its_end() -> None:
    message = line("a" * 50_000 + "z" * 50_000)["message"]
    assert message.startswith("aaa")
    assert message.endswith("zzz")
    assert "characters left out" in message
    assert len(message) > 12 * KIB


def test_a_traceback_and_a_message_share_a_line() -> None:
    found = line("m" * 100_000, exception="t" * 100_000)
    assert len(found["message"]) > 4 * KIB
    assert len(found["exception"]) > 4 * KIB


def test_fields_for_which_there_is_no_room_are_counted() -> None:
    fields = line(longest=KIB, **{f"field{number:04}": "x" * 20 for number in range(5_000)})["fields"]
    kept = [key for key in fields if key != "…"]
    assert kept[0] == "field0000"
    assert fields["…"] == f"{5_000 - len(kept)} more left out"


def test_a_huge_list_is_not_walked_to_its_end() -> None:
    walked = 0

    class Counted(list[int]):
        def __iter__(self) -> Any:
            nonlocal walked
            for item in super().__iter__():
                walked += 1
                yield item

    line(field=Counted(range(1_000_000)))
    assert walked < 10_000


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.text(max_size=3_000),
    st.dictionaries(
        st.text(), st.recursive(st.none() | st.floats() | st.text() | st.integers(), st.lists), max_size=20
    ),
)
def test_whatever_is_logged_fits_its_line(message: str, fields: dict[str, Any]) -> None:
    line(message, longest=KIB, **{f"f{key}": item for key, item in fields.items()})


def test_records_beyond_the_number_of_a_second_are_refused_and_counted() -> None:
    gate = Gate(Caps(records_per_second=3))
    assert [gate.admits(0.1 * number) for number in range(5)] == [True, True, True, False, False]
    assert gate.admits(1.0)
    assert list(gate.told()) == ["2 records dropped: more than 3 or than 1 MiB in a second"]
    assert list(gate.told()) == []


def test_records_beyond_the_bytes_of_a_second_are_refused_and_counted() -> None:
    gate = Gate(Caps(bytes_per_second=KIB))
    assert gate.admits(0.0)
    gate.took(KIB)
    assert not gate.admits(0.5)
    assert gate.admits(1.5)
    assert list(gate.told()) == ["1 record dropped: more than 2000 or than 1 KiB in a second"]


def test_a_full_log_takes_nothing_more_and_says_so_at_its_end() -> None:
    gate = Gate(Caps(run=KIB))
    assert gate.admits(0.0)
    gate.took(KIB)
    assert not any(gate.admits(second) for second in range(1, 4))
    assert list(gate.told()) == []
    assert list(gate.told(at_end=True)) == ["3 records dropped: the log of one run holds 1 KiB"]


def test_each_reason_has_a_count_of_its_own() -> None:
    gate = Gate(Caps())
    gate.drop(Drop.BEHIND, 2)
    gate.drop(Drop.UNWRITABLE)
    assert list(gate.told()) == [
        "2 records dropped: the disk could not keep up",
        "1 record dropped: the disk was full or could not be written",
    ]
