"""The lines of a run's log as a person reads them: moment, level, message, fields; tracebacks below."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, TextIO

from jobserver.console.terminal import Palette
from jobserver.words import printable

LEVELS = ("debug", "info", "warning", "error", "critical")
_COLOURS = {"debug": "dim", "info": "cyan", "warning": "yellow", "error": "red", "critical": "red"}


class LinePrinter:
    """Takes the bytes of a log as they come, prints whole lines."""

    def __init__(self, out: TextIO, *, at_least: str | None, as_json: bool) -> None:
        self._out, self.as_json = out, as_json
        self._wanted = frozenset(LEVELS[LEVELS.index(at_least) :]) if at_least else None
        self._palette = Palette.of(out)
        self._rest = b""
        self._today = datetime.now().astimezone().date()
        self.has_printed = False

    def take(self, data: bytes) -> None:
        """Print the lines that end in it; the beginning of another one waits for the rest."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._line(line)
        self._out.flush()

    def _line(self, line: bytes) -> None:
        text = line.decode("utf-8", "backslashreplace")
        record = _record(text)
        if self._wanted is not None and record.get("level", "info") not in self._wanted:
            return
        self.has_printed = True
        self._out.write(f"{text if self.as_json else self._shown(record)}\n")

    def _shown(self, record: dict[str, Any]) -> str:
        p = self._palette
        level = printable(str(record.get("level", "")))
        colour = getattr(p, _COLOURS.get(level, "off"))
        message = _indented(str(record.get("message", "")))
        fields = record.get("fields")
        tail = "".join(f"  {p.dim}{_indented(key)}={p.off}{_value(item)}" for key, item in _items(fields))
        name = f"  {p.dim}({printable(str(record['logger']))}){p.off}" if record.get("logger") else ""
        head = f"{p.dim}{self._clock(record)}{p.off} {colour}{level:<8}{p.off} {message}{tail}{name}"
        trace = str(record.get("exception") or "").rstrip().splitlines()
        return "\n".join([head, *(f"    {p.dim}{printable(each)}{p.off}" for each in trace)])

    def _clock(self, record: dict[str, Any]) -> str:
        try:
            moment = datetime.fromisoformat(str(record.get("time"))).astimezone()
        except ValueError:
            return "--:--:--.---"
        date = "" if moment.date() == self._today else f"{moment:%Y-%m-%d} "
        return f"{date}{moment:%H:%M:%S}.{moment.microsecond // 1000:03d}"


def _record(text: str) -> dict[str, Any]:
    """A line that is no record, in a file that a hand has changed, is a message."""
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {"message": text}


def _items(fields: Any) -> list[tuple[str, Any]]:
    """Those that say something: a line without more is what was printed, `stream=stderr` tells the other."""
    found = [(str(key), item) for key, item in fields.items()] if isinstance(fields, dict) else []
    return [each for each in found if each != ("stream", "stdout")]


def _value(item: Any) -> str:
    is_word = isinstance(item, str) and item and " " not in item
    return _indented(str(item) if is_word else json.dumps(item, ensure_ascii=False))


def _indented(text: str) -> str:
    """What a job has logged, under its own line where it has several."""
    return printable(text).replace("\n", "\n    ")
