from __future__ import annotations

import errno
import io
import json
import logging
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import structlog

from jobserver.console.json_lines import json_line
from jobserver.console.records import LONGEST_QUEUE, RecordWriter, recording
from jobserver.console.terminal import Palette, Terminal
from jobserver.execution.run_log import UNKEPT, RunLog, current_run

pytestmark = pytest.mark.timeout(30)

RUN = SimpleNamespace(name="api:x", run_id="id:1", sink=UNKEPT)
NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


@contextmanager
def recorded(*, verbose: bool = False) -> Iterator[list[dict[str, Any]]]:
    """Everything that is logged in the block, there for the reading after it."""
    stream = io.StringIO()
    found: list[dict[str, Any]] = []
    others = logging.getLogger().handlers[:]
    logging.getLogger().handlers.clear()  # pytest's own stand for nothing that a server meets
    with recording(RecordWriter(stream, line_of=lambda record: json_line(record, facts={})), verbose=verbose):
        yield found
    logging.getLogger().handlers += others
    found += [json.loads(line) for line in stream.getvalue().splitlines()]


def shown(terminal: Terminal, event: str, *, level: str = "info", logger: str = "jobserver", **fields: Any) -> str:
    """What the terminal shows of one record, without its time."""
    record = {"timestamp": NOON, "level": level, "event": event, "logger": logger, **fields}
    line = terminal.lines_of(record) or ""
    return line.removeprefix(f"{NOON.astimezone():%H:%M:%S} ")


@pytest.fixture
def terminal() -> Terminal:
    found = Terminal(palette=Palette())
    found.opened(())
    return found


def test_our_records_carry_moment_level_logger_and_fields() -> None:
    with recorded() as records:
        structlog.get_logger("jobserver").warning("mongodb away", chore="claiming")
    (record,) = records
    assert list(record)[:3] == ["timestamp", "level", "event"]
    assert (record["level"], record["event"], record["logger"], record["chore"]) == (
        "warning",
        "mongodb away",
        "jobserver",
        "claiming",
    )
    assert datetime.fromisoformat(record["timestamp"]).tzinfo is not None


def test_loggers_made_before_the_console_speak_through_it() -> None:
    early = structlog.get_logger("jobserver")
    with recorded() as first:
        early.info("one")
    with recorded() as second:
        early.info("two")
    assert [record["event"] for record in first] == ["one"]
    assert [record["event"] for record in second] == ["two"]


def test_plain_logging_and_warnings_come_through_too() -> None:
    with recorded() as records:
        logging.getLogger("library").error("%s broke", "it", extra={"shelf": 3})
        logging.getLogger("library").debug("never mind")
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("mind the gap", stacklevel=1)
    plain, warning = records
    assert (plain["event"], plain["level"], plain["logger"], plain["shelf"]) == ("it broke", "error", "library", 3)
    assert "mind the gap" in warning["event"]


def test_a_record_made_inside_a_run_names_its_run() -> None:
    token = current_run.set(RUN)
    try:
        with recorded() as records:
            logging.getLogger("library").warning("plain")
            structlog.get_logger("jobserver").info("ours")
    finally:
        current_run.reset(token)
    assert [(record["job"], record["run"]) for record in records] == [("api:x", "id:1")] * 2


def test_the_fields_of_a_job_never_take_the_place_of_ours() -> None:
    named_alike = {"timestamp": "never", "level": "odd", "logger": "me", "job": "other", "event": "x"}
    with recorded() as records:
        RunLog(RUN).info("said", named_alike)
        logging.getLogger("mine").info("plain", extra={"timestamp": "never", "level": "odd"})
    said, plain = records
    assert (said["level"], said["logger"], said["job"], said["event"]) == ("info", "jobserver.run", "api:x", "said")
    assert (said["timestamp_"], said["level_"], said["logger_"]) == ("never", "odd", "me")
    assert (plain["level"], plain["level_"], plain["timestamp_"]) == ("info", "odd", "never")
    assert all(datetime.fromisoformat(record["timestamp"]) for record in records)


