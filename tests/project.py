"""A scratch project: job files, a database, servers in this process and as processes of their own.

Jobs tell what they do in the collection `notes` and wait at `gates` until a test opens them; so a test decides what
happens when, and waits for conditions in the database, never for time to pass.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from textwrap import dedent
from typing import Any, TypeVar
from uuid import uuid4

import pytest
import structlog
from pymongo import MongoClient, ReturnDocument
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import PyMongoError

from jobserver import JobServer

T = TypeVar("T")
Document = dict[str, Any]
Records = list[structlog.typing.EventDict]

WITHIN = 30.0  # seconds that a condition may take on a busy machine
QUICK: Document = {
    "process_every": 200,
    "max_concurrency": 20,
    "default_concurrency": 5,
    "lock_limit": 0,
    "default_lock_limit": 0,
    "shutdown_grace": "5 seconds",
}
LEASE = 2.0  # seconds, for tests that wait until one is over

PRELUDE = '''\
import asyncio, logging, os, signal, threading, time
from datetime import UTC, datetime, timedelta
from jobserver import *

def note(db, **facts):
    """Awaited in `async def run`, plain in `def run`."""
    return db.notes.insert_one({**facts, "at": datetime.now(UTC), "pid": os.getpid()})

async def at_gate(db, gate="gate"):
    while await db.gates.find_one({"_id": gate}) is None:
        await asyncio.sleep(0.01)

def at_gate_in_thread(db, gate="gate", stop=lambda: False):
    while db.gates.find_one({"_id": gate}) is None and not stop():
        time.sleep(0.01)

'''

NOTES = """
class {name}(Job):
    schedule = "{schedule}"
    async def run(self, db, context, data):
        await note(db, job=context.name, run=context.run_id, attempt=context.attempt, server=context.server, data=data)
