"""Phrases → an exact interval, or the days and times of day they name; refused is what has no exact meaning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

from jobserver.schedule.days import EVERY_MONTH, Days
from jobserver.schedule.wall_clock import SECONDS_OF_A_DAY, Marked, WallClock
from jobserver.schedule.words import times_of_day
from jobserver.schedule.words.phrase import LAST_DAY, Frequency, Phrase
from jobserver.schedule.words.refusal import Misunderstood
from jobserver.schedule.words.vocabulary import SECONDS_IN

_DAY, _HOUR, _MINUTE = SECONDS_OF_A_DAY, 3600, 60
_EVERY_DAY = Days()
_MOST_PIECES = 16
_EVEN = [
    *(1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30),
    *(minutes * _MINUTE for minutes in (1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 30, 40, 45, 90)),
    *(hours * _HOUR for hours in (1, 2, 3, 4, 6, 8, 12)),
]


def interval_of(phrases: Sequence[Phrase]) -> Fraction | None:
    """The seconds of "every so long" that stands alone; None for everything else."""
    if len(phrases) != 1 or not phrases[0].is_only_a_frequency():
        return None
    frequency = phrases[0].frequency
    assert frequency is not None
    return _fixed(frequency)


def clocks_of(phrases: Sequence[Phrase]) -> tuple[WallClock, ...]:
    """The days and times that the phrases name, all together."""
    return tuple(clock for phrase in phrases for clock in _clocks(phrase))


def _clocks(phrase: Phrase) -> list[WallClock]:
    pieces = [(_days(phrase), _times(phrase))]
    for exception in phrase.exceptions:
        pieces = [piece for each in pieces for piece in _without(*each, exception)]
        if len(pieces) > _MOST_PIECES:
            raise Misunderstood("that are too many exceptions with days and times of their own")
    real_time = _follows_real_time(phrase)
    clocks = [
        WallClock(days=days, times=Marked(bits=times), follows_real_time=real_time) for days, times in pieces if times
    ]
    if not clocks:
        raise Misunderstood("nothing is left of it")
    return clocks


def _without(days: Days, times: int, exception: Phrase) -> list[tuple[Days, int]]:
    """What remains of days and times: where an exception names both, its days keep their other times."""
    excepted = _plain_days(exception)
    if not exception.names_times():
        return [(replace(days, without=(*days.without, excepted)), times)]
    rest = times & ~_named_by(exception)
    if rest == times:
        raise Misunderstood("what is excepted is not named before; times belong before 'except'")
    if excepted == _EVERY_DAY:
        return [(days, rest)]
    return [
        (replace(days, without=(*days.without, excepted)), times),
        (replace(days, within=(*days.within, excepted)), rest),
    ]


def _named_by(exception: Phrase) -> int:
    explicit = times_of_day.at(exception.times) if exception.times else times_of_day.ALL
    return explicit & _of_fields(exception) & _of_windows(exception)


def _times(phrase: Phrase) -> int:
    """The times of day, as bits."""
    if any(window.last < window.first for window in phrase.windows) and phrase.is_bound_to_days():
        raise Misunderstood("times over midnight belong to two days, and only one is named")
    times = _unbounded_times(phrase) & _of_windows(phrase)
    if not times:
        raise Misunderstood("no time of day is left: these do not go together")
    return times


def _unbounded_times(phrase: Phrase) -> int:
    repeats = _repetition(phrase)
    fields = phrase.hours or phrase.minutes or phrase.seconds
    if phrase.times:
        if repeats is not None or fields:
            raise Misunderstood("it says at what time, and how often within a day too", instead="every day at 9:00")
        return times_of_day.at(phrase.times)
    if repeats is not None:
        return _repeated(phrase, *repeats)
    if fields:
        return _combined(phrase)
    if phrase.windows:
        raise Misunderstood("it says between which times, but not how often", instead="every 5 minutes after 22:00")
    return 1


def _repetition(phrase: Phrase) -> tuple[int, str] | None:
    """Seconds between two times of one day, and how that is written; None where it is not said."""
    if phrase.cadence == "hourly":
        return _HOUR, "hourly"
    frequency = phrase.frequency
    if frequency is None or frequency.unit in ("month", "year"):
        return None
    length = _fixed(frequency)
    if length < _DAY:
        if length.denominator != 1 or _DAY % length:
            raise Misunderstood(_uneven(frequency), instead=f"every {_even_length(length)} on weekdays")
        return int(length), frequency.text
    if length == _DAY or (length == 7 * _DAY and phrase.weekdays):
        return None
    raise Misunderstood(
        f"every {frequency.text} counts from a day that is not named, so nothing else can stand beside it",
        instead=f"every {frequency.text}" if length % _DAY else "every monday at 9:00",
    )


def _repeated(phrase: Phrase, step: int, text: str) -> int:
    offset = phrase.offset or 0
    if offset >= step:
        raise Misunderstood(f"every {text} cannot start so late: it would be there before", instead=f"every {text}")
    base = times_of_day.every(step) << offset
    if step % _HOUR == 0 and phrase.minutes:  # "every 2 hours on the 30th minute"
        base = times_of_day.shifted(base, (minute * _MINUTE for minute in phrase.minutes))
    if step % _MINUTE == 0 and phrase.seconds:
        base = times_of_day.shifted(base, phrase.seconds)
    return base & _of_fields(phrase)


def _combined(phrase: Phrase) -> int:
    """Of "on the 30th minute": every hour where none is named, on the full minute where no second is."""
    bits = _of_fields(phrase)
    if not phrase.seconds:
        bits &= times_of_day.every(_MINUTE)
    if not phrase.minutes and (phrase.hours or not phrase.seconds):
        bits &= times_of_day.of_minutes({0})
    return bits


def _of_fields(phrase: Phrase) -> int:
    bits = times_of_day.ALL
    if phrase.hours:
        bits &= times_of_day.of_hours(phrase.hours)
    if phrase.minutes:
        bits &= times_of_day.of_minutes(phrase.minutes)
    if phrase.seconds:
        bits &= times_of_day.of_seconds(phrase.seconds)
    return bits


def _of_windows(phrase: Phrase) -> int:
    bits = times_of_day.ALL
    for window in phrase.windows:
        bits &= times_of_day.between(window.first, window.last)
    return bits


def _follows_real_time(phrase: Phrase) -> bool:
    """As in Debian's cron: what happens every so often, not at a fixed time of day."""
    if phrase.times:
        return False
    if _repetition(phrase) is not None:
        return True
    return bool(phrase.minutes or phrase.seconds) and not phrase.hours