def test_an_exception_becomes_its_traceback_while_it_is_at_hand() -> None:
    with recorded() as records:
        try:
            raise ValueError("lost")
        except ValueError as error:
            logging.getLogger("library").exception("first")
            structlog.get_logger("jobserver").exception("second")
            structlog.get_logger("jobserver").error("third", exc_info=error)
    assert [record["event"] for record in records] == ["first", "second", "third"]
    assert all(record["exception"].endswith("ValueError: lost\n") for record in records)


def test_a_record_whose_words_do_not_fit_its_values_is_not_lost() -> None:
    with recorded() as records:
        logging.getLogger("job").warning("%d things", "many")
    assert "'%d things' ('many',)" in records[0]["event"]


def test_a_field_that_cannot_be_written_costs_only_itself() -> None:
    class Hostile:
        def __str__(self) -> str:
            raise RuntimeError("no")

    with recorded() as records:
        structlog.get_logger("jobserver").info("odd", field=Hostile())
        structlog.get_logger("jobserver").info("even")
    assert [record["event"] for record in records] == ["odd", "even"]


def test_debug_records_are_ours_alone_and_only_when_asked_for() -> None:
    for verbose in (False, True):
        with recorded(verbose=verbose) as records:
            structlog.get_logger("jobserver").debug("run started")
            logging.getLogger("pymongo").debug("a thousand details")
        assert [record["event"] for record in records] == (["run started"] if verbose else [])


def read_all(reading_end: int, lines: list[str]) -> None:
    with os.fdopen(reading_end) as stream:
        lines.extend(stream)


def test_a_reader_who_does_not_read_blocks_nobody_and_what_was_dropped_is_told() -> None:
    reading_end, writing_end = os.pipe()
    lines: list[str] = []
    with os.fdopen(writing_end, "w") as stream:
        writer = RecordWriter(stream, line_of=lambda record: json_line(record, facts={}))
        for number in range(LONGEST_QUEUE * 3):  # far more than the pipe and the queue hold
            writer.take({"event": "flood", "number": number, "padding": "x" * 100})
        reader = threading.Thread(target=read_all, args=(reading_end, lines))
        reader.start()
        writer.take({"event": "last"})
        writer.close()
    reader.join()
    records = [json.loads(line) for line in lines]
    dropped = sum(record["count"] for record in records if record["event"] == "log records dropped")
    written = [record for record in records if record["event"] == "flood"]
    assert dropped > 0
    assert len(written) + dropped in (LONGEST_QUEUE * 3, LONGEST_QUEUE * 3 + 1)


def test_a_reader_who_is_gone_ends_the_writing_and_nothing_else() -> None:
    reading_end, writing_end = os.pipe()
    os.close(reading_end)
    stream = os.fdopen(writing_end, "w")
    writer = RecordWriter(stream, line_of=lambda record: json_line(record, facts={}))
    writer.take({"event": "one"})
    writer.take({"event": "two"})
    writer.close()
    with pytest.raises(BrokenPipeError):
        stream.close()


def test_a_disk_that_was_full_for_a_while_does_not_end_the_writing() -> None:
    class Disk(io.StringIO):
        room, refused = threading.Event(), threading.Event()

        def write(self, text: str) -> int:
            if not self.room.is_set():
                self.refused.set()
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(text)

    disk = Disk()
    writer = RecordWriter(disk, line_of=lambda record: json_line(record, facts={}))
    writer.take({"event": "lost"})
    assert disk.refused.wait(10)
    disk.room.set()
    writer.take({"event": "kept"})
    writer.take({"event": "last"})
    writer.close()
    records = [json.loads(line) for line in disk.getvalue().splitlines()]
    assert [record["event"] for record in records if record["event"] != "log records dropped"] == ["kept", "last"]
    assert [record["count"] for record in records if record["event"] == "log records dropped"] == [1]


