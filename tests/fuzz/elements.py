"""BSON written byte by byte: what drivers in other languages can write and Python's own cannot.

An element is its type and its bytes, so that keys may repeat, text need not be UTF-8, and kinds of values that are long
out of use can be said.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import bson

from jobserver.store.codec import CODEC


class Element(NamedTuple):
    """A value: the number of its BSON type, and its bytes."""

    kind: int
    payload: bytes


Pairs = list[tuple[bytes, Element]]


def of(value: Any) -> Element:
    """A value that Python can write."""
    encoded = bson.encode({"": value}, codec_options=CODEC)
    return Element(encoded[4], encoded[6:-1])


def text(raw: bytes) -> Element:
    """Text of any bytes, UTF-8 or not."""
    return Element(0x02, _sized(raw))


def symbol(raw: bytes) -> Element:
    """A kind of text that no program writes any more."""
    return Element(0x0E, _sized(raw))


def undefined() -> Element:
    """The value of shells of long ago."""
    return Element(0x06, b"")


def pointer() -> Element:
    """A reference of long ago."""
    return Element(0x0C, _sized(b"jobs") + bytes(12))


def mapping(pairs: Iterable[tuple[bytes, Element]]) -> Element:
    """A document inside of another."""
    return Element(0x03, document(pairs))


def array(items: Iterable[Element]) -> Element:
    """A list."""
    return Element(0x04, document((str(number).encode(), item) for number, item in enumerate(items)))


def document(pairs: Iterable[tuple[bytes, Element]]) -> bytes:
    """A whole document; keys may repeat."""
    body = b"".join(bytes([item.kind]) + key + b"\0" + item.payload for key, item in pairs)
    return (len(body) + 5).to_bytes(4, "little") + body + b"\0"


def pairs_of(values: dict[str, Any]) -> Pairs:
    """The same for what Python can write."""
    return [(key.encode(), of(value)) for key, value in values.items()]


def value_of(item: Element) -> Any:
    """As a server reads it."""
    return bson.decode(document([(b"v", item)]), codec_options=CODEC)["v"]


def elements_of(raw: bytes) -> list[tuple[bytes, bytes]]:
    """Each key of a document with the bytes of its element, type and all."""
    found, position = [], 4
    while raw[position]:
        end = raw.index(b"\0", position + 1)
        after = end + 1 + _length(raw[position], raw, end + 1)
        found.append((raw[position + 1 : end], raw[position : position + 1] + raw[end + 1 : after]))
        position = after
    return found


def _sized(raw: bytes) -> bytes:
    return (len(raw) + 1).to_bytes(4, "little") + raw + b"\0"


_FIXED = {0x01: 8, 0x06: 0, 0x07: 12, 0x08: 1, 0x09: 8, 0x0A: 0, 0x10: 4, 0x11: 8, 0x12: 8, 0x13: 16, 0x7F: 0, 0xFF: 0}
_BEFORE = {0x02: 4, 0x0D: 4, 0x0E: 4, 0x05: 5, 0x0C: 16, 0x03: 0, 0x04: 0, 0x0F: 0}


def _length(kind: int, raw: bytes, start: int) -> int:
    if kind in _FIXED:
        return _FIXED[kind]
    if kind == 0x0B:  # a pattern and its options, each up to a zero
        return raw.index(b"\0", raw.index(b"\0", start) + 1) + 1 - start
    return int.from_bytes(raw[start : start + 4], "little") + _BEFORE[kind]
