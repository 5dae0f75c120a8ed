"""What a command answers: one JSON document, or text that a person likes to look at."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jobserver.words import plain, printable, printable_json

if TYPE_CHECKING:
    from rich.console import Console

STATUS_STYLES = {
    "completed": "green",
    "running": "cyan",
    "queued": "cyan",
    "failed": "red",
    "cancelled": "yellow",
    "skipped": "yellow",
}
_WIDE = 1_000  # nobody reads at a pipe's end, and a program there wants whole lines


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """`document` holds everything; `show` tells it to a person."""

    document: Mapping[str, Any]
    show: Callable[[Screen], None]
    exit_code: int = 0


class Screen:
    """Where text goes: coloured on a terminal, plain and never cut elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def line(self, text: str = "", *, style: str | None = None) -> None:
        """One line, taken literally."""
        self._console.print(printable(text), style=style, markup=False, emoji=False, highlight=False, soft_wrap=True)

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str]], *, whole: Sequence[str] = ()) -> None:
        """Rows under their columns; cells that are a status have its colour, those of `whole` are never broken."""
        from rich.text import Text

        from jobserver.cli.tables import tables

        coloured = [[Text(printable(cell), style=STATUS_STYLES.get(cell, "")) for cell in row] for row in rows]
        for piece in tables(columns, coloured, whole=whole, room=self._console.width):
            self._console.print(piece)


def deliver(answer: Answer, *, as_json: bool) -> None:
    """Write the answer to stdout."""
    if as_json:
        sys.stdout.write(printable_json(json.dumps(plain(answer.document), indent=2, ensure_ascii=False)) + "\n")
    else:
        answer.show(screen())


def screen() -> Screen:
    """Stdout."""
    from rich.console import Console

    return Screen(Console() if sys.stdout.isatty() else Console(width=_WIDE, force_terminal=False))