def test_what_is_no_text_is_shown_by_its_codes_and_does_not_end_the_writing(tmp_path: Path) -> None:
    path = tmp_path / "log"
    program = """if True:
        import structlog
        from jobserver.console import console
        with console(as_json=True):
            structlog.get_logger("jobserver").info("found", path="b\\udcff.py")
    """
    with path.open("wb") as out:
        environ = {**os.environ, "PYTHONIOENCODING": "utf-8:strict"}
        subprocess.run([sys.executable, "-c", program], stdout=out, env=environ, check=True, timeout=20)
    assert json.loads(path.read_bytes())["path"] == "b\udcff.py"


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"status": "completed", "duration_ms": 12}, "✓ api:x completed in 12 ms"),
        ({"status": "completed", "duration_ms": 1500, "result": {"n": 1}}, '✓ api:x completed in 1.5 s: {"n": 1}'),
        (
            {
                "status": "failed, will be retried",
                "duration_ms": 5,
                "attempt": 2,
                "retry_in_ms": 60000,
                "error": "no\nwhy",
            },
            "↻ api:x attempt 2 failed after 5 ms: no…; again in 1 min 0 s",
        ),
        (
            {"status": "failed", "duration_ms": 5, "error": "ValueError: no"},
            "✗ api:x failed after 5 ms: ValueError: no",
        ),
        ({"status": "cancelled", "duration_ms": 5}, "! api:x cancelled after 5 ms"),
        ({"status": "cancelled", "duration_ms": 5, "reason": "no shop"}, "! api:x cancelled after 5 ms: no shop"),
        ({"status": "lock lost", "duration_ms": 5}, "! api:x lock lost after 5 ms"),
    ],
)
def test_the_end_of_a_run_is_one_line(terminal: Terminal, fields: dict[str, Any], line: str) -> None:
    assert shown(terminal, "run ended", name="api:x", run="id:1", job="api:x", stack="Traceback", **fields) == line


@pytest.mark.parametrize(
    ("event", "fields", "line"),
    [
        ("runs ended", {"name": "api:x", "status": "completed", "count": 940}, "… api:x completed, 940 more times"),
        ("job found", {"name": "api:x", "path": "/p/jobs/x.py"}, "+ api:x found: /p/jobs/x.py"),
        ("config applied", {"name": "api:x", "enabled": False}, "~ api:x is disabled"),
        (
            "config applied",
            {"name": "api:x", "enabled": True, "priority": 5},
            "~ api:x is enabled, now has priority 5",
        ),
        ("config applied", {"name": "api:x", "execution": None}, "~ api:x now has no execution of its own"),
        (
            "run stopping",
            {"name": "api:x", "step": "told", "reason": "cancelled by a client"},
            "· api:x is told to stop: cancelled by a client",
        ),
        (
            "run does not stop",
            {"name": "api:x", "note": "its code goes on"},
            "✗ api:x does not stop: its code goes on",
        ),
        (
            "config refused",
            {"name": "api:x", "field": "retry.delay", "message": "'soon' is not a length"},
            "! api:x keeps its configuration; the edit cannot be used: retry.delay: 'soon' is not a length",
        ),
        (
            "job file broken",
            {"error": "x.py: no", "in_force": ["api:x", "api:y"]},
            "✗ x.py: no; the last good version of api:x, api:y stays in force",
        ),
        ("job file broken", {"error": "x.py: no", "not_run": "api:x"}, "✗ x.py: no; this server does not run api:x"),
        ("job file sound", {"path": "/p/x.py", "in_force": ["api:x"]}, "✓ /p/x.py is sound again: api:x"),
        ("worker ended", {"worker": 2, "how": "SIGKILL"}, "! worker 2 ended: SIGKILL"),
        (
            "runs given back",
            {"worker": 2, "runs": 3, "jobs": ["api:x", "api:y"]},
            "↻ 3 runs of worker 2 may start again elsewhere (api:x, api:y)",
        ),
        (
            "job given up",
            {"worker": 2, "name": "api:x", "job_id": "12", "crashes": 3},
            "✗ api:x is given up after 3 crashes; `jobserver retry 12` gives it one more go",
        ),
        (
            "lock taken back",
            {"name": "api:x", "job_id": "12", "server": "a:1", "crashes": 1, "given_up": False},
            "↻ api:x may start again: its lock was taken back from a:1",
        ),
        (
            "lock taken back",
            {"name": "api:x", "job_id": "12", "server": "a:1", "crashes": 3, "given_up": True},
            "✗ api:x is given up after 3 crashes; `jobserver retry 12` gives it one more go",
        ),
        ("server could not start", {"error": "no answer"}, "✗ could not start: no answer"),
        (
            "worker ended",
            {"worker": 2, "how": "exit code 3", "restart_in_ms": 2000},
            "! worker 2 ended: exit code 3; it is started again in 2.0 s",
        ),
        (
            "one-off not taken on",
            {"name": "tidy", "reason": "/x/tidy.py: there is no such file", "note": "another server may have it"},
            "! one-off tidy cannot run here, another server may have it: /x/tidy.py: there is no such file",
        ),
        ("waiting for runs", {"running": 1, "at_most_seconds": 25.0}, "· 1 run has at most 25.0 s to end"),
        ("server stopped", {"exit_code": 70}, "✗ stopped with exit code 70"),
        ("something new", {"count": 3, "text": "a b"}, "· something new  count=3 text=a b"),
    ],
)
def test_each_event_has_its_words_and_an_unknown_one_is_shown_as_it_is(
    terminal: Terminal, event: str, fields: dict[str, Any], line: str
) -> None:
    assert shown(terminal, event, **fields) == line


