"""MongoDB's messages as they travel: where one ends, which command it is, and whose addresses a `hello` names."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Any

import bson

HEADER = struct.Struct("<iiii")  # length, id, the id that this answers, op code
LENGTH = struct.Struct("<i")
OP_REPLY, OP_QUERY, OP_MSG = 1, 2004, 2013  # the first two only for the first `hello` of a connection
MORE_TO_COME = 2
FLAGS_AND_KIND = 5  # of an OP_MSG, before its document
REPLY_FACTS = 20  # of an OP_REPLY, before its document
COUNTS = 8  # of an OP_QUERY, between the collection and the document
TEXT = 2  # BSON's number of a string
HELLO = {"hello", "isMaster", "ismaster"}


class Message:
    """One whole message."""

    __slots__ = ("answers", "code", "id", "raw")

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        _, self.id, self.answers, self.code = HEADER.unpack_from(raw)

    @property
    def more_follows(self) -> bool:
        """A reply after which another comes unasked; a request that wants no reply."""
        return self.code == OP_MSG and bool(self.raw[HEADER.size] & MORE_TO_COME)

    def command(self) -> tuple[str, str]:
        """Its name and, where the command is of a collection, that one's; of a request."""
        start = self._document() + LENGTH.size
        kind, end = self.raw[start], self.raw.index(0, start)
        name = self.raw[start + 1 : end].decode("utf-8", "replace")
        if kind != TEXT:
            return name, ""
        (length,) = LENGTH.unpack_from(self.raw, end + 1)
        return name, self.raw[end + 5 : end + 4 + length].decode("utf-8", "replace")

    def renamed(self, rename: Callable[[str], str]) -> bytes:
        """A reply to `hello` with other addresses, and no offer to compress what could not be read here then."""
        start = self._document()
        told: dict[str, Any] = bson.decode(self.raw[start:])
        told.pop("compression", None)
        for several in told.keys() & {"hosts", "passives", "arbiters"}:
            told[several] = [rename(address) for address in told[several]]
        for one in told.keys() & {"me", "primary"}:
            told[one] = rename(told[one])
        document = bson.encode(told)
        head = HEADER.pack(start + len(document), self.id, self.answers, self.code)
        return head + self.raw[HEADER.size : start] + document

    def _document(self) -> int:
        if self.code == OP_MSG:
            return HEADER.size + FLAGS_AND_KIND
        if self.code == OP_REPLY:
            return HEADER.size + REPLY_FACTS
        if self.code == OP_QUERY:
            return self.raw.index(0, HEADER.size + LENGTH.size) + 1 + COUNTS
        raise ValueError(f"a message with op code {self.code} cannot be read here")


def messages(received: bytearray) -> Iterator[Message]:
    """Take the whole messages off the beginning."""
    while len(received) >= HEADER.size:
        (length,) = LENGTH.unpack_from(received)
        if len(received) < length:
            return
        yield Message(bytes(received[:length]))
        del received[:length]
