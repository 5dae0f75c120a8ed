"""Numbered days and times: "the 1st and 15th day of the month", "the last friday", "the 30th minute", "january 1st"."""

from __future__ import annotations

from jobserver.schedule.words import items
from jobserver.schedule.words.phrase import LAST_DAY, Phrase
from jobserver.schedule.words.reader import Reader
from jobserver.schedule.words.vocabulary import MONTHS, UNITS, WEEKDAY_NAMES

_BOUNDS = {"second": (0, 59), "minute": (0, 59), "hour": (0, 23), "month": (1, 12)}


def numbered(reader: Reader, phrase: Phrase, *, ambiguous_without_of: bool = False) -> str:
    """Read numbers and what they number into the phrase; returns what was named.

    After "every", a number needs its "of the month": "every 2nd monday" may be every other one.
    """
    begin = reader.token
    if not items.starts_ordinal(reader):
        raise reader.stuck("days belong here, such as 'monday', '1st' or 'last day of the month'")
    numbers = items.ordinals(reader)
    if reader.is_word(MONTHS):
        phrase.months |= items.months(reader)
        return _days(reader, phrase, numbers)
    if items.starts_weekday(reader):
        what = _weekdays(reader, phrase, numbers)
    elif reader.is_word(UNITS):
        what = _units(reader, phrase, numbers)
    elif _qualifier(reader) in ("", "month"):
        what = _days(reader, phrase, numbers)
    else:
        raise reader.refused("numbers of what? write '1st day of the year'", at=begin)
    if ambiguous_without_of and numbers != {LAST_DAY} and not reader.said_of:
        raise reader.refused(
            "after 'every' a number may mean every so many, or the one of each month; "
            "write 'every 2 days' or 'on the 2nd day of the month'",
            at=begin,
            instead="on the 2nd monday of the month" if what == "weekdays" else "",
        )
    return what


def month_and_day(reader: Reader, phrase: Phrase) -> str:
    """ "january 1st", "dec 24 and 31"."""
    phrase.months |= items.months(reader)
    reader.accept("the")
    if not items.starts_ordinal(reader):
        raise reader.stuck("the day of the month belongs here; a whole month is 'of january'")
    return _days(reader, phrase, items.ordinals(reader))


def _qualifier(reader: Reader) -> str:
    """The unit of "of the month", "of each year"; nothing where there is none."""
    found = ""

    def of_unit() -> bool:
        nonlocal found
        if not reader.accept("of", "in"):
            return False
        reader.accept("the", "each", "every", "a", "1")
        if not reader.is_word(("month", "year", "week", "day", "hour", "minute", "months")):
            return False
        found = UNITS[reader.take().text]
        return True

    reader.said_of = reader.is_word(("of", "in"))
    reader.try_to(of_unit)
    return found


def _days(reader: Reader, phrase: Phrase, numbers: set[int]) -> str:
    _require(reader, numbers, 1, 31, "day of a month", last=True)
    phrase.days |= numbers
    return "days of the month"


def _weekdays(reader: Reader, phrase: Phrase, numbers: set[int]) -> str:
    """ "the first monday", "the last fri and sat of the month"."""
    begin = reader.token
    named = items.weekdays(reader)
    if begin.text.startswith(("weekday", "weekend", "workday")):
        raise reader.refused("which weekday is first differs; name the day", at=begin, instead="on the first monday")
    if _qualifier(reader) not in ("", "month"):
        raise reader.refused("weekdays are numbered within a month", at=begin)
    _require(reader, numbers, 1, 5, "such weekday of a month", last=True)
    phrase.nth |= {(day, number) for day in named for number in numbers}
    return "weekdays"


def _units(reader: Reader, phrase: Phrase, numbers: set[int]) -> str:
    begin = reader.take()
    unit = UNITS[begin.text]
    if unit == "day" and reader.accept("instance", "instances"):
        _qualifier(reader)
        _require(reader, numbers, 1, 5, "such weekday of a month", last=True)
        phrase.instances |= numbers
        return "day instances"
    of = _qualifier(reader)
    match unit, of:
        case "day", "" | "month":
            return _days(reader, phrase, numbers)
        case "day", "year":
            _require(reader, numbers, 1, 366, "day of a year", last=True)
            phrase.days_of_year |= numbers
            return "days of the year"
        case "day", "week":
            day = WEEKDAY_NAMES[max(min(numbers), 1) % 7]
            raise reader.refused(
                "a week begins on Sunday for some and on Monday for others; name the day", at=begin, instead=f"on {day}"
            )
        case "week", "year":
            _require(reader, numbers, 1, 53, "week of a year")
            phrase.weeks_of_year |= numbers
            return "weeks"
        case "week", "month":
            _require(reader, numbers, 1, 6, "week of a month")
            phrase.weeks_of_month |= numbers
            return "weeks"
        case "second" | "minute" | "hour" | "month", _ if of in ("", *_WITHIN[unit]):
            low, high = _BOUNDS[unit]
            _require(reader, numbers, low, high, unit)
            named = {"second": phrase.seconds, "minute": phrase.minutes, "hour": phrase.hours, "month": phrase.months}
            named[unit] |= numbers
            return f"{unit}s"
        case _:
            raise reader.refused(f"a {unit} of what? It can be the month or the year", at=begin)


_WITHIN = {"second": ("minute",), "minute": ("hour",), "hour": ("day",), "month": ("year",)}


def _require(reader: Reader, numbers: set[int], low: int, high: int, what: str, *, last: bool = False) -> None:
    for number in sorted(numbers):
        if number == LAST_DAY and not last:
            raise reader.refused(f"the last {what} needs a number; {low}-{high}")
        if number != LAST_DAY and not low <= number <= high:
            raise reader.refused(f"there is no {what} {number}; {low}-{high}")
