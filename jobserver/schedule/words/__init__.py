"""Schedules in words: "every weekday at 9:00", "on the last day of the month", "every 15 minutes on mondays".

    tokens       text → words, numbers, times of day
    reader       tokens, one after the other
    grammar      the clauses of a phrase
      items        lists of times, weekdays, months, years and numbers
      days         what numbers number: days, weeks, weekdays, minutes
    phrase       what a phrase says
    meaning      phrases → an exact interval, or days and times of day
    refusal      why not, understood up to where, and what would do

What has no exact meaning is refused, never approximated. Each clause is said once in a phrase, and all of them must
hold; "also" joins phrases of which any will do, "except" takes days or times away.
"""

from __future__ import annotations

import re
from datetime import timedelta
from fractions import Fraction
from functools import lru_cache

from jobserver.lengths import in_figures
from jobserver.schedule.wall_clock import WallClock
from jobserver.schedule.words.grammar import Grammar
from jobserver.schedule.words.meaning import clocks_of, interval_of
from jobserver.schedule.words.refusal import Misunderstood, refusal
from jobserver.schedule.words.vocabulary import CADENCES, DAY_SETS, LEADING, MONTHS, WEEKDAYS

FIRST_WORDS = frozenset((*LEADING, *CADENCES, *DAY_SETS, *MONTHS, *WEEKDAYS))
_FIRST_WORD = re.compile(r"@?\s*([a-z]+)(?![a-z*?#/])", re.ASCII)
_TIME_FIRST = re.compile(r"@?\s*\d{1,2}(?::\d{2}|\s*[ap]\.?m\b)|\d+(?:st|nd|rd|th)\b", re.ASCII)
_LONGEST_INTERVAL = 10**12  # seconds; far above what an interval may be, far below what a timedelta can hold


def are_words(folded: str) -> bool:
    """Whether a lower-case text sets out to be a schedule in words."""
    match = _FIRST_WORD.match(folded)
    if match and not folded.startswith("@"):
        return match[1] in FIRST_WORDS
    return bool(_TIME_FIRST.match(folded)) or (match is not None and folded.startswith("@ "))


@lru_cache(maxsize=1024)
def read_words(folded: str) -> timedelta | tuple[WallClock, ...]:
    """An exact interval, or all the times that any of the clocks names; ScheduleError says what was not understood."""
    text = in_figures(folded)
    try:
        phrases = Grammar(text).phrases()
        seconds = interval_of(phrases)
        return clocks_of(phrases) if seconds is None else _timedelta(seconds)
    except Misunderstood as error:
        if error.corrected and _is_understood(error.corrected):
            error.instead = error.corrected
        raise refusal(text, error) from None


def _is_understood(text: str) -> bool:
    try:
        Grammar(text).phrases()
    except Misunderstood:
        return False
    return True


def _timedelta(seconds: Fraction) -> timedelta:
    return timedelta(milliseconds=round(min(seconds, Fraction(_LONGEST_INTERVAL)) * 1000))
