"""What `jobserver runs` and the other lists look like in a narrow terminal."""

from __future__ import annotations

import io
from collections.abc import Sequence

import pytest
from rich.console import Console

from jobserver.cli.answer import Screen

COLUMNS = ("JOB", "STATUS", "", "RUN", "WHAT CAME OF IT")
ID = "6740c2f09b1e8a5d3c7f1a20:3"
ROWS = (
    ("api:report", "failed", "3 min ago", ID, "the other side has not answered within thirty seconds"),
    ("api:sync", "completed", "9 s ago", ID, ""),
)


def lines(width: int, rows: Sequence[Sequence[str]] = ROWS) -> list[str]:
    """What a terminal of that width shows."""
    out = io.StringIO()
    Screen(Console(file=out, width=width)).table(COLUMNS, rows, whole=("RUN",))
    return [line.rstrip() for line in out.getvalue().splitlines()]


def test_what_fits_stands_in_one_line() -> None:
    header, first, second = lines(130)
    assert header.split() == ["JOB", "STATUS", "RUN", "WHAT", "CAME", "OF", "IT"]
    assert first.index(ID) == second.index(ID) == header.index("RUN")
    assert first.endswith("within thirty seconds")


def test_prose_is_folded_between_words_before_anything_else_gives_way() -> None:
    shown = lines(105)
    assert all(len(line) <= 105 for line in shown)
    assert shown[1].endswith(f"{ID}   the other side has not answered within")
    assert "".join(shown[2:-1]).split() == ["thirty", "seconds"]


def test_what_does_not_fit_beside_stands_below_and_its_title_too() -> None:
    assert lines(80) == [
        "JOB          STATUS                  RUN",
        "    WHAT CAME OF IT",
        f"api:report   failed      3 min ago   {ID}",
        "    the other side has not answered within thirty seconds",
        f"api:sync     completed   9 s ago     {ID}",
    ]


def test_a_column_without_a_title_stays_with_the_one_before_it() -> None:
    assert lines(30)[4:6] == ["api:report", "    failed      3 min ago"]


@pytest.mark.parametrize("width", [30, 40, 60, 80, 100, 120])
def test_no_word_is_lost_or_broken_where_it_has_room(width: int) -> None:
    shown = " ".join(lines(width)).split()
    assert all(word in shown for row in ROWS for cell in row for word in cell.split())


def test_a_table_without_rows_is_its_titles() -> None:
    assert lines(130, ()) == ["JOB   STATUS      RUN   WHAT CAME OF IT"]


def test_a_cell_of_several_lines_keeps_them() -> None:
    shown = lines(60, [("api:x", "completed", "now", ID, "enabled: true\nslots: 10")])
    assert shown[-2].endswith("enabled: true")
    assert shown[-1].endswith("slots: 10")
