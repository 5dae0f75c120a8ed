"""A mongod that can be taken away and brought back."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from pymongo import MongoClient

from jobserver.embedded import EmbeddedMongo
from jobserver.embedded.binary import find_mongod


class OwnMongo:
    """A mongod that only this test has, to be stopped and started at will."""

    def __init__(self, directory: Path, *, extra_args: Sequence[str] = ()) -> None:
        self._directory, self._extra_args = directory, extra_args
        self._embedded = self._started()
        self.uri = self._embedded.uri

    def stall(self) -> None:
        """It answers nothing from now on."""
        os.kill(self._embedded.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """It answers again."""
        os.kill(self._embedded.pid, signal.SIGCONT)

    def crash(self) -> None:
        """It is gone, without a chance to tidy up."""
        os.kill(self._embedded.pid, signal.SIGKILL)
        self._embedded.close()

    @property
    def has_ended(self) -> bool:
        """Whether it has given up by itself."""
        return not psutil.pid_exists(self._embedded.pid) or (
            psutil.Process(self._embedded.pid).status() == psutil.STATUS_ZOMBIE
        )

    def end(self) -> None:
        """It ends in order; a second end is harmless."""
        self._embedded.close()

    def start(self) -> None:
        """It comes back with its data, under the same URI."""
        self._embedded = self._started()
        assert self._embedded.uri == self.uri

    def _started(self) -> EmbeddedMongo:
        return EmbeddedMongo.start(self._directory, cache_gb=0.25, extra_args=self._extra_args)


@contextmanager
def standalone(directory: Path, *arguments: str) -> Iterator[str]:
    """A mongod that is no replica set."""
    directory.mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        find_mongod(),
        "--dbpath",
        directory,
        "--port",
        port,
        "--bind_ip",
        "127.0.0.1",
        "--nounixsocket",
        *arguments,
    ]
    with subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL) as process:
        try:
            yield f"mongodb://127.0.0.1:{port}"
        finally:
            process.terminate()


@contextmanager
def forgetful(directory: Path) -> Iterator[str]:
    """A replica set of one whose oplog holds a megabyte; it is cut off at checkpoints, so they come often."""
    with standalone(directory, "--replSet", "rs0", "--oplogSize", "1", "--syncdelay", "1") as uri:
        address = uri.removeprefix("mongodb://")
        with MongoClient[dict[str, Any]](f"{uri}/?directConnection=true") as client:
            members = [{"_id": 0, "host": address}]
            client.admin.command("replSetInitiate", {"_id": "rs0", "members": members})
            deadline = time.monotonic() + 30
            while not client.admin.command("hello")["isWritablePrimary"]:
                assert time.monotonic() < deadline, "it became no primary"
                time.sleep(0.05)
        yield f"{uri}/?replicaSet=rs0"
