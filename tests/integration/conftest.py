"""A project on disk, its commands and its servers: real processes, told and watched from outside."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent
from typing import Any, TypeVar
from uuid import uuid4

import pytest
from pymongo import MongoClient
from pymongo.database import Database

T = TypeVar("T")

JOBSERVER = [sys.executable, "-P", "-m", "jobserver"]
UNLIMITED = {"max_concurrency": 20, "default_concurrency": 5, "lock_limit": 0, "default_lock_limit": 0}
QUICK = {"runner": {"config": {"process_every": 200, **UNLIMITED}}}


def eventually(look: Callable[[], T | None], *, within: float = 20.0) -> T:
    """What `look` returns as soon as that is true; an AssertionError when the time is over."""
    deadline = time.monotonic() + within
    while not (found := look()):
        assert time.monotonic() < deadline, f"not within {within} seconds"
        time.sleep(0.02)
    return found


class Server:
    """A process of `jobserver start` whose log goes into a file."""

    def __init__(self, project: Project, arguments: tuple[str, ...], log: Path) -> None:
        self._log = log
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                [*JOBSERVER, "start", *arguments],
                cwd=project.root,
                env=project.environ,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
            )

    def records(self, event: str | None = None, **fields: Any) -> list[dict[str, Any]]:
        """What it has logged so far, of one kind."""
        *whole, _ = self._log.read_text().split("\n")
        records = [json.loads(line) for line in whole if line.startswith("{")]
        return [
            record
            for record in records
            if event in (None, record["event"]) and all(record.get(key) == value for key, value in fields.items())
        ]

    def says(self, event: str, *, within: float = 30.0, **fields: Any) -> dict[str, Any]:
        """The first such record, waited for."""

        def look() -> list[dict[str, Any]]:
            found = self.records(event, **fields)
            assert found or self.process.poll() is None, f"it ended without it:\n{self._log.read_text()}"
            return found

        return eventually(look, within=within)[0]

    def told(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def ended(self, *, within: float = 30.0) -> int:
        """Its exit code, waited for."""
        return self.process.wait(within)


class Project:
    """A directory with config.yaml and jobs, on the MongoDB of the test session."""

    def __init__(self, root: Path, *, uri: str | None, database: str) -> None:
        self.root, self.database = root, database
        self.environ = {name: value for name, value in os.environ.items() if not name.startswith("JOBSERVER_")}
        self._servers: list[Server] = []
        (root / "jobs").mkdir(parents=True)
        self.configure({"mongodb": {"uri": uri, "database": database}, **QUICK})

    def configure(self, settings: Any) -> None:
        """Write config.yaml; JSON is YAML too."""
        (self.root / "config.yaml").write_text(json.dumps(settings))

    def job(self, name: str, source: str) -> Path:
        """Write jobs/<name>.py."""
        path = self.root / "jobs" / f"{name}.py"
        path.write_text("from jobserver import *\n" + dedent(source))
        return path

    def call(self, *arguments: str, timeout: float = 60.0) -> subprocess.CompletedProcess[str]:
        """Run one command to its end."""
        return subprocess.run(
            [*JOBSERVER, *arguments],
            cwd=self.root,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def asked(self, *arguments: str) -> Any:
        """The JSON that a command answers; it must succeed."""
        done = self.call(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def refused(self, *arguments: str) -> str:
        """The one sentence of a command that must fail with exit code 1."""
        done = self.call(*arguments)
        assert done.returncode == 1, (done.stdout, done.stderr)
        assert done.stderr.startswith("error: "), done.stderr
        return done.stderr

    def start(self, *arguments: str, ready: bool = True) -> Server:
        """Start a server; with `ready` wait until it says that it has started."""
        server = Server(self, arguments, self.root / f"server-{len(self._servers)}.log")
        self._servers.append(server)
        if ready:
            server.says("server started")
        return server

    def close(self) -> None:
        """End what still runs."""
        for server in self._servers:
            if server.process.poll() is None:
                server.told(signal.SIGTERM)
        for server in self._servers:
            try:
                server.process.wait(30)
            except subprocess.TimeoutExpired:
                server.process.kill()
                server.process.wait()


@contextmanager
def a_project(root: Path, client: MongoClient[dict[str, Any]], uri: str) -> Iterator[Project]:
    """A project with a database of its own, both gone afterwards."""
    project = Project(root, uri=uri, database=f"test_{uuid4().hex}")
    try:
        yield project
    finally:
        project.close()
        client.drop_database(project.database)


@pytest.fixture
def project(tmp_path: Path, mongo_client: MongoClient[dict[str, Any]], mongo_uri: str) -> Iterator[Project]:
    """A project of this test's own."""
    with a_project(tmp_path / "project", mongo_client, mongo_uri) as project:
        yield project


@pytest.fixture
def project_db(project: Project, mongo_client: MongoClient[dict[str, Any]]) -> Database[dict[str, Any]]:
    """The database of this test's project."""
    return mongo_client[project.database]
