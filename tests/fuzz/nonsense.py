"""Values and keys that nobody means, and some that look as if somebody did."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from random import Random

from bson import Binary, Code, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.datetime_ms import DatetimeMS
from bson.dbref import DBRef

from tests.fuzz.elements import Element, array, mapping, of, pointer, symbol, text, undefined

DEEPEST = 100  # levels
CHANCE_OF_LARGE = 1 / 1500
LARGEST = 15 * 1024 * 1024

WORDS = [
    *(b"", b" ", b"$lock", b"$$ROOT", b"$$NOW", b"{{7*7}}", b"'; DROP TABLE jobs", b"nan", b"true", b"9" * 400),
    *(b"\0", b"a\0b", b"\x1b[31mred\x1b[2J", b"\x9b31m", b'\n{"event": "server started"}', b"\r\n", b"\x7f\x08\x07"),
    *("\u202egnihton".encode(), "نص عربي".encode(), "🦆".encode() * 9, "e\u0301".encode() * 50, "\ufeff".encode()),
    *(b"\xed\xa0\x80", b"\xff\xfe", b"\xc3", b"ok\xf0\x9f", b"../../etc/passwd", b"os:system", b"__import__('os')"),
    *(b"jobs/noted.py", b"file:///etc/passwd", b"scripts/x.py", b"x" * 3_000, b"61 61 61 61 61", b"every never"),
]
"""None of these means anything in any field of ours."""
NEVER = [
    *(of(each) for each in (Regex("^a", "i"), Code("while(1){}"), Code("x", {"a": 1}), MinKey(), MaxKey())),
    *(of(each) for each in (Binary(b"\0\xff", 0), Binary(bytes(16), 4), Binary(b"x", 128), DBRef("c", 1, "d"))),
    *(of(each) for each in (Timestamp(1, 1), ObjectId("6" * 24), Decimal128("NaN"), Decimal128("1E+6144"))),
    *(of(each) for each in (Decimal128("1"), float("nan"), float("inf"), -float("inf"), DatetimeMS(2**63 - 1))),
    *(of(each) for each in ([[[]]], {"": 0}, {"$set": {"a": 1}}, {"a.b": 1}, {"$where": "1"}, [None, 1])),
    *(undefined(), symbol(b"every day"), pointer(), *(text(word) for word in WORDS if word.strip())),
]
"""Usable nowhere, whatever the field."""
SCALARS = [
    *(of(each) for each in (None, True, False, 0, 1, -1, 2**31 - 1, -(2**31), Int64(2**63 - 1), Int64(-(2**63)))),
    *(of(each) for each in (Int64(3), 3.0, -0.0, 0.5, 1e308, 5e-324, 1e19, -1e19, 10_000, 10_001, 21, -21, 60_000)),
    *(of(each) for each in (datetime(1, 1, 1, tzinfo=UTC), DatetimeMS(-(2**63)), datetime(2999, 1, 1, tzinfo=UTC))),
    *(
        of(each)
        for each in (
            [],
            {},
            [5],
            ["a"],
            {"type": None},
            Code("* * * * *"),
            Code("5 minutes"),
            "5 minutes",
            "* * * * *",
            "now",
            "manual",
            "HIGH",
        )
    ),
    *NEVER,
]
KEYS = [
    *(b"", b"$set", b"$where", b"a.b", b".", b"$", b"name", b"type", b"0", b"__proto__", b"constructor"),
    *("ключ".encode(), "\u202ek".encode(), b"\x1b[1m", b"\xff\xfe", b"\xed\xa0\x80", b"k" * 500, b"\n", b"{type}"),
]


class Nonsense:
    """Draws values; the same `random` gives the same ones. With `repeats` keys may come twice in a mapping."""

    def __init__(self, random: Random, *, repeats: bool = True) -> None:
        self._random, self._repeats = random, repeats

    def value(self, levels: int = 3) -> Element:
        """Any value, seldom a large or a deep one."""
        random = self._random
        if random.random() < CHANCE_OF_LARGE:
            return self._large()
        draw: Callable[[], Element] = random.choices(
            (self._scalar, lambda: self._list(levels), lambda: self._mapping(levels), self._deep, self._number),
            (60, 8, 12, 2, 10),
        )[0]
        return draw()

    def never(self) -> Element:
        """A value that nothing of ours takes."""
        return self._random.choice(NEVER)

    def key(self) -> bytes:
        """A key of somebody else's."""
        return self._random.choice(KEYS)

    def _scalar(self) -> Element:
        return self._random.choice(SCALARS)

    def _number(self) -> Element:
        random = self._random
        whole = random.randint(-(2 ** random.randint(1, 62)), 2 ** random.randint(1, 62))
        return of(random.choice((Int64(whole), float(whole), whole / 7, DatetimeMS(whole), Decimal128(str(whole)))))

    def _list(self, levels: int) -> Element:
        return array(self._inner(levels) for _ in range(self._random.randint(0, 4)))

    def _mapping(self, levels: int) -> Element:
        keys = [self.key() for _ in range(self._random.randint(0, 4))]
        pairs = [(key, self._inner(levels)) for key in (keys if self._repeats else dict.fromkeys(keys))]
        if pairs and self._repeats and self._random.random() < 0.2:
            pairs.append((pairs[0][0], self._inner(levels)))  # the same key again
        return mapping(pairs)

    def _inner(self, levels: int) -> Element:
        return self.value(levels - 1) if levels else self._scalar()

    def _deep(self) -> Element:
        inner = self._scalar()
        for _ in range(self._random.randint(20, DEEPEST - 4)):
            inner = array([inner]) if self._random.random() < 0.5 else mapping([(self.key(), inner)])
        return inner

    def _large(self) -> Element:
        size = int(LARGEST * self._random.random() ** 3)
        return text(b"x" * size) if self._random.random() < 0.5 else array([of(7)] * (size // 12))
