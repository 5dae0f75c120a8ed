"""A table that can be read in any terminal: columns that do not fit beside the others stand below them, indented.

Words are never broken for want of room, and ids never at all, so that they can be copied.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

GAP = 3
INDENT = 4
PROSE = 30  # a column that is wider may be folded down to this

Row = Sequence["Text"]


def tables(columns: Sequence[str], rows: Sequence[Row], *, whole: Sequence[str], room: int) -> Iterator[Table]:
    """The table; or where `room` is too small for it, one after the other the pieces of each row."""
    natural = [max([len(title), *(_width(row[number]) for row in rows)]) for number, title in enumerate(columns)]
    needs = [width if title in whole else min(width, PROSE) for title, width in zip(columns, natural, strict=True)]
    bands = list(_bands(columns, needs, room))
    header = _titles(columns)
    if len(bands) == 1:
        yield _table([header, *rows], bands[0], natural, needs, room)
        return
    for row in (header, *rows):
        for band in bands:
            if band.start == 0 or any(cell.plain for cell in row[band]):
                yield _table([row], band, natural, needs, room)


def _bands(columns: Sequence[str], needs: Sequence[int], room: int) -> Iterator[slice]:
    """Which columns stand beside each other; one without a title stays with the one before it."""
    starts = [number for number, title in enumerate(columns) if title or number == 0]
    begin, used = 0, -GAP
    for start, end in zip(starts, [*starts[1:], len(columns)], strict=True):
        need = sum(GAP + width for width in needs[start:end])
        if start > begin and used + need > room:
            yield slice(begin, start)
            begin, used = start, INDENT - GAP
        used += need
    yield slice(begin, len(columns))


def _table(rows: Sequence[Row], band: slice, natural: Sequence[int], needs: Sequence[int], room: int) -> Table:
    from rich.table import Table
    from rich.text import Text

    indent = INDENT if band.start else 0
    table = Table.grid(padding=(0, GAP, 0, 0))
    if indent:
        table.add_column(width=indent - GAP)
    for width in _widths(natural[band], needs[band], room - indent):
        table.add_column(width=width, overflow="fold")
    for row in rows:
        table.add_row(*([Text()] if indent else []), *row[band])
    return table


def _widths(natural: Sequence[int], needs: Sequence[int], room: int) -> list[int]:
    """As wide as they are, the widest ones less so until all fit; at the least what each needs."""
    widths = list(natural)
    while sum(widths) + GAP * (len(widths) - 1) > room:
        spare = [width - need for width, need in zip(widths, needs, strict=True)]
        if max(spare) <= 0:
            break
        widths[max(range(len(widths)), key=lambda number: widths[number] if spare[number] > 0 else 0)] -= 1
    return widths


def _titles(columns: Sequence[str]) -> Row:
    from rich.text import Text

    return [Text(title, style="bold") for title in columns]


def _width(cell: Text) -> int:
    """The longest of its lines, in cells of a terminal."""
    return max((line.cell_len for line in cell.split()), default=0)
