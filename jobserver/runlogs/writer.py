"""One thread writes the lines of all runs into their local files."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from queue import SimpleQueue

import structlog

from jobserver.runlogs.caps import Caps, Drop, Gate
from jobserver.runlogs.record import dropped_line
from jobserver.runlogs.spool import SpooledLog

LARGEST_QUEUE = 16 * 1024**2  # bytes
GATHER = 0.1  # seconds: lines go to the disk together, and none waits longer

_log = structlog.get_logger("jobserver")
_Item = tuple[SpooledLog, bytes | None]


class LogWriter:
    """Takes lines from any thread without waiting; what does not fit is refused, so that memory stays what it is."""

    def __init__(self, *, caps: Caps, written: Callable[[SpooledLog], None]) -> None:
        self._caps, self._written = caps, written
        # A queue in C: nothing that is raised in a job's thread can leave it half changed.
        self._queue: SimpleQueue[_Item | None] = SimpleQueue()
        self._turn = threading.Lock()
        self._waiting = 0
        self._closing = threading.Event()
        self._complained = False
        self._thread = threading.Thread(target=self._write_all, name="run logs", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def put(self, log: SpooledLog, line: bytes, *, must: bool = False) -> bool:
        """Write this line soon; False when too much waits. A line that `must` go is as short as it is rare."""
        size = len(line)
        with self._turn:
            if self._waiting + size > LARGEST_QUEUE and not must:
                return False
            self._waiting += size
        self._queue.put((log, line))
        return True

    def end(self, log: SpooledLog) -> None:
        """Nothing comes after what was put."""
        self._queue.put((log, None))

    def close(self, timeout: float) -> None:
        """Write what waits, then end."""
        self._closing.set()
        self._queue.put(None)
        if self._thread.is_alive():
            self._thread.join(timeout)

    def _write_all(self) -> None:
        while (first := self._queue.get()) is not None:
            self._closing.wait(GATHER)
            items = [first, *(self._queue.get() for _ in range(self._queue.qsize()))]
            self._write_batch([item for item in items if item is not None])
            if items[-1] is None:
                return

    def _write_batch(self, items: list[_Item]) -> None:
        batch: dict[SpooledLog, list[bytes]] = {}
        for log, line in items:
            batch.setdefault(log, []).append(line or b"")
        with self._turn:
            self._waiting -= sum(len(line) for lines in batch.values() for line in lines)
        for log, lines in batch.items():
            self._write(log, [line for line in lines if line])
            log.ended = log.ended or b"" in lines  # after the last byte: who sees it ended has to see all of it
            self._written(log)

    def _write(self, log: SpooledLog, lines: list[bytes]) -> None:
        missing = [_missing_line(log, self._caps)] if log.lost else []
        if not lines and not missing:
            return
        try:
            log.write(b"".join([*missing, *lines]))
        except OSError as error:
            log.lost += len(lines)
            self._complain(log, error)
            return
        log.lost = 0
        self._complained = False

    def _complain(self, log: SpooledLog, error: OSError) -> None:
        """Once, until the disk takes something again: of a full one everybody would speak at once."""
        if not self._complained:
            self._complained = True
            _log.warning("run log not written", run=log.facts.run, folder=str(log.path.parent), error=str(error))


def _missing_line(log: SpooledLog, caps: Caps) -> bytes:
    gate = Gate(caps)
    gate.drop(Drop.UNWRITABLE, log.lost)
    (words,) = gate.told()
    return dropped_line(words, datetime.now(UTC), longest=caps.line)
