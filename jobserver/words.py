"""Moments, lengths and values in a few words, for tables and lines of text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
NOTHING = "-"


def when(moment: datetime | None, now: datetime) -> str:
    """`in 3 min (14:05:07)`: how far away, and the time on the clock here."""
    return NOTHING if moment is None else f"{relative(moment, now)} ({clock(moment, now)})"


def due(moment: datetime | None, now: datetime) -> str:
    """The same for what is to come: `due (14:05:07)` once the moment has passed."""
    if moment is not None and moment <= now:
        return f"due ({clock(moment, now)})"
    return when(moment, now)


def relative(moment: datetime, now: datetime) -> str:
    """`in 3 min`, `90 min ago`: the largest unit that fits twice, so that what is rounded away is less than half."""
    seconds = round((moment - now).total_seconds())
    if seconds == 0:
        return "now"
    size = abs(seconds)
    unit, length = next((unit, length) for unit, length in _UNITS if size >= 2 * length or length == 1)
    return f"in {size // length} {unit}" if seconds > 0 else f"{size // length} {unit} ago"


def clock(moment: datetime, now: datetime) -> str:
    """Local time; with its date where that is another day."""
    local = moment.astimezone()
    return f"{local:%H:%M:%S}" if local.date() == now.astimezone().date() else f"{local:%Y-%m-%d %H:%M}"


def took(milliseconds: float | None) -> str:
    """`12 ms`, `1.4 s`, `2 min 5 s`, `1 h 3 min`."""
    if milliseconds is None:
        return NOTHING
    if milliseconds < 1_000:
        return f"{milliseconds:.0f} ms"
    if milliseconds < 59_950:
        return f"{milliseconds / 1_000:.1f} s"
    minutes, seconds = divmod(round(milliseconds / 1_000), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"


def one_line(text: str | None, longest: int = 80) -> str:
    """Text that fits into a table: its first line, cut."""
    lines = [line for line in (text or "").splitlines() if line.strip()]
    if not lines:
        return ""
    cut = len(lines) > 1 or len(lines[0]) > longest
    return f"{lines[0][: longest - 1]}…" if cut else lines[0]


def printable(text: str) -> str:
    """Text that a terminal can show: what would move its cursor, colour it or turn its line around stands as its code.

    Ends of lines and tabs stay.
    """
    if text.isprintable():
        return text
    return "".join(
        sign if sign.isprintable() or sign in "\n\t" else sign.encode("unicode_escape").decode() for sign in text
    )


def printable_json(encoded: str) -> str:
    """The same JSON, in which such signs are escaped in the way of JSON."""
    if encoded.isprintable():
        return encoded
    return "".join(sign if sign.isprintable() or sign == "\n" else json.dumps(sign)[1:-1] for sign in encoded)


def value(anything: Any, longest: int = 60) -> str:
    """A stored value as it would be written in JSON, cut."""
    return one_line(json.dumps(plain(anything), ensure_ascii=False), longest)


def plain(anything: Any) -> Any:
    """The same as JSON can hold it: moments in ISO form and UTC, lengths in milliseconds, ids and all else as text."""
    match anything:
        case Mapping():
            return {str(key): plain(item) for key, item in anything.items()}
        case list() | tuple():
            return [plain(item) for item in anything]
        case _:
            return _plain_value(anything)


def _plain_value(anything: Any) -> Any:
    match anything:
        case None | bool() | int():
            return anything
        case float() if anything - anything == 0:
            return anything
        case datetime() if anything.tzinfo is not None:
            return anything.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        case timedelta():
            return anything // timedelta(milliseconds=1)
        case _:
            return str(anything)
