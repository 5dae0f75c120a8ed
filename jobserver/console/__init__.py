"""What a running server says: readable lines on a terminal, JSON lines everywhere else.

    records     every log record, ours and plain `logging`, on its way to one writer thread
    json_lines  one JSON object per record
    terminal    one line per record, in colour
    wording     what a person reads of each event

Writing happens on a thread of its own behind a bounded queue: a terminal that is held, or a pipe that nobody reads,
stops neither the event loop nor the heartbeat. What does not fit is counted, and the count is told.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from jobserver.console.json_lines import json_line
from jobserver.console.records import RecordWriter, recording
from jobserver.console.terminal import Palette, Terminal

__all__ = ["Console", "console"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Console:
    """Where a server speaks; `terminal` is None where a program listens instead of a person."""

    writer: RecordWriter
    terminal: Terminal | None

    def say(self, *lines: str) -> None:
        """Tell a person, if one is there."""
        if self.terminal is not None:
            self.writer.say(partial("\n".join, lines))

    def ready(self, *lines: str) -> None:
        """The server has started: show these lines, then what happened meanwhile and from now on."""
        if self.terminal is not None:
            self.writer.say(partial(self.terminal.opened, lines))


@contextmanager
def console(*, as_json: bool, verbose: bool = False, worker: int | None = None) -> Iterator[Console]:
    """Take over all logging of this process until the end; `worker` is its number under a supervisor."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # the name of a file may be no text at all
    terminal = None
    if not as_json and sys.stdout.isatty():
        terminal = Terminal(palette=Palette.of(sys.stdout), verbose=verbose, worker=worker)
    facts = {} if worker is None else {"worker": worker}
    writer = RecordWriter(sys.stdout, line_of=terminal.lines_of if terminal else partial(json_line, facts=facts))
    with recording(writer, verbose=verbose):
        try:
            yield Console(writer=writer, terminal=terminal)
        finally:
            if terminal is not None:
                writer.say(partial(terminal.opened, ()))
