"""The machines of a chaos run: each is a server, alone or as a supervisor with workers, with a way of its own."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import psutil

from tests.chaos.history import Death
from tests.network import Way
from tests.project import Project, ServerProcess

STARTED = 90.0  # seconds for a server to run jobs, while MongoDB may be away
BACK_AFTER = 1.0  # seconds until a service manager would start a dead one again


@dataclass(slots=True, kw_only=True)
class Host:
    """One server, started again whenever it has died."""

    name: str
    project: Project
    way: Way
    workers: int
    runner: Mapping[str, Any]
    deaths: list[Death]
    environ: Mapping[str, str]
    server: ServerProcess | None = None
    starts: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def is_supervised(self) -> bool:
        """Whether somebody sees a worker's end."""
        return self.workers > 1

    def start(self) -> None:
        """Begin; returns at once."""
        self.server = self.project.process(workers=self.workers, uri=self.way.uri, environ=self.environ, **self.runner)
        self.starts += 1

    def keep(self) -> bool:
        """Start it again if it has ended; whether that was so."""
        with self._lock:
            if self.server is None or self.server.code is None:
                return False
            self._note([self.server.pid])
            self.start()
            return True

    def worker_pids(self) -> list[int]:
        """The processes that run jobs."""
        assert self.server is not None
        if not self.is_supervised:
            return [self.server.pid]
        return [child.pid for child in self._children(self.server.pid)]

    def run_pids(self) -> list[int]:
        """The processes below those: zygotes, keepers and runs."""
        return [child.pid for pid in self.worker_pids() for child in self._children(pid, recursive=True)]

    def all_pids(self) -> list[int]:
        """All of them, the first one first."""
        assert self.server is not None
        return [self.server.pid, *(child.pid for child in self._children(self.server.pid, recursive=True))]

    def kill(self, pids: Sequence[int]) -> datetime:
        """SIGKILL; their ends are on record. Returns the moment before the first."""
        at = datetime.now(UTC)
        self._note(pids, at)
        send(pids, signal.SIGKILL)
        return at

    def stop(self, *, within: float = 60.0) -> int:
        """SIGTERM, and its exit code, waited for; -9 where it had to be killed."""
        assert self.server is not None
        self.server.send(signal.SIGTERM)
        deadline = time.monotonic() + within
        while (code := self.server.code) is None and time.monotonic() < deadline:
            time.sleep(0.05)
        if code is None:
            self.kill(self.all_pids())
        return -signal.SIGKILL if code is None else code

    def _note(self, pids: Sequence[int], at: datetime | None = None) -> None:
        moment = at or datetime.now(UTC)
        self.deaths += [Death(pid=pid, at=moment) for pid in pids]

    def _children(self, pid: int, *, recursive: bool = False) -> list[psutil.Process]:
        try:
            return psutil.Process(pid).children(recursive=recursive)
        except psutil.NoSuchProcess:
            return []


def send(pids: Sequence[int], number: signal.Signals) -> None:
    """To those that are still there."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def pid_of(owner: str) -> int:
    """A server's id is host:pid:nonce."""
    return int(owner.rsplit(":", 2)[1])
