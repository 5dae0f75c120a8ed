"""Log records that know their run: our logger and plain `logging`, in coroutines and in threads."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from contextvars import ContextVar
from typing import Any, Protocol

import structlog

_RESERVED = frozenset({"self", "event", "job", "run"})
_LEVELS = frozenset({"debug", "info", "warning", "error", "critical"})

_logger: Any = structlog.get_logger("jobserver.run")


class RunIdentity(Protocol):
    """Which run is speaking."""

    @property
    def name(self) -> str: ...
    @property
    def run_id(self) -> str: ...


current_run: ContextVar[RunIdentity | None] = ContextVar("jobserver_current_run", default=None)


def add_run_fields(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor: every record made inside a run carries `job` and `run`, plain `logging` included."""
    run = current_run.get()
    if run is not None:
        event.setdefault("job", run.name)
        event.setdefault("run", run.run_id)
    return event


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
        _write(self._identity, level, message, fields or {})


def log_for(run: RunIdentity, level: str, message: str, fields: Mapping[str, Any], _at: float) -> None:
    """A record that a run made in its own process, at `_at` in seconds since 1970."""
    _write(run, level if level in _LEVELS else "info", message, fields)


def _write(run: RunIdentity, level: str, message: str, fields: Mapping[str, Any]) -> None:
    extra = {f"{key}_" if key in _RESERVED else str(key): value for key, value in fields.items()}
    getattr(_logger, level)(message, **extra, job=run.name, run=run.run_id)
