"""Lengths of time: what a person may write for one, and how one is written back.

A bare number is milliseconds, as in the documents; text is "30 minutes", "5m", "2h30m", "1.5 hours",
"3 days and 4 hours", "twenty-five seconds", "half an hour" or ISO 8601 ("PT5M", "P1DT2H"). Lengths are whole
milliseconds. Months and years have no fixed length and are refused.
"""

from __future__ import annotations

import math
import re
from datetime import timedelta

from jobserver.errors import ConfigError, did_you_mean
from jobserver.excerpt import excerpt

Length = timedelta | int | float | str
"""What is accepted where a length is asked for."""

LONGEST_LENGTH = timedelta(days=36_500)
"""A hundred years: added to any moment of this century it stays inside what a datetime can hold."""

_MILLISECOND = timedelta(milliseconds=1)
_UNITS = {  # name -> (milliseconds, what a person may write)
    "day": (86_400_000, ("d", "day", "days")),
    "hour": (3_600_000, ("h", "hr", "hrs", "hour", "hours")),
    "minute": (60_000, ("m", "min", "mins", "minute", "minutes")),
    "second": (1_000, ("s", "sec", "secs", "second", "seconds")),
    "millisecond": (1, ("ms", "msec", "msecs", "millisecond", "milliseconds")),
}
_WEEK = {"w": 604_800_000, "week": 604_800_000, "weeks": 604_800_000}
_MILLISECONDS = {word: size for size, words in _UNITS.values() for word in words} | _WEEK
_NO_FIXED_LENGTH = frozenset({"mo", "month", "months", "y", "yr", "yrs", "year", "years"})

_LONGEST_TEXT = 100
_NUMBER = re.compile(r"\d+(?:\.\d+)?", re.ASCII)
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+)", re.ASCII)
_BETWEEN = re.compile(r"\s*,?\s*(?:and\s+)?", re.ASCII)
_ISO = re.compile(
    r"p(?:(?P<week>[\d.,]+)w)?(?:(?P<day>[\d.,]+)d)?"
    r"(?:t(?:(?P<hour>[\d.,]+)h)?(?:(?P<minute>[\d.,]+)m)?(?:(?P<second>[\d.,]+)s)?)?",
    re.ASCII,
)
_ISO_START = re.compile(r"p(?:t|\d)[\d.,ymwdths]*", re.ASCII)

