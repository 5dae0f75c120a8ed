"""The door of one run's log: caps, lines, and on to the writer. Any thread may call; nothing here waits for a disk."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from jobserver.runlogs.caps import Caps, Drop, Gate
from jobserver.runlogs.record import Record, dropped_line, fitted
from jobserver.runlogs.spool import SpooledLog
from jobserver.runlogs.writer import LogWriter


class LogSink:
    """What one run says, in the order in which it is said."""

    def __init__(
        self,
        log: SpooledLog,
        *,
        caps: Caps,
        writer: LogWriter,
        monotonic: Callable[[], float],
        ended: Callable[[LogSink], None],
    ) -> None:
        self._log, self._caps, self._writer, self._monotonic = log, caps, writer, monotonic
        self._told_end = ended
        self._gate = Gate(caps)
        self._turn = threading.Lock()
        self._ended = False

    @property
    def run_id(self) -> str:
        """Whose it is."""
        return self._log.facts.run

    def admits(self) -> bool:
        """Whether the next record is within the caps: to be asked before anything is made of it."""
        with self._turn:
            return self._gate.admits(self._monotonic())

    def keep(
        self,
        level: str,
        message: str,
        fields: Mapping[str, Any],
        *,
        at: datetime | None = None,
        logger: str | None = None,
        exception: str | None = None,
    ) -> tuple[str, Mapping[str, Any], str | None]:
        """Keep an admitted record; returns message, fields and traceback cut to what a line may hold.

        After the end of the run nothing is kept any more, and the rest stays as it is.
        """
        record = Record(
            at=at or datetime.now(UTC),
            level=level,
            message=message,
            fields=fields,
            logger=logger,
            exception=exception,
        )
        cut, line = fitted(record, self._caps.line)
        with self._turn:
            self._gate.took(len(line))
            if not self._ended:
                self._tell_dropped(cut.at)
                self._put(line)
        return cut.message, cut.fields, cut.exception

    def end(self) -> None:
        """The run has ended; a second end is harmless."""
        with self._turn:
            if self._ended:
                return
            self._ended = True
            self._tell_dropped(datetime.now(UTC), at_end=True)
        self._writer.end(self._log)
        self._told_end(self)

    def _put(self, line: bytes) -> None:
        if not self._writer.put(self._log, line):
            self._gate.drop(Drop.BEHIND)

    def _tell_dropped(self, at: datetime, *, at_end: bool = False) -> None:
        for words in self._gate.told(at_end=at_end):
            self._writer.put(self._log, dropped_line(words, at, longest=self._caps.line), must=True)
