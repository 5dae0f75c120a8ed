"""A keeper of logs without a server around it, on real files and real buckets."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from jobserver.execution.plain_logging import RunCapture
from jobserver.execution.run_log import RunSink
from jobserver.runlogs import Bucket, Caps, LogKeeper
from jobserver.runlogs.folder import FolderBucket

T = TypeVar("T")
RUN = "6740c2f09b1e8a5d3c7f1a20:3"
ALL = 100 * 1024**2


def until(look: Callable[[], T | None], *, within: float = 20.0) -> T:
    """What `look` returns as soon as that is true."""
    deadline = time.monotonic() + within
    while not (found := look()):
        assert time.monotonic() < deadline, f"not within {within} seconds"
        time.sleep(0.02)
    return found


@dataclass
class Speaking:
    """A run, as far as its log wants to know."""

    keeper: LogKeeper
    run_id: str = RUN
    name: str = "api:report"
    _sink: RunSink | None = field(default=None)

    @property
    def sink(self) -> RunSink:
        if self._sink is None:
            self._sink = self.keeper.open(self)
        return self._sink


def a_bucket(tmp_path: Path) -> FolderBucket:
    return FolderBucket(tmp_path / "bucket", retention=timedelta(days=1))


@contextmanager
def keeping(
    tmp_path: Path,
    *,
    bucket: Bucket | None = None,
    caps: Caps | None = None,
    server: str = "server:1:abc",
    monotonic: Callable[[], float] = time.monotonic,
) -> Iterator[LogKeeper]:
    """A keeper that has started; closed at the end."""
    keeper = LogKeeper(
        bucket=bucket or a_bucket(tmp_path),
        spool=tmp_path / "spool",
        server=lambda: server,
        caps=caps or Caps(),
        capture=RunCapture(),
        monotonic=monotonic,
    )
    keeper.start()
    try:
        yield keeper
    finally:
        keeper.close(within=20)  # a disk may stand still for as long as LAST_WORDS


def kept(bucket: Bucket, run: str = RUN) -> list[dict[str, Any]]:
    """What a bucket has of this run's log so far."""
    part = bucket.read(run, 0, ALL)
    return [json.loads(line) for line in part.data.splitlines()] if part else []


def messages(bucket: Bucket, run: str = RUN) -> list[str]:
    return [record["message"] for record in kept(bucket, run)]


def has_ended(bucket: Bucket, run: str = RUN) -> bool:
    part = bucket.read(run, 0, ALL)
    return part is not None and part.ended
