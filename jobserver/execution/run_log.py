"""Log records that know their run: our logger, plain `logging` and structlog, in coroutines and in threads.

Each record of a run passes its `RunSink` once: it is admitted, kept, and then shown in the server's own log, too.
"""

from __future__ import annotations

import traceback
from collections.abc import Mapping, MutableMapping
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Final, Protocol

import structlog

_logger: Any = structlog.get_logger("jobserver.run")
_LEVELS = frozenset({"debug", "info", "warning", "error", "critical"})
_ENVELOPE = frozenset({"event", "job", "run", "level", "logger", "timestamp", "exception"})

Shown = tuple[str, Mapping[str, Any], str | None]
"""Message, fields and traceback as the server's own log shows them: no longer than a line of the run's log."""


class RunSink(Protocol):
    """The log of one run. Any thread may call; nothing here waits for a disk, and nothing raises."""

    def admits(self) -> bool:
        """Whether the next record is within the caps: to be asked before anything is made of it."""
        ...

    def keep(
        self,
        level: str,
        message: str,
        fields: Mapping[str, Any],
        *,
        at: datetime | None = None,
        logger: str | None = None,
        exception: str | None = None,
    ) -> Shown:
        """Keep an admitted record."""
        ...

    def end(self) -> None:
        """Nothing more is kept."""
        ...


class RunIdentity(Protocol):
    """Which run is speaking."""

    @property
    def name(self) -> str: ...
    @property
    def run_id(self) -> str: ...
    @property
    def sink(self) -> RunSink: ...


class RunLogs(Protocol):
    """Who keeps the logs of runs; starting and closing may wait for disks and databases."""

    def start(self) -> None:
        """Begin; a second start is harmless."""
        ...

    def open(self, run: RunIdentity) -> RunSink:
        """The log of this run, the same for every thread that asks."""
        ...

    def close(self, within: float = ...) -> None:
        """End every log that is still open, and bring them to where they belong, as far as that goes in the time."""
        ...


class Unkept:
    """A `RunSink`, and the `RunLogs` that opens it: everything is shown, nothing is kept."""

    def start(self) -> None:
        return

    def close(self, within: float = 0.0) -> None:
        return

    def open(self, run: RunIdentity) -> RunSink:
        return self

    def admits(self) -> bool:
        return True

    def keep(
        self,
        level: str,
        message: str,
        fields: Mapping[str, Any],
        *,
        at: datetime | None = None,
        logger: str | None = None,
        exception: str | None = None,
    ) -> Shown:
        return message, fields, exception

    def end(self) -> None:
        return


UNKEPT: Final = Unkept()

current_run: ContextVar[RunIdentity | None] = ContextVar("jobserver_current_run", default=None)


def record(
    run: RunIdentity,
    level: str,
    message: str,
    fields: Mapping[str, Any] | None = None,
    *,
    at: datetime | None = None,
    logger: str | None = None,
    exception: str | None = None,
) -> None:
    """One record of this run, from whichever thread or process: within the caps kept and shown, else counted."""
    sink = run.sink
    if not sink.admits():
        return
    said = dict(fields or {})
    if exception is None and (exception := traceback_of(said.get("exc_info"))) is not None:
        del said["exc_info"]
    level = level if level in _LEVELS else "info"
    message, shown, exception = sink.keep(level, str(message), said, at=at, logger=logger, exception=exception)
    reserved = {"self", "event", "method_name", "job", "run", "exception"}
    extra = {f"{key}_" if key in reserved else str(key): value for key, value in shown.items()}
    if exception is not None:
        extra["exception"] = exception
    told = current_run.set(None)  # kept already: nothing further down must take it for another record of the run
    try:
        getattr(_logger, level)(message, **extra, job=run.name, run=run.run_id)
    finally:
        current_run.reset(told)


def add_run_fields(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor: every record made inside a run carries `job` and `run`, plain `logging` included."""
    run = current_run.get()
    if run is not None:
        event.setdefault("job", run.name)
        event.setdefault("run", run.run_id)
    return event


def admit_event(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """The first structlog processor: what is too much costs no more than this."""
    run = current_run.get()
    if run is not None and not run.sink.admits():
        raise structlog.DropEvent
    return event


def keep_event(_logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """The last structlog processor: keeps an admitted record of a run that spoke through structlog itself."""
    run = current_run.get()
    if run is None:
        return event
    fields = {key: value for key, value in event.items() if key not in _ENVELOPE}
    message, shown, exception = run.sink.keep(
        str(event.get("level", method)),
        str(event.get("event")),
        fields,
        logger=getattr(_logger, "name", None),
        exception=event.get("exception"),
    )
    kept = {key: value for key, value in event.items() if key in _ENVELOPE}
    return {**kept, **shown, "event": message, **({} if exception is None else {"exception": exception})}


def traceback_of(info: Any) -> str | None:
    """What `exc_info` stands for, as text, while the exception is still at hand; None where there is none."""
    if info is True:
        return traceback.format_exc()
    if isinstance(info, BaseException):
        return "".join(traceback.format_exception(info))
    if isinstance(info, tuple) and info[1] is not None:
        return "".join(traceback.format_exception(*info))
    return None


class RunLog:
    """`self.logger` and the `log` parameter of `run`."""

    def __init__(self, identity: RunIdentity) -> None:
        self._identity = identity

    def debug(self, message: str, fields: Mapping[str, Any] | None = None) -> None:
        """Detail for debugging."""
        self._write("debug", message, fields)

    def info(self, message: str, fields: Mapping[str, Any] | None = None) -> None:
        """General information."""
        self._write("info", message, fields)

    def warning(self, message: str, fields: Mapping[str, Any] | None = None) -> None:
        """Something that may become a problem."""
        self._write("warning", message, fields)

    def error(self, message: str, fields: Mapping[str, Any] | None = None) -> None:
        """Something that went wrong, though the run may go on."""
        self._write("error", message, fields)

    d, i, w, e = debug, info, warning, error

    def _write(self, level: str, message: str, fields: Mapping[str, Any] | None) -> None:
        record(self._identity, level, message, fields)


def log_for(run: RunIdentity, level: str, message: str, fields: Mapping[str, Any], at: float) -> None:
    """A record that a run made in its own process, `at` in seconds since 1970."""
    said = dict(fields)
    exception, logger = (said.pop(key, None) for key in ("exception", "logger"))
    record(run, level, message, said, at=datetime.fromtimestamp(at, UTC), logger=logger, exception=exception)