"""
"""A job that notes each run."""


async def until(look: Callable[[], T], *, within: float = WITHIN) -> T:
    """What `look` returns as soon as that is true; AssertionError when the time is over. `look` may block."""
    deadline = time.monotonic() + within
    while not (found := await asyncio.to_thread(look)):
        assert time.monotonic() < deadline, f"not within {within} seconds"
        await asyncio.sleep(0.01)
    return found


class Project:
    """A directory with jobs and a database of its own on a running MongoDB."""

    def __init__(self, root: Path, *, uri: str, client: MongoClient[Document], database: str) -> None:
        self.root, self.uri, self.client, self.name = root, uri, client, database
        self.logs: Document = {}  # the settings of that section, where they matter
        self._processes: list[ServerProcess] = []
        (root / "jobs").mkdir(parents=True)

    @property
    def db(self) -> Database[Document]:
        """The project's database."""
        return self.client[self.name]

    @property
    def jobs(self) -> Collection[Document]:
        """Job documents."""
        return self.db.pulseJobs

    @property
    def configs(self) -> Collection[Document]:
        """Configuration documents."""
        return self.db.jobConfigs

    def job(self, stem: str, source: str | None = None, *, schedule: str = "manual") -> str:
        """Write jobs/<stem>.py, by default a job that notes each run; returns the job's name."""
        source = NOTES.format(name=stem.capitalize(), schedule=schedule) if source is None else dedent(source)
        path = self.root / "jobs" / f"{stem}.py"
        # As editors do: a file that is half written is nobody's concern.
        half = path.with_suffix(".half")
        half.write_text(PRELUDE + source)
        half.replace(path)
        return f"api:{stem}"

    def remove(self, stem: str) -> None:
        """Delete jobs/<stem>.py."""
        (self.root / "jobs" / f"{stem}.py").unlink()

    def settings(self, **runner: Any) -> Document:
        """Settings in the shape of config.yaml, with quick ones for the runner."""
        return {
            "mongodb": {"uri": self.uri, "database": self.name},
            "project": {"root": str(self.root)},
            "runner": {"config": {**QUICK, **runner}},
            "logs": self.logs,
        }

    @asynccontextmanager
    async def server(self, **runner: Any) -> AsyncIterator[JobServer]:
        """A server in this process, started, and shut down at the end."""
        server = await JobServer.create(None, None, None, self.settings(**runner))
        try:
            await server.start()
            yield server
        finally:
            with suppress_away():
                self.open()  # a run that still waits would make the end wait for it
            await server.shutdown()

    @asynccontextmanager
    async def servers(self, count: int, **runner: Any) -> AsyncIterator[list[JobServer]]:
        """Several servers in this process."""
        async with AsyncExitStack() as stack:
            yield [await stack.enter_async_context(self.server(**runner)) for _ in range(count)]

    def process(
        self,
        *,
        workers: int = 1,
        uri: str | None = None,
        environ: Mapping[str, str] = os.environ,
        **runner: Any,
    ) -> ServerProcess:
        """`python -m jobserver start` as a process of its own; with `workers` it is their supervisor.

        `uri` is a way of its own to MongoDB.
        """
        settings = self.settings(**runner)
        settings["mongodb"]["uri"] = uri or self.uri
        process = ServerProcess(self.root, len(self._processes), settings, workers=workers, environ=environ)
        self._processes.append(process)
        return process

    def open(self, gate: str = "gate") -> None:
        """Let runs pass that wait at this gate."""
        self.db.gates.update_one({"_id": gate}, {"$set": {"open": True}}, upsert=True)

    def notes(self, **facts: Any) -> list[Document]:
        """What jobs have told, in that order."""
        return list(self.db.notes.find(facts).sort("_id"))

    def runs(self, name: str, **facts: Any) -> list[Document]:
        """A job's history, oldest first."""
        return list(self.db.jobRuns.find({"name": name, **facts}).sort("startedAt"))

    def enqueue(self, name: str, data: Any = None, **fields: Any) -> Any:
        """Insert a job document as a client would; returns its id."""
        document = {"name": name, "type": "normal", "data": data or {}, "priority": 0, "status": "queued"}
        return self.jobs.insert_one({**document, "nextRunAt": self.now(), **fields}).inserted_id

    def now(self) -> datetime:
        """MongoDB's clock."""
        moment: datetime = self.client.admin.command("hello")["localTime"]
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)

    def document(self, id_: Any) -> Document:
        """One job document; {} when it is gone."""
        return self.jobs.find_one({"_id": id_}) or {}

    def holder(self, name: str) -> Document:
        """The document that holds a job's schedule; {} where there is none."""
        return self.jobs.find_one({"name": name, "type": "single"}) or {}

    def make_due(self, name: str) -> Document:
        """Bring a job's next occurrence forward to now; returns the document."""
        found = self.jobs.find_one_and_update(
            {"name": name, "type": "single"},
            [{"$set": {"nextRunAt": "$$NOW"}}],
            return_document=ReturnDocument.AFTER,
        )
        assert found is not None, f"{name} has no schedule"
        return found

    def bring_forward(self, id_: Any) -> None:
        """Make a waiting document due now."""
        assert self.jobs.update_one({"_id": id_}, [{"$set": {"nextRunAt": "$$NOW"}}]).modified_count == 1

    def config(self, name: str) -> Document:
        """A job's configuration document; {} where there is none."""
        return self.configs.find_one({"jobName": name}) or {}

    def shown_as_wrong(self, name: str) -> Document:
        """A job's configuration document if it carries an error; else {}."""
        return self.configs.find_one({"jobName": name, "configError": {"$exists": True}}) or {}

    def edit(self, name: str, change: Any) -> None:
        """Edit a job's configuration document by hand."""
        assert self.configs.update_one({"jobName": name}, change).matched_count == 1, f"{name} has no configuration"

    def history(self, name: str) -> list[Document]:
        """The versions of a job's configuration, oldest first."""
        return list(self.db.jobConfigHistory.find({"jobName": name}).sort("version"))

    async def ended(self, id_: Any, status: str = "completed") -> Document:
        """A document once it has come to this end."""
        return await until(lambda: self.jobs.find_one({"_id": id_, "status": status, "lockedAt": {"$exists": False}}))

    async def ran(self, name: str, data: Any = None) -> Document:
        """Enqueue a job and wait until it is completed: whatever was due before it has been looked at since."""
        return await self.ended(self.enqueue(name, data))

    def close(self) -> None:
        """End the processes that still run."""
        for process in self._processes:
            process.kill()


