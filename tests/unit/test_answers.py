"""What commands show to a person: as it stands, whatever it is called."""

from __future__ import annotations

import io

from rich.console import Console

from jobserver.cli.answer import Screen


def test_a_line_is_taken_literally() -> None:
    out = io.StringIO()
    for text in ("api:bug: 4 due", "[red]api[/red]", ":a:", "'quoted' 5"):
        Screen(Console(file=out, width=40)).line(text)
    assert out.getvalue().splitlines() == ["api:bug: 4 due", "[red]api[/red]", ":a:", "'quoted' 5"]