def _fixed(frequency: Frequency) -> Fraction:
    if frequency.length is None:
        raise Misunderstood(
            f"a {frequency.unit} has no fixed length, so {frequency.text!r} needs days to count by",
            instead="on the 1st day of the month at 0:00" if frequency.unit == "month" else "on january 1st at 0:00",
        )
    return frequency.length


def _uneven(frequency: Frequency) -> str:
    return (
        f"{frequency.text} does not go evenly into a day, so it has no times of day of its own; "
        "alone it is an exact interval"
    )


def _even_length(length: Fraction) -> str:
    """The nearest usual length that a day can be divided by."""
    nearest = min(_EVEN, key=lambda step: abs(step - length))
    unit = next(unit for unit in ("hour", "minute", "second") if nearest % SECONDS_IN[unit] == 0)
    count = nearest // SECONDS_IN[unit]
    return f"{count} {unit}{'' if count == 1 else 's'}"


def _days(phrase: Phrase) -> Days:
    days = _plain_days(phrase)
    unit = phrase.frequency.unit if phrase.frequency is not None else ""
    if phrase.cadence == "weekly":
        _require_fitting(phrase, fitting=not phrase.names_days() or bool(phrase.weekdays and not phrase.instances))
        return days if phrase.names_days() else replace(days, of_week=frozenset((0,)))
    if phrase.cadence == "monthly" or unit == "month":
        _require_fitting(phrase, fitting=not phrase.names_days() or phrase.names_days_of_a_month())
        return _with_default_day(phrase, days, needs_month=False)
    if phrase.cadence == "yearly" or unit == "year":
        once = phrase.days_of_year or phrase.weeks_of_year or (phrase.months and phrase.names_days_of_a_month())
        _require_fitting(phrase, fitting=not phrase.names_days() or bool(once))
        return _with_default_day(phrase, days, needs_month=True)
    if phrase.frequency is None and not phrase.cadence and not phrase.names_times():
        return _beginning(phrase, days)
    return days


def _require_fitting(phrase: Phrase, *, fitting: bool) -> None:
    if not fitting:
        often = phrase.cadence or f"every {phrase.frequency.text if phrase.frequency else ''}"
        raise Misunderstood(f"{often!r} is not how often these days come")


def _with_default_day(phrase: Phrase, days: Days, *, needs_month: bool) -> Days:
    """Monthly is on the 1st, yearly on 1 January, unless days are named; "every 2 months" counts from nowhere."""
    frequency = phrase.frequency
    if frequency is not None and (frequency.number != 1 or not phrase.names_days()):
        _fixed(frequency)  # refuses
    if not phrase.names_days():
        days = replace(days, of_month=frozenset((1,)))
    if needs_month and not phrase.months and not phrase.days_of_year and not phrase.weeks_of_year:
        days = replace(days, months=frozenset((1,)))
    return days


def _beginning(phrase: Phrase, days: Days) -> Days:
    """What is named without a time or a smaller part begins when its first day does: "of jan" is 1 January."""
    if phrase.weekdays or phrase.nth or phrase.instances or phrase.days or phrase.days_of_year:
        return days
    if phrase.weeks_of_month:  # each begins on the 1st, or on a Sunday
        return replace(days, of_month=frozenset((1,)), of_week=frozenset((0,)), either=True)
    if phrase.weeks_of_year:
        return replace(days, of_week=frozenset((1,)))
    months = days.months if phrase.months else frozenset((1,))
    return replace(days, of_month=frozenset((1,)), months=months)


def _plain_days(phrase: Phrase) -> Days:
    numbers = phrase.days - {LAST_DAY}
    weekdays, nth = _weekdays(phrase)
    days = Days(
        months=frozenset(phrase.months) if phrase.months else EVERY_MONTH,
        of_month=frozenset(numbers) if phrase.days else None,
        last_of_month=LAST_DAY in phrase.days,
        of_week=frozenset(weekdays) if weekdays or nth else None,
        nth_of_week=frozenset(nth),
        years=frozenset(phrase.years) if phrase.years else None,
        of_year=frozenset(phrase.days_of_year) if phrase.days_of_year else None,
        weeks_of_year=frozenset(phrase.weeks_of_year) if phrase.weeks_of_year else None,
        weeks_of_month=frozenset(phrase.weeks_of_month) if phrase.weeks_of_month else None,
    )
    return replace(days, of_week=None) if days.of_week == frozenset(range(7)) and not nth else days


def _weekdays(phrase: Phrase) -> tuple[set[int], set[tuple[int, int]]]:
    if not phrase.instances:
        return phrase.weekdays, phrase.nth
    if not phrase.weekdays:
        raise Misunderstood("day instances of which weekday?", instead="on the 2nd day instance on mon")
    return set(), phrase.nth | {(day, number) for day in phrase.weekdays for number in phrase.instances}
