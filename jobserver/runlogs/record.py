"""One record → one JSON line, whatever a job has put into it, and never longer than its cap."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from jobserver.words import plain

ENVELOPE = 256  # bytes for time, level and the names of the keys
DEEPEST = 8
SHORTEST_TEXT = 32  # what is left of a text when there is hardly any room


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What was said; `logger` is the name of a logger that is not ours, `exception` a traceback."""

    at: datetime
    level: str
    message: str
    fields: Mapping[str, Any]
    logger: str | None = None
    exception: str | None = None


def fitted(record: Record, longest: int) -> tuple[Record, bytes]:
    """The record with what is too long cut in the middle, and its line of at most so many bytes, with its end."""
    room = longest - ENVELOPE
    for _ in range(3):
        cut = _cut_to(record, room)
        line = _line(cut)
        if len(line) <= longest:
            return cut, line
        room //= 8 if room > longest // 8 else 2  # signs outside ASCII, and escapes, take up to six bytes
    cut = Record(at=record.at, level=record.level[:16], message="a record that has no room here", fields={})
    return cut, _line(cut)


def dropped_line(words: str, at: datetime, *, longest: int) -> bytes:
    """The line of a log that says what is missing in it."""
    return fitted(Record(at=at, level="warning", message=words, fields={}, logger="jobserver"), longest)[1]


def cut_in_the_middle(text: str, longest: int) -> str:
    """The text, or its beginning and its end and how much there was between them."""
    if len(text) <= longest:
        return text
    half = max(longest - 40, SHORTEST_TEXT) // 2
    return f"{text[:half]}… {len(text) - 2 * half} characters left out …{text[-half:]}"


def iso(moment: datetime) -> str:
    """A moment in UTC, to the millisecond."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _line(record: Record) -> bytes:
    document: dict[str, Any] = {"time": iso(record.at), "level": record.level, "message": record.message}
    if record.logger:
        document["logger"] = record.logger
    if record.fields:
        document["fields"] = record.fields
    if record.exception:
        document["exception"] = record.exception
    return json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode() + b"\n"


def _cut_to(record: Record, room: int) -> Record:
    left = _Room(room)
    share = room // 2 if record.fields or record.exception else room
    trace = record.exception and left.text(record.exception, share)
    message = left.text(record.message, share)
    return Record(
        at=record.at,
        level=record.level[:16],
        message=message,
        fields=left.mapping(record.fields, depth=1) if record.fields else {},
        logger=record.logger and left.text(record.logger, 200),
        exception=trace,
    )


class _Room:
    """Characters that are left; whatever comes when there are none is counted and left out."""

    __slots__ = ("_left",)

    def __init__(self, left: int) -> None:
        self._left = left

    def text(self, text: str, longest: int | None = None) -> str:
        room = max(self._left, SHORTEST_TEXT)
        if not text.isascii():
            text = text[: 4 * room].encode("utf-8", "backslashreplace").decode() if _is_broken(text) else text
        text = cut_in_the_middle(text, room if longest is None else min(room, longest))
        self._left -= len(text) + 4
        return text

    def mapping(self, source: Mapping[Any, Any], depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, item in source.items():
            if self._left <= 0:
                found["…"] = f"{len(source) - len(found)} more left out"
                break
            found[self.text(_words(key), 200)] = self.value(item, depth)
        return found

    def value(self, item: Any, depth: int) -> Any:
        if isinstance(item, str):
            return self.text(item)
        if item is None or isinstance(item, bool):
            self._left -= 6
            return item
        if isinstance(item, Mapping | list | tuple | set | frozenset):
            return self._inside(item, depth + 1) if depth < DEEPEST else "…"
        return self._scalar(item)

    def _inside(self, item: Any, depth: int) -> Any:
        return self.mapping(item, depth) if isinstance(item, Mapping) else self._items(item, depth)

    def _items(self, source: Any, depth: int) -> list[Any]:
        found: list[Any] = []
        for item in source:
            if self._left <= 0:
                found.append(f"… {len(source) - len(found)} more left out")
                break
            found.append(self.value(item, depth))
        return found

    def _scalar(self, item: Any) -> Any:
        found = _scalar(item, self._left)
        if isinstance(found, str):
            return self.text(found)
        self._left -= 12
        return found


def _scalar(item: Any, room: int) -> Any:
    match item:
        case int() if item.bit_length() > 200:  # Python refuses to print the longest
            return f"a number of {item.bit_length()} bits"
        case int():
            return int(item)
        case float():
            return plain(float(item))
        case timedelta():
            return plain(item)
        case bytes() | bytearray():
            return f"{len(item)} bytes: {item[: max(room, SHORTEST_TEXT) // 4].hex()}"
        case _:
            return _words(item)


def _is_broken(text: str) -> bool:
    """Whether it holds half a sign, as text read with surrogateescape does: no UTF-8 has a place for that."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _words(item: Any) -> str:
    """Any value as text; its own str() may do anything."""
    try:
        found = plain(item)
        return found if isinstance(found, str) else str(found)
    except Exception as error:
        return f"a value of type {type(item).__name__} that cannot be shown ({type(error).__name__})"
