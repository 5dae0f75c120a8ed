"""Schedules as text together with what they name, made side by side: nobody has to read the text to know it."""

from __future__ import annotations

import calendar
from dataclasses import dataclass
from datetime import date, datetime
from random import Random

Values = frozenset[int]
EVERY_DAY, EVERY_WEEKDAY = frozenset(range(1, 32)), frozenset(range(7))
WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")


@dataclass(frozen=True, slots=True, kw_only=True)
class Meaning:
    """A schedule's text, and the times and days that it names; weekdays count from Sunday, 0."""

    text: str
    minutes: Values  # of the day
    seconds: Values = frozenset({0})
    days: Values = EVERY_DAY
    weekdays: Values = EVERY_WEEKDAY
    last_day: bool = False
    nth: tuple[int, int] | None = None  # a weekday, and which in the month; 0 is the last
    either_day: bool = False  # both a day of the month and a day of the week are named: either will do
    follows_real_time: bool = False

    def names(self, wall: datetime) -> bool:
        """Whether the clocks show a named time."""
        if wall.hour * 60 + wall.minute not in self.minutes or wall.second not in self.seconds:
            return False
        return self.names_day(wall)

    def names_day(self, day: date) -> bool:
        """Whether its date is named."""
        length = calendar.monthrange(day.year, day.month)[1]
        weekday = day.isoweekday() % 7
        if self.nth is not None:
            return weekday == self.nth[0] and (
                (day.day - 1) // 7 + 1 == self.nth[1] if self.nth[1] else day.day > length - 7
            )
        by_day = day.day in self.days or (self.last_day and day.day == length)
        by_weekday = weekday in self.weekdays
        return by_day or by_weekday if self.either_day else by_day and by_weekday


def any_meaning(random: Random) -> Meaning:
    """Cron five times out of six, else words."""
    return cron(random) if random.random() < 0.83 else words(random)


def cron(random: Random) -> Meaning:
    """Five fields; often with an hour in which clocks change."""
    minute_text, minutes = _field(random, 0, 59, mostly_star=False)
    hour_text, hours = _field(random, 0, 23, mostly_star=False)
    if random.random() < 0.4:
        hour = random.randrange(4)
        hour_text, hours = str(hour), frozenset({hour})
    day_text, days = _field(random, 1, 31, mostly_star=True)
    weekday_text, weekdays = _field(random, 0, 6, mostly_star=True)
    last_day, nth = False, None
    if random.random() < 0.04:
        day_text, days, last_day = "l", frozenset(), True
    if day_text == "*" and random.random() < 0.08:
        nth = (random.randrange(7), random.randrange(6))
        weekday_text = f"l{nth[0]}" if nth[1] == 0 else f"{random.choice((nth[0], WEEKDAYS[nth[0]]))}#{nth[1]}"
    return Meaning(
        text=f"{minute_text} {hour_text} {day_text} * {weekday_text}",
        minutes=frozenset(hour * 60 + minute for hour in hours for minute in minutes),
        days=days,
        weekdays=weekdays,
        last_day=last_day,
        nth=nth,
        either_day=not {day_text, weekday_text} & {"*", "*/1"},
        follows_real_time=minute_text[0] == "*" or hour_text[0] == "*",
    )


def cron_with_seconds(random: Random) -> Meaning:
    """Six fields, of times and weekdays only."""
    second_text, seconds = _field(random, 0, 59, mostly_star=False)
    five = cron(random)
    minute_text, hour_text, *_, weekday_text = five.text.split()
    return Meaning(
        text=f"{second_text} {minute_text} {hour_text} * * {weekday_text}",
        minutes=five.minutes,
        seconds=seconds,
        weekdays=five.weekdays,
        nth=five.nth,
        follows_real_time=five.follows_real_time,
    )


def words(random: Random) -> Meaning:
    """Fixed times, or a frequency with or without a window, on all days, weekdays or days of the month."""
    day_text, weekdays, days, last_day = _days_in_words(random)
    if random.random() < 0.5:
        minutes = sorted(random.randrange(1440 if random.random() < 0.5 else 240) for _ in range(random.choice((1, 2))))
        text, minutes = "at " + " and ".join(map(_clock, minutes)), list(minutes)
        real_time = False
    else:
        step = random.choice((5, 10, 15, 20, 30, 45, 60, 90, 120))
        first, last = sorted(random.sample(range(1440), 2))
        minutes, text = list(range(0, 1440, step)), f"every {step} minutes"
        if random.random() < 0.5:
            minutes = [minute for minute in minutes if first <= minute <= last] or [0]
            text += f" between {_clock(first)} and {_clock(last)}" if minutes != [0] else " at the 0th hour"
            minutes = minutes if minutes != [0] else list(range(0, 60, step))
        day_text = day_text or " on monday through sunday"
        real_time = True
    return Meaning(
        text=text + day_text,
        minutes=frozenset(minutes),
        weekdays=weekdays,
        days=days,
        last_day=last_day,
        follows_real_time=real_time,
    )


def _days_in_words(random: Random) -> tuple[str, Values, Values, bool]:
    match random.randrange(6):
        case 0:
            return " every weekday", frozenset(range(1, 6)), EVERY_DAY, False
        case 1:
            chosen = random.sample(range(7), 2)
            return f" on {WEEKDAYS[chosen[0]]} and {WEEKDAYS[chosen[1]]}", frozenset(chosen), EVERY_DAY, False
        case 2:
            day = random.randrange(1, 32)
            return f" on the {day}th and last day of the month", EVERY_WEEKDAY, frozenset({day}), True
        case _:
            return "", EVERY_WEEKDAY, EVERY_DAY, False


def _clock(minute: int) -> str:
    return f"{minute // 60}:{minute % 60:02}"


def _field(random: Random, low: int, high: int, *, mostly_star: bool) -> tuple[str, Values]:
    """The text of a field and the values it names."""
    every = range(low, high + 1)
    first, last = sorted(random.choices(every, k=2))
    step, chosen = random.choice((1, 2, 3, 5, 7)), random.sample(every, random.choice((1, 1, 2, 3)))
    return random.choice(
        [
            ("*", frozenset(every)),
            *([("*", frozenset(every))] * 12 if mostly_star else []),
            (f"*/{step}", frozenset(every[::step])),
            (f"{first}-{last}", frozenset(range(first, last + 1))),
            (f"{first}-{last}/{step}", frozenset(range(first, last + 1, step))),
            (f"{first}/{step}", frozenset(range(first, high + 1, step))),
            (",".join(map(str, chosen)), frozenset(chosen)),
        ]
    )
