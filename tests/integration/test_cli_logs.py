"""`jobserver logs`, as a person or a script meets it."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.database import Database

from tests.integration.conftest import JOBSERVER, Project, a_project, eventually

Db = Database[dict[str, Any]]

TALKS = """
import asyncio, logging
class Talks(Job):
    name = "api:talks"
    schedule = "manual"
    async def run(self, log, data, db):
        log.debug("detail")
        log.info("begun", {"rows": 3, "who": "a b", "colour": "\\x1b[31m"})
        try:
            raise ValueError("lost")
        except ValueError:
            logging.getLogger("lib").exception("it broke")
        while data.get("wait") and await db.gates.find_one({}) is None:
            await asyncio.sleep(0.02)
        log.info("ended")
class Silent(Job):
    name = "api:silent"
    schedule = "manual"
    async def run(self): ...
"""


@pytest.fixture(scope="module")
def running(
    tmp_path_factory: pytest.TempPathFactory, mongo_client: MongoClient[dict[str, Any]], mongo_uri: str
) -> Iterator[Project]:
    """A project whose server runs for all tests of this file."""
    with a_project(tmp_path_factory.mktemp("running") / "project", mongo_client, mongo_uri) as project:
        project.job("talks", TALKS)
        project.start()
        yield project


@pytest.fixture(scope="module")
def talked(running: Project) -> str:
    """The job document of a run that has ended, and whose log has too."""
    done = json.loads(running.call("run", "api:talks", "--wait", "--json").stdout)
    eventually(lambda: "ended" in running.call("logs", done["id"]).stdout)
    return str(done["id"])


def lines(project: Project, *arguments: str) -> list[dict[str, Any]]:
    done = project.call("logs", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_runs_shows_the_id_by_which_logs_finds_a_run(running: Project, talked: str) -> None:
    assert f"{talked}:1" in running.call("runs", "api:talks").stdout
    assert lines(running, f"{talked}:1") == lines(running, talked) != []


def test_a_line_shows_level_message_and_fields_and_the_traceback_below(running: Project, talked: str) -> None:
    shown = running.call("logs", talked).stdout.splitlines()
    assert shown[1].endswith(r'info     begun  rows=3  who="a b"  colour=\x1b[31m')
    broke = next(number for number, line in enumerate(shown) if "it broke" in line)
    assert shown[broke].endswith("error    it broke  (lib)")
    assert shown[broke + 1] == "    Traceback (most recent call last):"
    assert "    ValueError: lost" in shown


def test_json_gives_the_lines_as_they_are_stored(running: Project, talked: str) -> None:
    found = lines(running, talked)
    assert [each["message"] for each in found] == ["detail", "begun", "it broke", "ended"]
    assert found[1]["fields"] == {"rows": 3, "who": "a b", "colour": "\x1b[31m"}


def test_a_level_leaves_out_what_is_below_it(running: Project, talked: str) -> None:
    assert [each["message"] for each in lines(running, talked, "--level", "info")] == ["begun", "it broke", "ended"]
    assert [each["message"] for each in lines(running, talked, "--level", "error")] == ["it broke"]
    assert "nothing of that level" in running.call("logs", talked, "--level", "critical").stderr


def test_a_level_that_does_not_exist_is_refused_with_the_known_ones(running: Project, talked: str) -> None:
    said = running.refused("logs", talked, "--level", "warn")
    assert "did you mean 'warning'?" in said
    assert "debug, info, warning, error, critical" in said


def test_an_unknown_run_is_refused_with_the_way_to_the_known_ones(running: Project) -> None:
    for id_ in ("6740c2f09b1e8a5d3c7f1a20:3", "6740c2f09b1e8a5d3c7f1a20", "api:talks", ":", "x:1"):
        assert "`jobserver runs` lists" in running.refused("logs", id_)


@pytest.mark.parametrize("written", ["half \udcff:1", f"x:{10**22}"], ids=["no text", "too large a number"])
def test_what_nothing_can_be_called_is_refused_without_a_traceback(running: Project, written: str) -> None:
    refused = running.call("logs", written)
    assert refused.returncode == 1
    assert refused.stderr.startswith("error: a run cannot be looked for: ")


def test_a_run_that_has_logged_nothing_says_so(running: Project) -> None:
    done = json.loads(running.call("run", "api:silent", "--wait", "--json").stdout)
    said = eventually(
        lambda: found if (found := running.call("logs", done["id"], "--follow")).returncode == 0 else None
    )
    first, second = said.stderr.splitlines()
    assert (said.stdout, first) == ("", "nothing was logged")
    assert second.startswith("api:silent completed after ")


def test_follow_shows_what_comes_and_ends_with_the_run(running: Project, project_db_of_running: Db) -> None:
    id_ = running.asked("run", "api:talks", "--data", '{"wait": true}')["id"]
    with following(running, id_) as follower:
        assert follower.stdout is not None
        assert "detail" in follower.stdout.readline()
        assert "begun" in follower.stdout.readline()
        assert "under way" in running.call("logs", id_).stderr
        project_db_of_running.gates.insert_one({})
        rest = follower.stdout.read()
        assert rest.splitlines()[-1].endswith("ended")
        assert follower.wait(20) == 0
        assert follower.stderr is not None
        assert follower.stderr.read().startswith("api:talks completed after ")


def test_follow_is_left_with_ctrl_c(running: Project, project_db_of_running: Db) -> None:
    project_db_of_running.gates.delete_many({})
    id_ = running.asked("run", "api:talks", "--data", '{"wait": true}')["id"]
    with following(running, id_) as follower:
        assert follower.stdout is not None
        assert "detail" in follower.stdout.readline()
        follower.send_signal(signal.SIGINT)
        assert follower.wait(20) == 130
        assert follower.stderr is not None
        assert follower.stderr.read() == ""
    project_db_of_running.gates.insert_one({})


def test_a_reader_that_has_seen_enough_is_no_fault(running: Project, talked: str) -> None:
    pipe = f"{' '.join(JOBSERVER)} logs {talked} --follow | head -n 1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", pipe], cwd=running.root, env=running.environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert "detail" in done.stdout
    assert re.fullmatch(r"(api:talks completed after [\d.]+ m?s\n)?", done.stderr)


def test_a_terminal_gets_colours_and_nobody_else_does(running: Project, talked: str) -> None:
    ours, theirs = pty.openpty()
    environ = running.environ | {"TERM": "xterm-256color"}
    environ.pop("NO_COLOR", None)
    with subprocess.Popen([*JOBSERVER, "logs", talked], cwd=running.root, env=environ, stdout=theirs) as process:
        os.close(theirs)
        shown = everything(ours)
        process.wait(20)
    os.close(ours)
    assert b"\x1b[36m" in shown
    assert b"colour=\x1b[31m" not in shown
    assert "\x1b" not in running.call("logs", talked).stdout


@pytest.fixture
def project_db_of_running(running: Project, mongo_client: MongoClient[dict[str, Any]]) -> Db:
    return mongo_client[running.database]


def following(project: Project, id_: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*JOBSERVER, "logs", id_, "--follow"],
        cwd=project.root,
        env=project.environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def everything(terminal: int) -> bytes:
    """What comes to a terminal until the other side is closed."""
    found = b""
    while True:
        try:
            part = os.read(terminal, 65_536)
        except OSError:  # Linux's word for the end
            return found
        if not part:
            return found
        found += part