_ONES = (
    *("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_FIGURES = {word: number for number, word in enumerate(_ONES, 1)} | {
    word: number for number, word in zip(range(20, 100, 10), _TENS, strict=True)
}
_IN_WORDS = re.compile(
    rf"\b(?:({'|'.join(_TENS)})[\s-]({'|'.join(_ONES[:9])})|({'|'.join((*_ONES[::-1], *_TENS))}))\b", re.ASCII
)
_UNIT_WORD = r"(?:millisecond|second|minute|hour|day|week)s?\b"
_HALF = re.compile(rf"\bhalf\s+(?:an?\s+)?(?={_UNIT_WORD})", re.ASCII)
_AND_A_HALF = re.compile(rf"\b(\d+)\s+and\s+a\s+half\s+(?={_UNIT_WORD})", re.ASCII)
_UNIT_AND_A_HALF = re.compile(rf"\b(\d+)\s+({_UNIT_WORD})\s+and\s+a\s+half\b", re.ASCII)
_ARTICLE = re.compile(rf"\ban?\s+(?={_UNIT_WORD})", re.ASCII)

_EXAMPLES = "write '30 minutes', '2h30m' or a number of milliseconds"


def parse_length(
    value: object, *, field: str, at_least: timedelta = timedelta(0), at_most: timedelta = LONGEST_LENGTH
) -> timedelta:
    """The length that `value` means, in whole milliseconds; ConfigError names `field` and says what would do."""
    milliseconds = _milliseconds_of(value, field)
    if not to_milliseconds(at_least) <= milliseconds <= to_milliseconds(at_most):
        bounds = f"between {describe_length(at_least)} and {describe_length(at_most)}"
        bare = isinstance(value, int | float) or (isinstance(value, str) and _NUMBER.fullmatch(value.strip()))
        raise ConfigError(field, f"{_shown(value)} is not {bounds}{'; a number alone is milliseconds' if bare else ''}")
    # Half a millisecond must not become nothing at all.
    return _MILLISECOND * (max(1, round(milliseconds)) if milliseconds > 0 else 0)


def to_milliseconds(length: timedelta) -> int:
    """The number that a document stores for `length`, rounded down to a whole millisecond."""
    return length // _MILLISECOND


def describe_length(length: timedelta) -> str:
    """Words for a length, the way `parse_length` reads them: "5 minutes", "2 hours 30 minutes"."""
    rest, words = to_milliseconds(length), []
    for name, (size, _) in _UNITS.items():
        count, rest = divmod(rest, size)
        if count:
            words.append(f"{count} {name}{'' if count == 1 else 's'}")
    return " ".join(words) or "0 seconds"


def in_figures(text: str) -> str:
    """Lower-case text with its number words as figures: "twenty-five" is 25, "half an hour" 0.5 hour, "a day" 1 day."""
    text = _AND_A_HALF.sub(r"\1.5 ", _IN_WORDS.sub(_figures, text))
    return _UNIT_AND_A_HALF.sub(r"\1.5 \2", _ARTICLE.sub("1 ", _HALF.sub("0.5 ", text)))


def _milliseconds_of(value: object, field: str) -> float:
    if isinstance(value, timedelta):
        return value / _MILLISECOND
    if isinstance(value, bool):
        raise ConfigError(field, f"{value} is not a length of time; {_EXAMPLES}")
    if isinstance(value, int | float):
        return _finite(value, field)
    if isinstance(value, str):
        return _finite(_text_milliseconds(value, field), field)
    raise ConfigError(field, f"{excerpt(value)} is not a length of time; {_EXAMPLES}")


def _finite(number: float, field: str) -> float:
    try:
        milliseconds = float(number)
    except OverflowError:
        milliseconds = math.inf
    if math.isnan(milliseconds):
        raise ConfigError(field, f"nan is not a length of time; {_EXAMPLES}")
    return milliseconds


def _text_milliseconds(text: str, field: str) -> float:
    folded = text.strip().lower()
    if len(folded) > _LONGEST_TEXT:
        raise ConfigError(field, f"{excerpt(text)} is too long for a length of time; {_EXAMPLES}")
    if _NUMBER.fullmatch(folded):  # a setting from the environment is always text
        return float(folded)
    if _ISO_START.fullmatch(folded):
        return _iso_milliseconds(folded, text, field)
    if folded.startswith("every "):
        raise ConfigError(field, f"{excerpt(text)} is a schedule, not a length of time; leave out 'every'")
    folded = in_figures(folded)
    if re.fullmatch(_UNIT_WORD, folded) and not folded.endswith("s"):
        folded = f"1 {folded}"
    total, position, seen = 0.0, 0, set[int]()
    while match := _PART.match(folded, position):
        size = _unit(match[2], text, field)
        if size in seen:
            raise ConfigError(field, f"{excerpt(text)} names a unit twice; {_EXAMPLES}")
        seen.add(size)
        total += float(match[1]) * size
        position = match.end()
        if position == len(folded):
            return total
        between = _BETWEEN.match(folded, position)
        position = between.end() if between else position
    raise ConfigError(field, f"{excerpt(text)} is not a length of time; {_EXAMPLES}")


def _iso_milliseconds(folded: str, text: str, field: str) -> float:
    match = _ISO.fullmatch(folded)
    parts = {name: part for name, part in match.groupdict().items() if part is not None} if match else {}
    if "y" in folded or "m" in folded.partition("t")[0]:
        raise ConfigError(field, f"{excerpt(text)}: a month or year has no fixed length; write days")
    numbers = {name: part.replace(",", ".") for name, part in parts.items()}
    if not numbers or folded.endswith("t") or not all(_NUMBER.fullmatch(number) for number in numbers.values()):
        raise ConfigError(field, f"{excerpt(text)} is not an ISO 8601 length; write 'PT5M' or 'P1DT2H'")
    return sum(float(number) * _MILLISECONDS[name] for name, number in numbers.items())


def _figures(match: re.Match[str]) -> str:
    tens, ones, alone = match.groups()
    return str(_FIGURES[alone] if alone else _FIGURES[tens] + _FIGURES[ones])


def _unit(word: str, text: str, field: str) -> int:
    if word in _NO_FIXED_LENGTH:
        raise ConfigError(field, f"{excerpt(text)}: {excerpt(word)} has no fixed length; write days")
    if word not in _MILLISECONDS:
        hint = did_you_mean(word, _MILLISECONDS) or f"; {_EXAMPLES}"
        raise ConfigError(field, f"{excerpt(text)}: unknown unit {excerpt(word)}{hint}")
    return _MILLISECONDS[word]


def _shown(value: object) -> str:
    if isinstance(value, timedelta):
        return describe_length(value) if value >= timedelta(0) else str(value)
    return excerpt(value)
