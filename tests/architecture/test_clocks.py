"""Whose clock says what time it is: the database's for whatever is decided or stored, a machine's for what is shown."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import jobserver

PACKAGE = Path(jobserver.__file__).parent
READS = {
    "time": {"time", "time_ns", "gmtime", "localtime", "ctime", "asctime", "strftime"},
    "datetime": {"now", "utcnow", "today"},
    "date": {"today"},
}
# Where a machine's own clock is read, and why that decides nothing for anybody else.
ALLOWED = {
    "cli/commands/check.py": "the moments to come of a file, with no database at hand",
    "cli/commands/next.py": "the moments to come of an expression, with no database at hand",
    "cli/log_lines.py": "whether a line is of today",
    "console/records.py": "the time that a line of the server's log shows",
    "execution/process/channel.py": "the time that a line of a run's log shows",
    "execution/process/conversation.py": "the time that a line of a run's log shows",
    "runlogs/folder.py": "beside the times of files, which are by the same clock",
    "runlogs/sink.py": "the time that a line of a run's log shows",
    "runlogs/writer.py": "the time that a line of a run's log shows",
}


def clocks_read(source: str) -> Iterator[tuple[int, str]]:
    """Each place where a wall clock is read or handed on, by line."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Attribute(attr="CLOCK_REALTIME" | "generation_time" as read):
                yield node.lineno, read
            case ast.Attribute(value=ast.Name(id=owner) | ast.Attribute(attr=owner), attr=read):
                if read in READS.get(owner, ()):
                    yield node.lineno, f"{owner}.{read}"
            case ast.ImportFrom(module="time", names=names):
                yield from ((node.lineno, f"time.{name.name}") for name in names if name.name in READS["time"])


def read_in(package: Path) -> dict[str, list[tuple[int, str]]]:
    """By file, where there are any."""
    found = {
        path.relative_to(package).as_posix(): list(clocks_read(path.read_text())) for path in package.rglob("*.py")
    }
    return {file: places for file, places in found.items() if places}


def test_what_is_stored_or_asked_for_is_dated_by_no_clock_of_a_client() -> None:
    found = read_in(PACKAGE)
    assert {file: places for file, places in found.items() if file not in ALLOWED} == {}
    assert not any(file.startswith("store/") for file in ALLOWED)


def test_nothing_is_allowed_that_nobody_does() -> None:
    assert sorted(set(ALLOWED) - set(read_in(PACKAGE))) == []


@pytest.mark.parametrize(
    "source",
    [
        "import time\nnow = time.time()",
        "import time\nclock = time.time_ns",
        "from time import time",
        "import time\nnow = time.clock_gettime(time.CLOCK_REALTIME)",
        "from datetime import datetime\nnow = datetime.now(UTC)",
        "import datetime\nnow = datetime.datetime.utcnow()",
        "from datetime import date\nnow = date.today()",
        "made = document['_id'].generation_time",
    ],
)
def test_every_way_to_read_a_clock_is_found(source: str) -> None:
    assert len(list(clocks_read(source))) == 1


def test_clocks_that_nobody_sets_and_moments_of_the_database_are_not() -> None:
    source = "import time\ntime.monotonic()\ntime.clock_gettime(time.CLOCK_BOOTTIME)\nclock.now()\nreader.now()"
    assert list(clocks_read(source)) == []