def test_runs_that_were_left_out_are_told_by_the_clock_here(terminal: Terminal) -> None:
    facts = {"name": "api:x", "reason": "missed", "misfire": "latest", "last": "2026-11-21T11:00:05+00:00"}
    one = shown(terminal, "occurrences skipped", count=1, first=facts["last"], level="warning", **facts)
    last = f"{datetime(2026, 11, 21, 11, 0, 5, tzinfo=UTC).astimezone():%H:%M:%S}"
    assert one == f"! api:x leaves out 1 run, of {last}: missed (misfire: latest)"
    first = datetime(2026, 11, 18, 11, tzinfo=UTC)
    more = shown(terminal, "occurrences skipped", count=13, first=first.isoformat(), level="warning", **facts)
    assert f"leaves out 13 runs, {first.astimezone():%Y-%m-%d %H:%M} to {last}: missed" in more


def test_nothing_that_a_record_says_steers_the_terminal(terminal: Terminal) -> None:
    said = shown(terminal, "run ended", name="a\x1b[2J", status="failed", error="\x9b31m\u202e", stack="\x1b[2J")
    traced = shown(terminal, "job file broken", error="\x07", traceback="one\n\x1b[2Jtwo")
    assert r"a\x1b[2J failed after -: \x9b31m\u202e" in said
    assert all(each.isprintable() for each in (said + "\n" + traced).split("\n"))
    line = json_line({"event": "\x7f\u202e"}, facts={})
    assert line.isprintable()
    assert json.loads(line) == {"event": "\x7f\u202e"}


def test_what_a_job_says_is_its_own_even_in_our_words(terminal: Terminal) -> None:
    said = shown(terminal, "server stopped", logger="jobserver.run", job="api:x", run="id:1", n=1)
    assert said == "· api:x: server stopped  n=1"


def test_what_is_printed_stands_alone_and_only_stderr_is_named(terminal: Terminal) -> None:
    said = {"logger": "jobserver.run", "job": "api:x", "run": "id:1"}
    assert shown(terminal, "half of it", stream="stdout", **said) == "· api:x: half of it"
    assert shown(terminal, "half of it", stream="stderr", **said) == "· api:x: half of it  stream=stderr"


