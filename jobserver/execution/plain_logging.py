"""Plain `logging` inside a run: heard at the root, kept once, whoever hears it first."""

from __future__ import annotations

import logging
from typing import Any

from jobserver.execution.run_log import Shown, current_run, traceback_of

STANDARD_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_SHOWN = "_jobserver_shown"


class RunCapture(logging.Handler):
    """A handler for the root logger: what a run says comes into its log, whatever else listens."""

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it, where a run has said it."""
        if current_run.get() is not None:
            shown(record)


def shown(record: logging.LogRecord) -> Shown | None:
    """The record as the server's own log shows it; None where it was beyond the caps of its run.

    Several handlers may ask for one record: it is judged, and kept, the first time.
    """
    if _SHOWN not in record.__dict__:
        record.__dict__[_SHOWN] = _judged(record)
    told: Shown | None = record.__dict__[_SHOWN]
    return told


def _judged(record: logging.LogRecord) -> Shown | None:
    run = current_run.get()
    if run is not None and not run.sink.admits():
        return None
    fields = fields_of(record)
    message, exception = message_of(record), traceback_of(record.exc_info)
    if run is None:
        return message, fields, exception
    level = record.levelname.lower()
    return run.sink.keep(level, message, fields, logger=record.name, exception=exception)


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """What its speaker has added to it."""
    return {key: value for key, value in vars(record).items() if key not in STANDARD_FIELDS and key != _SHOWN}


def message_of(record: logging.LogRecord) -> str:
    """What it says, also where its arguments do not fit its words."""
    try:
        return record.getMessage()
    except Exception as error:  # "%d" with a text: the mistake of a job must not end in a lost record
        return f"{record.msg!r} {record.args!r} ({error})"
