"""One line per record, for a person at a terminal: what is shown when, by whom and in which colour."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TextIO

from jobserver.console.wording import Record, worded
from jobserver.words import plain, printable

QUIET_UNTIL_READY = frozenset({"job found", "server started", "server stopping"})
AFTER_THE_HEADER = frozenset({"run ended", "occurrence not started"})
SAID_BY_THE_FIRST = frozenset(
    {"job found", "job changed", "job removed", "job file broken", "job file sound"}
    | {"config applied", "config refused", "config full", "config recreated", "server started"}
)
SAID_BY_THE_SUPERVISOR = frozenset({"server stopping", "server stopped"})
AWAY_EVERY = 30.0  # seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Palette:
    """Colours, or none."""

    red: str = ""
    green: str = ""
    yellow: str = ""
    cyan: str = ""
    dim: str = ""
    bold: str = ""
    off: str = ""

    @classmethod
    def of(cls, stream: TextIO) -> Palette:
        """What this stream can show: nothing where it is no terminal, or where NO_COLOR says so."""
        if not stream.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
            return cls()
        return cls(
            red="\x1b[31m",
            green="\x1b[32m",
            yellow="\x1b[33m",
            cyan="\x1b[36m",
            dim="\x1b[2m",
            bold="\x1b[1m",
            off="\x1b[0m",
        )


class Terminal:
    """Turns records into lines. Under a supervisor each line begins with the worker's number, and only worker 1 says
    what all of them know."""

    def __init__(self, *, palette: Palette, verbose: bool = False, worker: int | None = None) -> None:
        self._palette, self._verbose, self._worker = palette, verbose, worker
        self._held: list[str] | None = []  # until the header stands, what is not urgent waits
        self._away_said_at: float | None = None

    def opened(self, lines: Iterable[str]) -> str:
        """The header, and after it what has waited for it."""
        held, self._held = self._held or [], None
        return "\n".join([*lines, *held])

    def lines_of(self, record: Record) -> str | None:
        """The record as one or more lines; None where it says nothing to a person."""
        event = str(record.get("event"))
        if self._worker is not None and event in SAID_BY_THE_SUPERVISOR:
            return None
        if self._worker not in (None, 1) and event in SAID_BY_THE_FIRST:
            return None
        if self._held is not None and event in QUIET_UNTIL_READY:
            return None
        if event == "mongodb away" and self._said_lately():
            return None
        text = self._rendered(record, event)
        if self._held is not None and (record.get("level") in ("info", "debug") or event in AFTER_THE_HEADER):
            self._held.append(text)
            return None
        return text

    def _said_lately(self) -> bool:
        """Every chore notices that MongoDB is away, again and again; a person wants to hear it now and then."""
        now = time.monotonic()
        if self._away_said_at is not None and now - self._away_said_at < AWAY_EVERY:
            return True
        self._away_said_at = now
        return False

    def _rendered(self, record: Record, event: str) -> str:
        mark, colour, text = worded(record, event)
        p = self._palette
        style = getattr(p, colour) if colour else ""
        who = f"{p.dim}[{self._worker}]{p.off} " if self._worker else ""
        line = f"{p.dim}{_clock(record)}{p.off} {who}{style}{mark}{p.off} {printable(text)}"
        return "\n".join([line, *(f"  {who}{p.dim}{each}{p.off}" for each in self._details(record))])

    def _details(self, record: Record) -> list[str]:
        """Tracebacks: of our own faults and of broken files always, of failed runs when asked for."""
        trace = record.get("exception") or record.get("traceback") or (record.get("stack") if self._verbose else None)
        return printable(str(trace)).rstrip().splitlines() if trace else []


def _clock(record: Record) -> str:
    moment = record.get("timestamp")
    return f"{moment.astimezone():%H:%M:%S}" if isinstance(moment, datetime) else str(plain(moment))
