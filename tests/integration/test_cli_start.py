"""`jobserver start` as a service and at a terminal: signals, exit codes, what it says."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from pymongo.database import Database

from jobserver.embedded.state import read_state
from tests.integration.conftest import JOBSERVER, Project, eventually

Db = Database[dict[str, Any]]

LONG = """
    import asyncio
    class Long(Job):
        schedule = "manual"
        async def run(self, data, db):
            await db.begun.insert_one({})
            try:
                await asyncio.sleep(data.get("seconds", 0))
            finally:
                await db.ended.insert_one({})
"""


# Makes the new session's standard input its terminal, so that a typed Ctrl-C becomes a signal.
TAKE_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
)


class Terminal:
    """A command on a pseudo-terminal of its own, and everything that it has shown."""

    def __init__(self, project: Project, *arguments: str, environ: dict[str, str] | None = None) -> None:
        self._main, side = pty.openpty()
        fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 160, 0, 0))
        self.shown = ""
        self.process = subprocess.Popen(
            [sys.executable, "-c", TAKE_TERMINAL, *JOBSERVER, *arguments],
            cwd=project.root,
            env={**project.environ, "TERM": "xterm", **(environ or {})},
            stdin=side,
            stdout=side,
            stderr=side,
            start_new_session=True,
        )
        os.close(side)

    def shows(self, pattern: str, *, within: float = 30.0) -> str:
        """The first match of the pattern on the screen, waited for; colours do not count."""

        def look() -> re.Match[str] | None:
            self._read()
            return re.search(pattern, self.plain)

        try:
            return eventually(look, within=within)[0]
        except AssertionError:
            raise AssertionError(f"{pattern!r} was not shown:\n{self.plain}") from None

    @property
    def plain(self) -> str:
        """The screen without its colours."""
        return re.sub(r"\x1b\[[0-9;]*m", "", self.shown)

    def types(self, text: str) -> None:
        """What a person types."""
        os.write(self._main, text.encode())

    def ended(self, within: float = 30.0) -> int:
        """Its exit code, waited for; reads on meanwhile, for a full terminal would hold it."""
        deadline = time.monotonic() + within
        while self.process.poll() is None:
            assert time.monotonic() < deadline, f"it did not end:\n{self.plain}"
            self._read(0.05)
        self._read()
        return self.process.returncode

    def close(self) -> None:
        """End it."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.ended()
            finally:
                self.process.kill()
                self.process.wait()
        os.close(self._main)

    def _read(self, patience: float = 0.0) -> None:
        while select.select([self._main], [], [], patience)[0]:
            try:
                self.shown += os.read(self._main, 65536).decode(errors="replace").replace("\r\n", "\n")
            except OSError:  # the other side is closed
                return


@contextmanager
def terminal(project: Project, *arguments: str, environ: dict[str, str] | None = None) -> Iterator[Terminal]:
    """A command at a terminal until the end of the block."""
    found = Terminal(project, *arguments, environ=environ)
    try:
        yield found
    finally:
        found.close()


def locks(db: Db) -> int:
    return db.pulseJobs.count_documents({"lockedAt": {"$exists": True}})


def test_without_a_terminal_it_writes_json_lines_and_ends_with_0_on_sigterm(project: Project, project_db: Db) -> None:
    project.job("tick", 'class Tick(Job):\n    schedule = "* * * * * *"\n    def run(self):\n        return 5')
    server = project.start()
    record = server.says("run ended", name="api:tick", status="completed")
    assert record["level"] == "info"
    assert record["timestamp"].endswith("Z")
    server.told(signal.SIGTERM)
    assert server.ended() == 0
    assert server.records("server stopped")[0]["exit_code"] == 0
    assert (locks(project_db), project_db.jobServers.count_documents({})) == (0, 0)


