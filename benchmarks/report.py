"""What came of a run: for a person, and for a program."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.figure import Figure, Reading, Unit

_WIDTH = 46


@dataclass(slots=True, kw_only=True)
class Report:
    """Grows figure by figure; `left_out` says of a figure why there is none."""

    machine: Mapping[str, Any]
    quick: bool
    figures: dict[str, Figure] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Everything, with `met` beside each reading."""
        return {
            "machine": dict(self.machine),
            "quick": self.quick,
            "figures": {name: _as_json(figure) for name, figure in self.figures.items()},
            "left_out": self.left_out,
        }

    def as_text(self) -> str:
        """A table."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        yield " · ".join(f"{key} {value}" for key, value in self.machine.items())
        if self.quick:
            yield "small sizes: a look, not a measurement"
        for name, figure in self.figures.items():
            yield ""
            yield f"{_bold(name)}  {figure.title}"
            yield from map(_line, figure.readings)
            if figure.facts:
                yield f"    {_faint(' · '.join(f'{key} {value}' for key, value in figure.facts.items()))}"
        for name, reason in self.left_out.items():
            yield f"\n{_bold(name)}  {_red('not measured')}: {reason}"


def _as_json(figure: Figure) -> dict[str, Any]:
    readings = [{**asdict(reading), "met": reading.met} for reading in figure.readings]
    return {**asdict(figure), "readings": readings}


def _line(reading: Reading) -> str:
    mark = {True: _green("✓"), False: _red("✗"), None: " "}[reading.met]
    value = f"{_number(reading.spread.median, reading.unit):>10} {reading.unit:<7}"
    spread = ""
    if reading.spread.rounds > 1:
        lowest, highest = (_number(it, reading.unit) for it in (reading.spread.lowest, reading.spread.highest))
        spread = f"{lowest} to {highest}"
    target = ""
    if reading.target is not None:
        target = f"must be {reading.target.bound} {reading.target.limit:g} {reading.unit}"
    return f"  {mark} {reading.what:<{_WIDTH}}{value}{spread:<20}{target}".rstrip()


def _number(value: float, unit: Unit) -> str:
    match unit:
        case Unit.RATIO:
            return f"{value:.2f}"
        case Unit.COUNT:
            return f"{value:,.0f}"
        case _:
            return f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.1f}" if abs(value) >= 10 else f"{value:,.2f}"


def _coloured(code: int, text: str) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if sys.stdout.isatty() else text


def _bold(text: str) -> str:
    return _coloured(1, text)


def _faint(text: str) -> str:
    return _coloured(2, text)


def _red(text: str) -> str:
    return _coloured(31, text)


def _green(text: str) -> str:
    return _coloured(32, text)
