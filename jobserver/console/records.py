"""Every log record of the process, on its way to one thread that writes."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TextIO

import structlog

from jobserver.execution.plain_logging import shown
from jobserver.execution.run_log import add_run_fields, admit_event, keep_event, traceback_of

Record = Mapping[str, Any]
Item = Record | Callable[[], str]

LONGEST_QUEUE = 10_000
PATIENCE_AT_END = 2.0  # seconds for the last lines, in case nobody reads

_ENVELOPE = ("timestamp", "level", "logger")


class RecordWriter:
    """Writes records in order, on its own thread; never blocks who speaks."""

    def __init__(self, stream: TextIO, *, line_of: Callable[[Record], str | None]) -> None:
        self._stream, self._line_of = stream, line_of
        self._waiting: deque[Item] = deque()
        self._changed = threading.Condition()
        self._dropped = 0
        self._closing = False
        self._thread = threading.Thread(target=self._write_all, name="console", daemon=True)
        self._thread.start()

    def take(self, record: Record) -> None:
        """Write this record soon."""
        self._put(record)

    def say(self, words: Callable[[], str]) -> None:
        """Ask for these words when it is their turn, and write them as they are."""
        self._put(words)

    def close(self) -> None:
        """Write what is left, as far as somebody reads it; a second close is harmless."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(PATIENCE_AT_END)

    def _put(self, item: Item) -> None:
        with self._changed:
            if len(self._waiting) >= LONGEST_QUEUE:
                self._dropped += 1
            else:
                self._waiting.append(item)
                self._changed.notify()

    def _write_all(self) -> None:
        while (batch := self._next_batch()) is not None:
            lines = [item() if callable(item) else self._line_of(item) for item in batch]
            try:
                self._stream.write("".join(f"{line}\n" for line in lines if line))
                self._stream.flush()
            except (BrokenPipeError, ValueError):
                return  # the reader is gone, or the stream is closed: nothing can be said any more
            except OSError:  # the disk is full, and will not be for ever
                with self._changed:
                    self._dropped += len(batch)

    def _next_batch(self) -> list[Item] | None:
        with self._changed:
            while not self._waiting and not self._closing:
                self._changed.wait()
            if not self._waiting:
                return None
            batch = list(self._waiting)
            self._waiting.clear()
            if self._dropped:
                batch.append(_stamped({"event": "log records dropped", "level": "warning", "count": self._dropped}))
                self._dropped = 0
            return batch


@contextmanager
def recording(writer: RecordWriter, *, verbose: bool = False) -> Iterator[None]:
    """Send structlog and plain `logging` to the writer, and close it at the end."""
    level = logging.DEBUG if verbose else logging.INFO
    bridge = _Bridge(writer)
    root = logging.getLogger()
    root.addHandler(bridge)
    root.setLevel(logging.INFO)  # other people's debug records are nobody's concern, verbose or not
    structlog.configure(
        processors=[
            admit_event,
            _beside_ours,
            add_run_fields,
            structlog.processors.add_log_level,
            _with_traceback,
            keep_event,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *names: _Mouth(writer, *names),
        cache_logger_on_first_use=False,
    )
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        root.removeHandler(bridge)
        structlog.reset_defaults()
        writer.close()


class _Mouth:
    """What structlog speaks into: one per logger, all into the same writer."""

    def __init__(self, writer: RecordWriter, name: str = "jobserver") -> None:
        self._writer, self.name = writer, name

    def msg(self, /, **record: Any) -> None:
        self._writer.take(_stamped({"logger": self.name, **record}))

    debug = info = warning = warn = error = critical = fatal = exception = log = msg


class _Bridge(logging.Handler):
    """Plain `logging`, for jobs and libraries that know nothing of us."""

    def __init__(self, writer: RecordWriter) -> None:
        super().__init__()
        self._writer = writer

    def emit(self, record: logging.LogRecord) -> None:
        told = shown(record)
        if told is None:
            return
        message, fields, trace = told
        extra = _beside_ours(None, "", dict(fields))
        event = {"logger": record.name, "event": message, "level": record.levelname.lower()}
        exception = {} if trace is None else {"exception": trace}
        self._writer.take(_stamped(dict(add_run_fields(None, "", {**extra, **event, **exception}))))


def _beside_ours(_logger: Any, _method: str, event: Any) -> Any:
    """A job's own field `timestamp` or `level` stays readable, and ours stays ours."""
    for key in _ENVELOPE:
        if key in event:
            event[f"{key}_"] = event.pop(key)
    return event


def _with_traceback(_logger: Any, _method: str, event: Any) -> Any:
    """`exc_info` as text, while the exception is still at hand."""
    if (trace := traceback_of(event.pop("exc_info", None))) is not None:
        event["exception"] = trace
    return event


def _stamped(event: dict[str, Any]) -> Record:
    return {"timestamp": datetime.now(UTC), **event}
