"""`jobserver start` as a process of its own, on a scratch project."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
from pymongo.database import Database

from benchmarks.figure import NotMeasured
from benchmarks.mongod import Document, cpu_seconds
from benchmarks.peers import processes
from benchmarks.rounds import tell

REPOSITORY = Path(__file__).parents[1]
JOBS = Path(__file__).parent / "jobs"
NOOP, PICKUP = "api:noop", "api:pickup"
START_SECONDS = 60.0
LONG_STOP = 5.0  # seconds; nothing runs any more, so that is a fault to look into
# As high as it helps: a no-op gains nothing from more at once than a few claims bring.
CONCURRENCY = 1000


@dataclass(slots=True, kw_only=True)
class Server:
    """A running one, or a supervisor with its workers."""

    process: psutil.Process
    log: Path
    _read: int = field(default=0)

    def cpu_seconds(self) -> float:
        """Of all its processes together."""
        return sum(cpu_seconds(each) for each in self.processes())

    def memory(self) -> int:
        """Resident bytes of all its processes."""
        return sum(each.memory_info().rss for each in self.processes())

    def processes(self) -> list[psutil.Process]:
        """Itself and its workers."""
        return [self.process, *self.process.children(recursive=True)]

    def new_records(self) -> list[dict[str, Any]]:
        """The log records since the last call."""
        with self.log.open("rb") as log:
            log.seek(self._read)
            lines = log.read().splitlines(keepends=True)
        whole = [line for line in lines if line.endswith(b"\n")]
        self._read += sum(map(len, whole))
        return [json.loads(line) for line in whole if line.startswith(b"{")]

    def await_start(self, workers: int = 1) -> None:
        """Until each of its processes says that it knows its jobs. Raises NotMeasured."""
        seen: int = 0

        def have_started() -> bool:
            nonlocal seen
            seen += len([record for record in self.new_records() if record.get("event") == "server started"])
            return seen >= workers

        self.await_(have_started, what="the server to start", seconds=START_SECONDS)

    def await_(self, condition: Callable[[], bool], *, what: str, seconds: float) -> None:
        """Until a condition holds. Raises NotMeasured with the end of the log."""
        deadline = time.monotonic() + seconds
        while not condition():
            if not self.process.is_running() or self.process.status() == psutil.STATUS_ZOMBIE:
                raise NotMeasured(f"the server ended while waiting for {what}: {self.last_words()}")
            if time.monotonic() > deadline:
                raise NotMeasured(f"waited {seconds:.0f} s for {what}: {self.last_words()}")
            time.sleep(0.02)

    def last_words(self) -> str:
        """The last line of its log, of a traceback the last line."""
        lines = self.log.read_text(errors="replace").strip().splitlines() or ["it said nothing"]
        try:
            record = json.loads(lines[-1])
        except ValueError:
            return lines[-1][-500:]
        trouble = str(record.get("exception") or record.get("error") or "").strip().splitlines()
        return ": ".join([str(record.get("event")), *trouble[-1:]])


@contextmanager
def project(database: str, uri: str, jobs: Sequence[str] = ("noop", "pickup"), **runner: Any) -> Iterator[Path]:
    """A folder with these job files of ours, tuned for many short jobs; `runner` are more of its settings."""
    with TemporaryDirectory(prefix="jobserver-bench-", ignore_cleanup_errors=True) as folder:
        (Path(folder) / "jobs").mkdir()
        for job in jobs:
            shutil.copy(JOBS / f"{job}.py", Path(folder) / "jobs")
        write_settings(Path(folder), database=database, uri=uri, **runner)
        yield Path(folder)


def write_settings(folder: Path, *, database: str, uri: str, **runner: Any) -> None:
    """Its config.yaml, of which JSON is a part."""
    limits = {
        "max_concurrency": CONCURRENCY,
        "default_concurrency": CONCURRENCY,
        "lock_limit": 0,
        "default_lock_limit": 0,
        **runner,
    }
    settings = {"mongodb": {"uri": uri, "database": database}, "runner": {"config": limits}}
    (folder / "config.yaml").write_text(json.dumps(settings))


@contextmanager
def started(folder: Path, *, workers: int = 1) -> Iterator[Server]:
    """Its server, as soon as every worker knows its jobs; it is told to end when the block does."""
    with starting(folder, workers=workers) as server:
        server.await_start(workers)
        yield server


@contextmanager
def starting(folder: Path, *, workers: int = 1) -> Iterator[Server]:
    """The same without waiting."""
    many = ["--workers", str(workers)] if workers > 1 else []
    command: processes.Command = [sys.executable, "-m", "jobserver", "start", "--config", folder, *many]
    with processes.serve(command, folder=folder, log=folder / "server.log") as process:
        server = Server(process=psutil.Process(process.pid), log=folder / "server.log")
        yield server
        told = time.monotonic()
    if time.monotonic() - told > LONG_STOP:
        tell(f"  a server took {time.monotonic() - told:.0f} s to stop; it said: {server.last_words()}")


def set_concurrency(database: Database[Document], job: str, concurrency: int) -> None:
    """Hold a job back with 0, or let it go, as a person would: by its configuration document."""
    database.jobConfigs.update_one({"jobName": job}, {"$set": {"concurrency": concurrency}}, upsert=True)
