"""The words of a schedule and what they stand for; days of the week count from Sunday, 0."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

WEEKDAY_NAMES = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")
_WEEKDAY_SHORTS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
MONTH_NAMES = (
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
)

WEEKDAYS: Mapping[str, int] = {
    **{name: day for day, name in enumerate(WEEKDAY_NAMES)},
    **{f"{name}s": day for day, name in enumerate(WEEKDAY_NAMES)},
    **{short: day for day, short in enumerate(_WEEKDAY_SHORTS)},
    **{"tues": 2, "wednes": 3, "thur": 4, "thurs": 4},
}
DAY_SETS: Mapping[str, frozenset[int]] = {
    **dict.fromkeys(("weekday", "weekdays", "workday", "workdays"), frozenset(range(1, 6))),
    **dict.fromkeys(("weekend", "weekends"), frozenset((0, 6))),
}
MONTHS: Mapping[str, int] = {
    **{name: month for month, name in enumerate(MONTH_NAMES, 1)},
    **{name[:3]: month for month, name in enumerate(MONTH_NAMES, 1)},
    "sept": 9,
}

UNITS: Mapping[str, str] = {
    word: unit
    for unit, words in {
        "second": ("s", "sec", "secs", "second", "seconds"),
        "minute": ("m", "min", "mins", "minute", "minutes"),
        "hour": ("h", "hr", "hrs", "hour", "hours"),
        "day": ("d", "day", "days"),
        "week": ("w", "week", "weeks"),
        "month": ("month", "months"),
        "year": ("year", "years"),
    }.items()
    for word in words
}
SECONDS_IN: Mapping[str, int] = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400, "week": 604_800}

ORDINAL_WORDS: Mapping[str, int] = {
    word: number
    for number, word in enumerate(
        ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth"), 1
    )
}
NAMED_TIMES: Mapping[str, int] = {"noon": 43_200, "midday": 43_200, "midnight": 0}
CADENCES = ("hourly", "daily", "weekly", "monthly", "yearly", "annually")
LEADING = (
    *("every", "each", "at", "on", "of", "in", "after", "before", "between", "from", "the", "once", "starting"),
    *("first", "last", "also", "except", "noon", "midnight"),
)
_OTHERS = (
    *("and", "through", "until", "to", "or", "instance", "other", "am", "pm"),
    *("hour", "minute", "second", "day", "week", "month", "year"),
)

WORDS = tuple(
    sorted({*WEEKDAYS, *DAY_SETS, *MONTHS, *UNITS, *ORDINAL_WORDS, *NAMED_TIMES, *CADENCES, *LEADING, *_OTHERS})
)
"""Sorted, so that of two suggestions as good the same one is made every time."""


def listed(words: Iterable[str]) -> str:
    """Words as a list for a sentence."""
    *most, last = words
    return f"{', '.join(most)} or {last}" if most else last
