"""Opens a log for each run that says something, and ends them all with the server."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol
from urllib.parse import quote

from jobserver.runlogs.bucket import Bucket, RunFacts
from jobserver.runlogs.caps import Caps
from jobserver.runlogs.shipping import Shipper
from jobserver.runlogs.sink import LogSink
from jobserver.runlogs.spool import SpooledLog, SpoolFolder
from jobserver.runlogs.writer import LogWriter

LAST_WORDS = 3.0  # seconds


class Speaker(Protocol):
    """Whose log is opened."""

    @property
    def name(self) -> str: ...
    @property
    def run_id(self) -> str: ...


class LogKeeper:
    """The logs of all runs of one server. `capture` is who hears plain `logging`, from the start to the end."""

    def __init__(
        self,
        *,
        bucket: Bucket,
        spool: Path,
        server: Callable[[], str],
        caps: Caps,
        capture: logging.Handler,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._caps, self._server, self._spool = caps, server, spool
        self._capture, self._monotonic = capture, monotonic
        self._shipper = Shipper(bucket=bucket, spool=spool)
        self._writer = LogWriter(caps=caps, written=self._shipper.written)
        self._open: dict[str, LogSink] = {}
        self._turn = threading.Lock()
        self._folder: SpoolFolder | None = None
        self._started = False

    def start(self) -> None:
        """Begin, with what dead servers have left on this machine; a second start is harmless."""
        if not self._started:
            self._started = True
            self._writer.start()
            self._shipper.start()
            logging.getLogger().addHandler(self._capture)

    def open(self, run: Speaker) -> LogSink:
        """The log of this run, the same for every thread that asks. Touches no disk."""
        with self._turn:
            sink = self._open.get(run.run_id)
            if sink is None:
                sink = self._open[run.run_id] = self._sink(run)
            return sink

    def close(self, within: float = LAST_WORDS) -> None:
        """End every log, write and ship what is there; what the bucket does not take now stays for the next start.

        `within` so many seconds for the disk, and then as many for the bucket at the most.
        """
        logging.getLogger().removeHandler(self._capture)
        with self._turn:
            left = list(self._open.values())
        for sink in left:
            sink.end()
        self._writer.close(within)
        self._shipper.close(within)
        if self._folder is not None:
            self._folder.close()

    def _sink(self, run: Speaker) -> LogSink:
        server = self._server()
        if self._folder is None:
            self._folder = SpoolFolder(self._spool / quote(server or "unregistered", safe=""))
        job_id, _, _ = run.run_id.rpartition(":")
        facts = RunFacts(run=run.run_id, job=run.name, job_id=job_id, server=server)
        return LogSink(
            SpooledLog(self._folder, facts),
            caps=self._caps,
            writer=self._writer,
            monotonic=self._monotonic,
            ended=self._ended,
        )

    def _ended(self, sink: LogSink) -> None:
        with self._turn:
            self._open.pop(sink.run_id, None)
