"""Everything that a run says in its own process, into its log: prints, `logging` and structlog, in one order."""

from __future__ import annotations

import io
import logging
import sys
import threading
from collections.abc import Callable, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any

import structlog

from jobserver.execution.plain_logging import fields_of, message_of
from jobserver.execution.process.lines import Lines
from jobserver.execution.run_log import traceback_of

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

Log = Callable[[str, str, Mapping[str, Any]], None]
"""Level, message, fields."""

_OURS = ("job", "run")


def capture(log: Log, *, level: int) -> Callable[[], None]:
    """Take over what this process says; call what comes back at the end, for lines that were begun.

    `level` is that of plain `logging`.
    """
    streams = [_stream(log, name, descriptor) for name, descriptor in (("stdout", 1), ("stderr", 2))]
    sys.stdout, sys.stderr = (text for text, _ in streams)
    root = logging.getLogger()
    root.handlers[:] = [_Bridge(log)]
    root.setLevel(level)
    logging.captureWarnings(True)
    structlog.configure(
        processors=[structlog.processors.add_log_level, _with_traceback],
        wrapper_class=structlog.make_filtering_bound_logger(logging.NOTSET),  # the server has the filter
        logger_factory=lambda *_names: _Mouth(log),
        cache_logger_on_first_use=False,
    )

    def end() -> None:
        for text, lines in streams:
            text.flush()
            lines.end()

    return end


class _LineWriter(io.RawIOBase):
    """Bytes in, records out; the descriptor is the true one, for programs that are started with it."""

    def __init__(self, lines: Lines, descriptor: int) -> None:
        self._lines, self._descriptor = lines, descriptor
        self._turn = threading.RLock()  # a signal handler may print while the same thread prints

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def write(self, data: ReadableBuffer, /) -> int:
        written = bytes(data)
        with self._turn:
            self._lines.feed(written)
        return len(written)


class _Bridge(logging.Handler):
    """Plain `logging`."""

    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        fields = {"logger": record.name, **fields_of(record)}
        if (trace := traceback_of(record.exc_info)) is not None:
            fields["exception"] = trace
        self._log(record.levelname.lower(), message_of(record), fields)


class _Mouth:
    """What structlog speaks into, our own logger too."""

    def __init__(self, log: Log) -> None:
        self._log = log

    def msg(self, /, **record: Any) -> None:
        level, message = record.pop("level", "info"), str(record.pop("event", ""))
        self._log(level, message, {key: value for key, value in record.items() if key not in _OURS})

    debug = info = warning = warn = error = critical = fatal = exception = log = msg


def _stream(log: Log, name: str, descriptor: int) -> tuple[io.TextIOWrapper, Lines]:
    fields = {"stream": name}
    lines = Lines(lambda line: log("info", line, fields), grants=lambda _size: True)  # the channel has the bound
    writer: Any = _LineWriter(lines, descriptor)
    text = io.TextIOWrapper(writer, encoding="utf-8", errors="backslashreplace", write_through=True)
    return text, lines


def _with_traceback(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    if (trace := traceback_of(event.pop("exc_info", None))) is not None:
        event["exception"] = trace
    return event
