"""A mongod of our own in a temporary directory, and what it says of its work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import psutil
from pymongo import MongoClient
from pymongo.database import Database

from jobserver.embedded import EmbeddedMongo

Document = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mongod:
    """Where it is, and a client of its."""

    uri: str
    pid: int
    client: MongoClient[Document]

    @property
    def version(self) -> str:
        """As it says itself."""
        return str(self.client.server_info()["version"])

    def cpu_seconds(self) -> float:
        """What it has used so far."""
        return cpu_seconds(psutil.Process(self.pid))

    def write_conflicts(self) -> int:
        """How often it had to begin a write anew because another had changed the document."""
        return int(self.client.admin.command("serverStatus")["metrics"]["operation"]["writeConflicts"])

    @contextmanager
    def scratch_database(self) -> Iterator[Database[Document]]:
        """A database that is dropped in the end."""
        name = f"bench_{uuid4().hex}"
        try:
            yield self.client[name]
        finally:
            self.client.drop_database(name)


@contextmanager
def mongod(*, cache_gb: float = 1.0) -> Iterator[Mongod]:
    """A replica set of one; it ends with this block, and with this process however that ends."""
    with (
        without_client(cache_gb=cache_gb) as embedded,
        MongoClient[Document](embedded.uri, tz_aware=True, appname="benchmarks") as client,
    ):
        yield Mongod(uri=embedded.uri, pid=embedded.pid, client=client)


@contextmanager
def without_client(*, cache_gb: float = 1.0) -> Iterator[EmbeddedMongo]:
    """The same, left in peace: a client of ours would send commands of its own."""
    with (
        TemporaryDirectory(prefix="jobserver-bench-mongod-", ignore_cleanup_errors=True) as folder,
        EmbeddedMongo.start(Path(folder), cache_gb=cache_gb) as embedded,
    ):
        yield embedded


def cpu_seconds(process: psutil.Process) -> float:
    """User and system time of a process, as the kernel counts it."""
    times = process.cpu_times()
    return times.user + times.system
