"""What is measured while it lasts: of each server process from outside and from inside, and of the collections."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from tests.project import Project

MEGABYTE = 1_000_000
Series = list[tuple[float, float]]


@dataclass(slots=True, kw_only=True)
class Watched:
    """One process from its first sample on; `name` says what it is, `series` are (seconds, value) by what they are."""

    name: str
    pid: int
    series: dict[str, Series] = field(default_factory=dict)
    names: list[Mapping[str, int]] = field(default_factory=list)

    def add(self, what: str, at: float, value: float) -> None:
        """One value more."""
        self.series.setdefault(what, []).append((at, value))

    def since(self, what: str, begin: float) -> Series:
        """Its values from then on."""
        return [point for point in self.series.get(what, []) if point[0] >= begin]


class Samples:
    """Everything of one soak; moments are seconds of `time.monotonic`."""

    def __init__(self, project: Project, folder: Path) -> None:
        self._project, self._folder = project, folder
        self._watched: dict[int, tuple[Watched, psutil.Process]] = {}
        self.collections: dict[str, Series] = {}
        self.spool: Series = []

    @property
    def processes(self) -> list[Watched]:
        """All that were ever watched."""
        return [watched for watched, _ in self._watched.values()]

    def watch(self, name: str, pid: int) -> None:
        """Measure this process from now on, until it ends."""
        if pid not in self._watched:
            self._watched[pid] = (Watched(name=name, pid=pid), psutil.Process(pid))

    def look_at_processes(self) -> None:
        """From outside, each that still lives."""
        now = time.monotonic()
        for watched, process in self._watched.values():
            if process.is_running():  # a number is soon given to another process
                for what, value in _outside(process):
                    watched.add(what, now, value)

    def look_at_collections(self) -> None:
        """How many documents there are, but for those that are kept for ever: one-offs, and what was edited."""
        now, db = time.monotonic(), self._project.db
        counts = {name: db[name].estimated_document_count() for name in COLLECTIONS}
        counts["pulseJobs"] -= db.pulseJobs.count_documents({"oneOff": True})
        for name, count in counts.items():
            self.collections.setdefault(name, []).append((now, float(count)))
        files = sum(1 for path in (self._project.root / ".jobserver").rglob("*") if path.is_file())
        self.spool.append((now, float(files)))

    def read_inside(self) -> None:
        """What the processes have told of themselves."""
        for watched, _ in self._watched.values():
            for told in _told(self._folder / f"{watched.pid}.jsonl"):
                watched.add("tasks", told["at"], told["tasks"])
                if told["held"] is not None:
                    watched.add("held", told["at"], told["held"])
                watched.names.append(told["names"])
                for lag, unserved in told["lags"]:
                    watched.add("lag", told["at"], lag)
                    watched.add("own lag", told["at"], max(0.0, lag - unserved))


COLLECTIONS = ("pulseJobs", "jobConfigs", "jobRuns", "jobLogs.files", "jobLogs.chunks", "jobServers")


def between(series: Sequence[tuple[float, float]], begin: float, end: float) -> list[float]:
    """The values of this time."""
    return [value for at, value in series if begin <= at < end]


def _outside(process: psutil.Process) -> Iterator[tuple[str, float]]:
    try:
        with process.oneshot():
            memory, threads = process.memory_info().rss, process.num_threads()
        descriptors = process.num_fds()
        sockets = len(process.net_connections(kind="all"))
    except psutil.Error:  # it has ended
        return
    yield "megabytes", memory / MEGABYTE
    yield "threads", threads
    yield "descriptors", descriptors
    yield "sockets", sockets


def _told(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
