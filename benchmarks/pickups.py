"""How long it takes from an insert by another process to the first line of `run`."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pymongo.database import Database

from benchmarks.figure import NotMeasured, percentile
from benchmarks.mongod import Document
from benchmarks.peers import processes
from benchmarks.servers import PICKUP, REPOSITORY, Server
from jobserver import SyncJobClient

COLLECTION = "pulseJobs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pickups:
    """Milliseconds, one per job: from just before the insert, and from its acknowledgement (negative: even earlier)."""

    from_insert: tuple[float, ...]
    from_acknowledgement: tuple[float, ...]

    def p(self, percent: float) -> float:
        """A percentile from just before the insert."""
        return percentile(self.from_insert, percent)


def pickups(
    database: Database[Document], server: Server, folder: Path, uri: str, *, rate: int, seconds: float
) -> Pickups:
    """Of a running server whose project is in `folder`."""
    moments = insert_steadily(database, folder, uri, rate=rate, seconds=seconds)
    written = folder / "began.json"
    written.unlink(missing_ok=True)
    _await_empty_queue(database, server)
    SyncJobClient(database).enqueue(PICKUP, {"write_to": str(written)})
    server.await_(written.exists, what="the moments at which runs began", seconds=60)
    return _latencies(moments, dict(json.loads(written.read_text())))


def event_latencies(database: Database[Document], folder: Path, uri: str, *, rate: int, seconds: float) -> Pickups:
    """The limit: the same inserts, and a change stream that only notes when it hears of each."""
    ended, opened = threading.Event(), threading.Event()
    heard: dict[int, int] = {}
    listening = threading.Thread(target=_listen, args=(database, heard, opened, ended), daemon=True)
    listening.start()
    try:
        opened.wait(30)
        moments = insert_steadily(database, folder, uri, rate=rate, seconds=seconds)
        _wait_until(lambda: len(moments) - 1 in heard, seconds=30)
    finally:
        ended.set()
        listening.join(30)
    return _latencies(moments, heard)


def insert_steadily(
    database: Database[Document], folder: Path, uri: str, *, rate: int, seconds: float
) -> list[tuple[int, int]]:
    """In a process of its own; when each insert began and ended."""
    command = [sys.executable, "-m", "benchmarks.steady_inserts", uri, database.name, PICKUP, str(rate), str(seconds)]
    log = folder / "inserts.log"
    moments = json.loads(processes.run(command, folder=REPOSITORY, log=log, timeout=seconds * 5 + 60))
    return [(sent, acknowledged) for sent, acknowledged in moments]


def _listen(
    database: Database[Document], heard: dict[int, int], opened: threading.Event, ended: threading.Event
) -> None:
    inserts: list[Any] = [
        {"$match": {"operationType": "insert"}},
        {"$project": {"number": "$fullDocument.data.number"}},
    ]
    with database[COLLECTION].watch(inserts, max_await_time_ms=500) as events:
        opened.set()
        while not ended.is_set():
            event = events.try_next()
            if event is not None:
                heard[event["number"]] = time.time_ns()


def _await_empty_queue(database: Database[Document], server: Server) -> None:
    waiting = {"name": PICKUP, "nextRunAt": {"$exists": True}}
    server.await_(lambda: database[COLLECTION].find_one(waiting) is None, what="the last jobs", seconds=120)


def _latencies(moments: list[tuple[int, int]], began: Mapping[int, int]) -> Pickups:
    missing = [number for number in range(len(moments)) if number not in began]
    if missing:
        raise NotMeasured(f"{len(missing)} of {len(moments)} inserts were never noticed")
    return Pickups(
        from_insert=tuple((began[number] - sent) / 1e6 for number, (sent, _) in enumerate(moments)),
        from_acknowledgement=tuple((began[number] - had) / 1e6 for number, (_, had) in enumerate(moments)),
    )


def _wait_until(condition: Callable[[], bool], *, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