def test_a_broken_file_is_shown_with_its_traceback(terminal: Terminal) -> None:
    lines = shown(terminal, "job file broken", level="error", error="x.py: no", traceback="Traceback:\n  line 1\n")
    assert lines.splitlines() == ["✗ x.py: no", "  Traceback:", "    line 1"]


def test_only_a_job_that_runs_is_blamed_for_a_loop_that_stands_still(terminal: Terminal) -> None:
    facts = {"seconds": 1.25, "where": "x.py:3 in run", "advice": "use `def run`", "stack": "deep", "level": "warning"}
    blamed = shown(terminal, "event loop blocked", job="api:x 6740:1", **facts)
    assert blamed.startswith("! api:x has blocked the event loop for 1.2 s at x.py:3 in run; use `def run`")
    assert "Task-7 of some job has blocked" in shown(terminal, "event loop blocked", job="Task-7", **facts)
    said = shown(terminal, "event loop blocked", job="", **{**facts, "advice": "a thread holds the interpreter"})
    assert said.startswith(
        "! the event loop has stood still for 1.2 s at x.py:3 in run: a thread holds the interpreter"
    )


def test_the_traceback_of_a_failed_run_is_shown_only_when_asked_for() -> None:
    for verbose in (False, True):
        terminal = Terminal(palette=Palette(), verbose=verbose)
        terminal.opened(())
        assert ("deep" in shown(terminal, "run ended", status="failed", error="no", stack="deep")) is verbose


def test_before_the_header_stands_only_what_is_urgent_is_shown() -> None:
    terminal = Terminal(palette=Palette())
    assert shown(terminal, "job found", name="api:x") == ""
    assert shown(terminal, "run ended", name="api:x", status="completed", duration_ms=1) == ""
    assert shown(terminal, "run ended", level="error", name="api:x", status="failed", duration_ms=1, error="no") == ""
    assert shown(terminal, "server stopping") == ""  # nothing runs that could be let end
    assert "broken.py" in shown(terminal, "job file broken", level="error", error="broken.py")
    opened = terminal.opened(["header"]).splitlines()
    assert opened[0] == "header"
    assert opened[1].endswith("✓ api:x completed in 1 ms")
    assert opened[2].endswith("✗ api:x failed after 1 ms: no")
    assert len(opened) == 3  # the header has listed the job
    assert "api:y" in shown(terminal, "job found", name="api:y")


def test_what_all_workers_know_only_the_first_says() -> None:
    first, second = (Terminal(palette=Palette(), worker=number) for number in (1, 2))
    for terminal in (first, second):
        terminal.opened(())
    assert shown(first, "job removed", name="api:x", level="warning").startswith("[1] - api:x removed")
    assert shown(second, "job removed", name="api:x", level="warning") == ""
    assert shown(second, "run ended", name="api:x", status="completed", duration_ms=1).startswith("[2] ✓ api:x")
    trace = shown(first, "job file broken", level="error", error="x.py: no", traceback="Traceback:\n  line 1\n")
    assert trace.splitlines() == ["[1] ✗ x.py: no", "  [1] Traceback:", "  [1]   line 1"]
    assert shown(first, "server stopping") == shown(second, "server stopping") == ""


def test_that_mongodb_is_away_is_said_once_whoever_notices(terminal: Terminal) -> None:
    assert "MongoDB is away (claiming): no" in shown(terminal, "mongodb away", chore="claiming", error="no")
    assert shown(terminal, "mongodb away", chore="settling", error="no") == ""


def test_colours_are_for_terminals_that_want_them(monkeypatch: pytest.MonkeyPatch) -> None:
    main, side = os.openpty()
    with os.fdopen(side, "w") as stream:
        monkeypatch.delenv("NO_COLOR", raising=False)
        monkeypatch.setenv("TERM", "xterm")
        assert Palette.of(stream).red
        monkeypatch.setenv("NO_COLOR", "1")
        assert Palette.of(stream) == Palette()
    os.close(main)
    assert Palette.of(io.StringIO()) == Palette()
