"""Text → tokens: words, numbers, ordinals, times of day, and the signs between them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum, auto
from typing import NamedTuple


class Kind(Enum):
    """What a token is."""

    WORD = auto()
    NUMBER = auto()
    ORDINAL = auto()
    TIME = auto()
    DATE = auto()
    SIGN = auto()
    STRANGE = auto()
    END = auto()


class Token(NamedTuple):
    """A piece of the text, and where it begins; `half` is am or pm, of a time of day."""

    kind: Kind
    text: str
    start: int
    half: str = ""


_PATTERNS = (
    (Kind.DATE, r"\d{4}-\d{1,2}-\d{1,2}(?:t[\d:.z+-]*)?"),
    (Kind.TIME, r"(?P<clock>\d{1,3}:\d{1,3}(?::\d{1,3})?)(?:\s*(?P<half>[ap]m|[ap]\.m\.))?(?![\w:])"),
    (Kind.TIME, r"(?P<hour>\d{1,3})\s*(?P<hour_half>[ap]m|[ap]\.m\.)(?!\w)"),
    (Kind.ORDINAL, r"(?P<ordinal>\d{1,9})(?:st|nd|rd|th)(?![a-z])"),
    (Kind.NUMBER, r"\d{1,9}(?:\.\d{1,9})?(?![\d.:])"),
    (Kind.WORD, r"[a-z]+"),
    (Kind.SIGN, r"[,\-@]"),
    (Kind.STRANGE, r"\S\w*"),
)
_TOKEN = re.compile(
    r"\s*(?:" + "|".join(f"(?P<kind{index}>{pattern})" for index, (_, pattern) in enumerate(_PATTERNS)) + ")",
    re.ASCII,
)


def tokens_of(text: str) -> list[Token]:
    """The tokens of a lower-case text, and END after them."""
    return [*_pieces(text), Token(Kind.END, "", len(text))]


def _pieces(text: str) -> Iterator[Token]:
    position = 0
    while match := _TOKEN.match(text, position):
        position = match.end()
        yield _token(match)


def _token(match: re.Match[str]) -> Token:
    name = match.lastgroup or ""  # the outer group: it closes last
    kind, start = _PATTERNS[int(name.removeprefix("kind"))][0], match.start(name)
    match kind:
        case Kind.TIME:
            half = match["half"] or match["hour_half"] or ""
            return Token(kind, match["clock"] or f"{match['hour']}:00", start, half.replace(".", ""))
        case Kind.ORDINAL:
            return Token(kind, match["ordinal"], start)
        case _:
            return Token(kind, match[name], start)