class ServerProcess:
    """A running `jobserver start`; its log is a file of JSON lines."""

    def __init__(
        self,
        root: Path,
        number: int,
        settings: Document,
        *,
        workers: int,
        environ: Mapping[str, str],
    ) -> None:
        self._workers = workers
        config = root / f"server-{number}.yaml"
        config.write_text(json.dumps(settings))  # JSON is YAML too
        self._log = root / f"server-{number}.log"
        environ = {name: value for name, value in environ.items() if not name.startswith("JOBSERVER_")}
        with self._log.open("wb") as out:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "jobserver", "start", "--config", str(config), "--workers", str(workers)],
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        self.pid = self._process.pid

    async def started(self, *, within: float = 30.0) -> ServerProcess:
        """Itself, once it runs jobs, and so does each of its workers."""
        await self.says("server started", within=within)
        await until(lambda: len(self.records("server started")) >= self._workers, within=within)
        return self

    async def says(self, event: str, *, within: float = 30.0, **fields: Any) -> Document:
        """The first such log record, waited for."""

        def look() -> list[Document]:
            found = self.records(event, **fields)
            assert found or self._process.poll() is None, "it ended"
            return found

        try:
            return (await until(look, within=within))[0]
        except AssertionError as error:
            raise AssertionError(f"{error}: no {event!r} with {fields} in\n{self._log.read_text()}") from None

    def records(self, event: str, **fields: Any) -> list[Document]:
        """Log records of one kind."""
        return [
            record for record in self.everything() if record.get("event") == event and fields.items() <= record.items()
        ]

    def everything(self) -> list[Document]:
        """All log records so far."""
        return [json.loads(line) for line in self._log.read_text().splitlines(keepends=True) if _is_whole(line)]

    def text(self) -> str:
        """All that it has written, stderr included."""
        return self._log.read_text()

    @property
    def id(self) -> str:
        """Under which id it has registered."""
        return str(self.records("server started")[0]["server"])

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def has_ended(self) -> bool:
        """Whether the process is gone."""
        return self.code is not None

    @property
    def code(self) -> int | None:
        """Its exit code; None while it runs."""
        return self._process.poll()

    def kill(self) -> None:
        """SIGKILL, and wait for its end; harmless after it."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()

    async def exit_code(self, *, within: float = 30.0) -> int:
        """Its exit code, waited for; minus the number of the signal that ended it."""
        await until(self.has_ended, within=within)
        return int(self._process.returncode)


def forgive_cut_off_connects(items: Sequence[pytest.Item], folder: Path) -> None:
    """A server in this process that ends while PyMongo still connects leaves a socket for the garbage collector."""
    for item in items:
        if folder in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"))


@contextmanager
def scratch_project(root: Path, client: MongoClient[Document], uri: str) -> Iterator[Project]:
    """A project whose processes and database are gone afterwards."""
    project = Project(root, uri=uri, client=client, database=f"test_{uuid4().hex}")
    try:
        yield project
    finally:
        project.close()
        with suppress_away():
            client.drop_database(project.name)


@contextmanager
def suppress_away() -> Iterator[None]:
    """A MongoDB that a test has ended keeps nothing either."""
    try:
        yield
    except PyMongoError:
        return


def _is_whole(line: str) -> bool:
    return line.startswith("{") and line.endswith("\n")
