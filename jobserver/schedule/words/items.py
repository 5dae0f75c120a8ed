"""The smallest parts of a phrase: times of day, weekdays, months, years, ordinals, and lists and ranges of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from jobserver.schedule.words.phrase import LAST_DAY
from jobserver.schedule.words.reader import Reader
from jobserver.schedule.words.refusal import Misunderstood
from jobserver.schedule.words.tokens import Kind, Token
from jobserver.schedule.words.vocabulary import DAY_SETS, MONTHS, NAMED_TIMES, ORDINAL_WORDS, WEEKDAYS

YEARS = range(1970, 9000)
HOURS_OF_A_DAY = 24


class ClockTime(NamedTuple):
    """A time of day in seconds; `half_missing` where it might be meant for the morning or the evening."""

    second: int
    has_half: bool
    half_missing: bool


def starts_weekday(reader: Reader) -> bool:
    """Whether a weekday comes next, or weekdays or weekend."""
    return reader.is_word(WEEKDAYS) or reader.is_word(DAY_SETS)


def weekdays(reader: Reader) -> set[int]:
    """A list such as "mon, wed-fri and sunday"; 0 is Sunday."""
    return reader.listed(lambda: starts_weekday(reader), lambda: _weekday_item(reader))


def _weekday_item(reader: Reader) -> set[int]:
    if reader.is_word(DAY_SETS):
        return set(DAY_SETS[reader.take().text])
    return _named_range(reader, WEEKDAYS, 0, 7)


def months(reader: Reader) -> set[int]:
    """A list such as "jan, mar through may"."""
    return reader.listed(lambda: reader.is_word(MONTHS), lambda: _named_range(reader, MONTHS, 1, 12))


def _named_range(reader: Reader, names: Mapping[str, int], low: int, size: int) -> set[int]:
    first = names[reader.take().text]
    if not reader.accept_range_sign():
        return {first}
    if not reader.is_word(names):
        raise reader.stuck("a range ends with the same kind of name as it begins with")
    last = names[reader.take().text]
    return {low + (first - low + step) % size for step in range((last - first) % size + 1)}


def starts_year(reader: Reader) -> bool:
    """Whether a number of four digits comes next."""
    return reader.token.kind is Kind.NUMBER and len(reader.token.text) == 4 and reader.token.text.isdigit()


def years(reader: Reader) -> set[int]:
    """A list such as "2026, 2028-2030"."""
    return reader.listed(lambda: starts_year(reader), lambda: _year_item(reader))


def _year_item(reader: Reader) -> set[int]:
    first = last = _year(reader)
    if reader.accept_range_sign():
        last = _year(reader)
    if last < first:
        raise reader.refused("the years end before they begin")
    return set(range(first, last + 1))


def _year(reader: Reader) -> int:
    if not starts_year(reader):
        raise reader.stuck("a year has four digits")
    token = reader.take()
    if int(token.text) not in YEARS:
        raise reader.refused(f"the year {token.text} is not between {YEARS.start} and {YEARS.stop - 1}", at=token)
    return int(token.text)


def starts_ordinal(reader: Reader) -> bool:
    """Whether "1st", "first", "last" or a whole number comes next."""
    if reader.token.kind is Kind.NUMBER:
        return reader.token.text.isdigit() and not starts_year(reader)
    return reader.token.kind is Kind.ORDINAL or reader.is_word(ORDINAL_WORDS) or reader.is_word(("last",))


def ordinals(reader: Reader) -> set[int]:
    """A list such as "1st, 3rd-5th and last"; the last is LAST_DAY."""
    return reader.listed(lambda: _starts_listed_ordinal(reader), lambda: _ordinal_item(reader))


def _starts_listed_ordinal(reader: Reader) -> bool:
    reader.accept("on")
    reader.accept("the")
    return starts_ordinal(reader)


def _ordinal_item(reader: Reader) -> set[int]:
    first = ordinal(reader)
    if not reader.accept_range_sign():
        return {first}
    reader.accept("the")
    end = reader.token
    last = ordinal(reader)
    if LAST_DAY in (first, last) or last < first or last > 366:
        raise reader.refused("a range goes from one number up to another", at=end)
    return set(range(first, last + 1))


def ordinal(reader: Reader) -> int:
    """One of them."""
    if not starts_ordinal(reader):
        raise reader.stuck("a number such as 1st or last belongs here")
    token = reader.take()
    if token.text == "last":
        return LAST_DAY
    return ORDINAL_WORDS[token.text] if token.kind is Kind.WORD else int(token.text)


def starts_time(reader: Reader) -> bool:
    """Whether a time of day comes next."""
    return reader.token.kind is Kind.TIME or reader.is_word(NAMED_TIMES)


def times(reader: Reader) -> set[int]:
    """A list such as "9:00, 12:30 and 5 pm", in seconds of the day."""
    found: list[ClockTime] = []
    begin = reader.token

    def item() -> set[int]:
        found.append(clock_time(reader))
        return {found[-1].second}

    seconds = reader.listed(lambda: _starts_listed_time(reader), item)
    require_halves(reader, found, begin)
    return seconds


def _starts_listed_time(reader: Reader) -> bool:
    reader.accept("at", "@")
    return starts_time(reader)


def require_halves(reader: Reader, found: list[ClockTime], begin: Token) -> None:
    """Refuse "5:00 and 6:00 pm": is it five in the morning?"""
    if any(each.has_half for each in found) and any(each.half_missing for each in found):
        raise reader.refused("only some of these times say am or pm; say it for each", at=begin)


def clock_time(reader: Reader) -> ClockTime:
    """One time of day: "17:00", "5:30:15 pm", "5 pm", "noon"."""
    if reader.is_word(NAMED_TIMES):
        return ClockTime(NAMED_TIMES[reader.take().text], has_half=False, half_missing=False)
    if reader.token.kind is Kind.NUMBER:
        raise _refused_hour(reader)
    if reader.token.kind is not Kind.TIME:
        raise reader.stuck("a time such as 9:00 or 5 pm belongs here")
    token = reader.take()
    hour, minute, second = (*map(int, token.text.split(":")), 0)[:3]
    if token.half and not 1 <= hour <= 12:
        raise reader.refused(f"{token.text} {token.half} does not exist: with am and pm hours are 1-12", at=token)
    if hour > 23 or minute > 59 or second > 59:
        raise reader.refused(f"{token.text} is not a time of day: hours are 0-23, minutes and seconds 0-59", at=token)
    missing = not token.half and 1 <= hour <= 12
    if token.half:
        hour = hour % 12 + (12 if token.half == "pm" else 0)
    return ClockTime(hour * 3600 + minute * 60 + second, has_half=bool(token.half), half_missing=missing)


def _refused_hour(reader: Reader) -> Misunderstood:
    """Why a number alone is no time: up to 12 nobody knows which half of the day, beyond 23 there is no such hour."""
    number = reader.token.text
    hour = int(number) if number.isdecimal() and len(number) <= 2 else HOURS_OF_A_DAY  # it may be 1.5, or very long
    if 1 <= hour <= 12:
        return reader.refused(f"{number} may be morning or evening; write {number}:00 or {number} am")
    if hour < HOURS_OF_A_DAY:
        return reader.refused(f"{number} alone is not a time of day; write {number}:00")
    return reader.refused(f"{number} is not a time of day; write for example 9:00 or 5 pm")