def test_plain_logging_inside_a_job_becomes_a_record_of_its_run(project: Project) -> None:
    project.job(
        "talk",
        """
        import logging
        class Talk(Job):
            schedule = "now"
            def run(self):
                logging.getLogger("mine").warning("plain %s", "words", extra={"shelf": 3})
                self.logger.i("own words", {"n": 1})
        """,
    )
    server = project.start()
    plain, own = server.says("plain words"), server.says("own words")
    assert (plain["job"], plain["logger"], plain["level"], plain["shelf"]) == ("api:talk", "mine", "warning", 3)
    assert (own["job"], own["n"]) == ("api:talk", 1)
    assert plain["run"] == own["run"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_the_running_job_end(project: Project, project_db: Db, number: signal.Signals) -> None:
    project.job("long", LONG)
    server = project.start()
    project.asked("run", "api:long", "--data", '{"seconds": 1}')
    eventually(project_db.begun.find_one)
    server.told(number)
    assert server.ended() == 0
    assert [job["status"] for job in project_db.pulseJobs.find({"type": "normal"})] == ["completed"]
    assert locks(project_db) == 0


def test_a_second_signal_cuts_short_gives_back_and_ends_with_130(project: Project, project_db: Db) -> None:
    project.job("long", LONG)
    server = project.start()
    project.asked("run", "api:long", "--data", '{"seconds": 600}')
    eventually(project_db.begun.find_one)
    server.told(signal.SIGTERM)
    server.says("server stopping")
    server.told(signal.SIGTERM)
    assert server.ended(within=20) == 130
    (job,) = project_db.pulseJobs.find({"type": "normal"})
    assert (job["status"], job["attempt"], locks(project_db)) == ("queued", 0, 0)
    assert project_db.ended.count_documents({}) == 1  # the job could clean up


def test_bad_settings_end_it_with_1_and_say_why(project: Project) -> None:
    (project.root / "config.yaml").write_text("runner: {config: {lock_limit: -1}}")
    server = project.start(ready=False)
    assert server.ended() == 1
    assert "runner.config.lock_limit: -1 is not between" in server.records("server could not start")[0]["error"]
    supervised = project.start("--workers", "2", ready=False)
    assert supervised.ended() == 1


@pytest.mark.parametrize("workers", ["1", "2"])
def test_no_wait_gives_up_at_once_when_mongodb_is_away(project: Project, workers: str) -> None:
    project.configure({"mongodb": {"uri": "mongodb://user:secret@127.0.0.1:1/"}})
    server = project.start("--no-wait", "--workers", workers, ready=False)
    assert server.ended(within=30) == 1
    (record,) = server.records("server could not start")
    assert "127.0.0.1:1" in record["error"]
    assert "secret" not in record["error"]
    assert "Topology" not in record["error"]
    assert server.records()[0] == record
    assert [each["exit_code"] for each in server.records("server stopped")] == ([1] if workers == "1" else [])


def test_no_wait_at_a_terminal_says_why_and_no_more(project: Project) -> None:
    project.configure({"mongodb": {"uri": "mongodb://127.0.0.1:1/"}})
    with terminal(project, "start", "--no-wait") as screen:
        assert screen.ended() == 1
        *_, why, end = screen.plain.splitlines()
        assert "✗ could not start: no answer from mongodb://127.0.0.1:1/" in why
        assert end.endswith("stopped with exit code 1")
        assert "nothing is left locked" not in screen.plain


def test_without_no_wait_it_waits_for_mongodb_and_still_obeys_sigterm(project: Project) -> None:
    project.configure({"mongodb": {"uri": "mongodb://127.0.0.1:1/"}})
    server = project.start(ready=False)
    server.says("mongodb away")
    server.told(signal.SIGTERM)
    assert server.ended() == 0


def test_a_terminal_shows_where_mongodb_is_the_jobs_the_problems_and_each_run(project: Project) -> None:
    project.job("tick", 'class Tick(Job):\n    schedule = "* * * * * *"\n    def run(self): pass')
    project.job("hand", 'class Hand(Job):\n    schedule = "manual"\n    def run(self): pass')
    project.job("broken", "import not_there")
    with terminal(project, "start") as screen:
        screen.shows(r"project +" + re.escape(str(project.root)))
        screen.shows(r"MongoDB +mongodb://127\.0\.0\.1:\d+")
        screen.shows(r"api:tick +every second +\S+")
        screen.shows(r"api:hand +by hand +-")
        screen.shows(r"✗ .*broken\.py: cannot be imported: ModuleNotFoundError")
        screen.shows(r"\d\d:\d\d:\d\d ✓ api:tick completed in \d+ ms")
        assert "\x1b[32m✓" in screen.shown
        project.job("late", 'class Late(Job):\n    schedule = "manual"\n    def run(self): pass')
        screen.shows(r"\+ api:late found")
        screen.types("\x03")
        assert screen.ended() == 0
        assert "stopped, nothing is left locked" in screen.plain
        assert "{" not in screen.plain
        assert "Traceback" not in screen.plain.split("stopping")[1]


def test_a_terminal_without_colour_gets_none(project: Project) -> None:
    project.job("tick", 'class Tick(Job):\n    schedule = "* * * * * *"\n    def run(self): pass')
    with terminal(project, "start", environ={"NO_COLOR": "1"}) as screen:
        screen.shows("api:tick completed")
        assert "\x1b[3" not in screen.shown


def test_json_can_be_had_at_a_terminal_too(project: Project) -> None:
    with terminal(project, "start", "--json") as screen:
        screen.shows('"event": "server started"')
        assert "\x1b" not in screen.shown


def test_a_start_that_fails_at_a_terminal_says_one_sentence(project: Project) -> None:
    (project.root / "config.yaml").write_text("runner: {config: {lock_limit: -1}}")
    with terminal(project, "start") as screen:
        assert screen.ended() == 1
        assert screen.plain.startswith("error: runner.config.lock_limit: -1 is not between")
        assert "Traceback" not in screen.plain


def test_a_terminal_that_is_held_holds_neither_runs_nor_the_shutdown(project: Project, project_db: Db) -> None:
    project.job(
        "loud",
        """
        class Loud(Job):
            schedule = "* * * * * *"
            def run(self):
                for _ in range(300):
                    self.logger.i("x" * 1000)
        """,
    )
    with terminal(project, "start") as screen:
        screen.shows("api:loud")
        seen = project_db.jobRuns.count_documents({"status": "completed"})
        # Nobody reads from here on: a pseudo-terminal takes a few kilobytes, then every write waits.
        eventually(lambda: project_db.jobRuns.count_documents({"status": "completed"}) >= seen + 3)
        screen.process.send_signal(signal.SIGTERM)
        eventually(lambda: screen.process.poll() is not None)
        assert screen.process.returncode == 0


@pytest.mark.timeout(180)
def test_without_a_uri_it_brings_a_mongodb_that_info_finds_and_that_ends_with_it(tmp_path: Path) -> None:
    project = Project(tmp_path / "own", uri=None, database="mine")
    try:
        project.job("tick", 'class Tick(Job):\n    schedule = "* * * * * *"\n    def run(self): pass')
        server = project.start(ready=False)
        server.says("run ended", within=90)
        answer = project.asked("info")
        assert answer["mongodb_uri"].startswith("mongodb://127.0.0.1:")
        assert answer["embedded"] is True
        state = read_state(project.root / ".jobserver")
        assert state is not None
        runs = len(project.asked("runs")["runs"])
        assert runs
        server.told(signal.SIGINT)
        assert server.ended() == 0
        assert not psutil.pid_exists(state.pid)
        assert project.asked("info")["mongodb_uri"] is None
        again = project.start("--workers", "2", ready=False)
        again.says("run ended", within=90)
        assert len(project.asked("runs")["runs"]) > runs  # it found its data again
        again.told(signal.SIGTERM)
        assert again.ended() == 0
    finally:
        project.close()
