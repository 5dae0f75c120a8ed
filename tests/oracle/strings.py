"""Random strings, and mutations of valid schedules, in place of a schedule."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from random import Random
from typing import NamedTuple

from jobserver.errors import ScheduleError
from jobserver.schedule import Schedule
from jobserver.schedule.words.refusal import FORMS
from tests.oracle.meaning import any_meaning, cron_with_seconds

ALPHABETS = (
    "0123456789*,/-?#lLhHrR @",
    "abcdefghijklmnopqrstuvwxyz ",
    "0123456789:apm thndrsd,-.@",
    "".join(map(chr, range(32, 127))),
    "\x00\n\t\u00e9\u0663\u2603\U0001f600\ud800 *5ev",
)
WORDS = (
    *("every", "at", "on", "the", "of", "in", "and", ",", "also", "except", "after", "before", "between", "starting"),
    *("1st", "2nd", "last", "first", "5", "15", "0", "31st", "366th", "9:00", "5 pm", "25:00", "noon", "2027", "1.5"),
    *(
        "second",
        "minutes",
        "hour",
        "day",
        "week",
        "month",
        "year",
        "instance",
        "monday",
        "fri",
        "weekend",
        "jan",
        "may",
    ),
    *("-", "through", "to", "weekdays", "hourly", "yearly", "other", "half", "an", "a", "once", "twenty", "five", "*"),
    *("*/5", "0", "1-5", "mon#2", "l5", "2026-01-01", "T10:00Z", "PT5M", "P1D", "now", "manual", "@daily", "@"),
)


class Slowest(NamedTuple):
    """How long the slowest string took, in seconds."""

    seconds: float
    text: str


def string(random: Random) -> str:
    """One of them."""
    match random.randrange(4):
        case 0:
            return "".join(random.choices(random.choice(ALPHABETS), k=random.randrange(40)))
        case 1:
            return " ".join(random.choices(WORDS, k=random.randrange(1, 12 if random.random() < 0.9 else 50)))
        case _:
            return _mutated(random, _valid(random))


def judged_in(text: str, zone: str) -> float:
    """Seconds until it is a schedule with a next moment, or a ScheduleError; anything else that is raised is a bug."""
    began = time.perf_counter()
    try:
        schedule = Schedule.parse(text, zone)
    except ScheduleError:
        pass
    else:
        schedule.next_after(_SOME_MOMENT, anchor=_SOME_MOMENT)
    return time.perf_counter() - began


def _valid(random: Random) -> str:
    match random.randrange(4):
        case 0:
            return cron_with_seconds(random).text
        case 1:
            return random.choice(FORMS)
        case _:
            return any_meaning(random).text


def _mutated(random: Random, text: str) -> str:
    pieces = list(text)
    for _ in range(random.randrange(1, 5)):
        place = random.randrange(len(pieces) + 1)
        match random.randrange(4):
            case 0 if pieces:
                pieces.pop(place - 1)
            case 1:
                pieces.insert(place, random.choice(random.choice(ALPHABETS)))
            case 2:
                pieces[place:place] = list(f" {random.choice(WORDS)} ")
            case _:
                pieces[place:] = pieces[place // 2 :]
    return "".join(pieces)


_SOME_MOMENT = datetime(2026, 1, 14, 12, tzinfo=UTC)
