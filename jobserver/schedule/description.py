"""A schedule in words for a person: "Weekdays at 09:00 Europe/Berlin", "every 5 minutes"."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, time, timedelta

from jobserver.lengths import describe_length
from jobserver.schedule.days import EVERY_MONTH, LAST, Days
from jobserver.schedule.options import LATEST, Options
from jobserver.schedule.wall_clock import SECONDS_OF_A_DAY, Times, WallClock
from jobserver.schedule.zone import Zone

_WEEKDAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
_MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
_MOST_TIMES = 4
_HOUR = 3600
_MIDNIGHT = time()
_END_OF_DAY = time(23, 59, 59, 999_000)


def describe_clocks(clocks: Sequence[WallClock], zone: str) -> str | None:
    """Words for what the clocks name; None where the text that somebody wrote says it better."""
    if len(clocks) != 1:
        return None
    days, times = _days(clocks[0].days), clocks[0].times
    if days is None:
        return None
    if len(times) <= _MOST_TIMES:
        return f"{days} at {_listed(map(_time, times))} {zone}"
    frequency = _frequency(times)
    if frequency is None:
        return None
    where = "" if days == "every day" else f", {days}" if days[0].islower() else f" on {_within_a_sentence(days)}"
    return frequency + where + ("" if zone == "UTC" else f" {zone}")


def describe_options(options: Options, zone: Zone) -> str:
    """What stands beside the value, each part after a comma; nothing for the defaults."""
    words = []
    if options.start is not None:
        words.append(f"from {_bound(options.start, zone, whole_day=_MIDNIGHT)}")
    if options.end is not None:
        words.append(f"until {_bound(options.end, zone, whole_day=_END_OF_DAY)}")
    if options.exclude:
        words.append(f"not on {options.exclude.describe()}")
    if options.dst is not None:
        words.append(f"when clocks change: {options.dst.value}")
    if options.jitter:
        words.append(f"up to {describe_length(options.jitter)} late")
    if options.misfire != LATEST:
        words.append(f"missed runs: {options.misfire}")
    return "".join(f", {word}" for word in words)


def _bound(moment: datetime, zone: Zone, *, whole_day: time) -> str:
    """The date alone where the bound is one, as somebody has written it; else the moment by the zone's clocks."""
    wall = zone.wall(moment)
    return f"{wall:%Y-%m-%d}" if wall.time() == whole_day else f"{readable(wall)} {zone.name}"


def readable(moment: datetime) -> str:
    """A moment without its offset, as short as it can be exact."""
    exact = moment.second or moment.microsecond
    return f"{moment:%Y-%m-%d} {moment.time().isoformat('auto' if exact else 'minutes')}"


def _days(days: Days) -> str | None:
    """For example "Weekdays", "every day in May", "the 1st and 15th of the month"; None for what has no short words."""
    if days != _plain(days) or (days.of_month is not None and days.of_week is not None):
        return None
    if days.of_week is not None:
        named = _by_week(days.of_week, days.nth_of_week)
    elif days.of_month is not None:
        numbers = [_ordinal(day) for day in sorted(days.of_month)] + ["last day"] * days.last_of_month
        named = f"the {_listed(numbers)} of the month" if len(numbers) <= _MOST_TIMES else None
    else:
        named = "every day"
    if named is None or days.months == EVERY_MONTH:
        return named
    return f"{named.removesuffix(' of the month')} in {_listed(_MONTHS[month - 1] for month in sorted(days.months))}"


def _plain(days: Days) -> Days:
    """The same days without any of the rarer conditions."""
    return Days(
        months=days.months,
        of_month=days.of_month,
        last_of_month=days.last_of_month,
        of_week=days.of_week,
        nth_of_week=days.nth_of_week,
        either=days.either,
    )


def _by_week(weekdays: frozenset[int], nth: frozenset[tuple[int, int]]) -> str | None:
    if weekdays and nth:
        return None
    if nth:
        instances = sorted(nth, key=lambda each: (each[1] == LAST, each[1], each[0]))
        words = [f"{'last' if n == LAST else _ordinal(n)} {_WEEKDAYS[day]}" for day, n in instances]
        return f"the {_listed(words)} of the month"
    if weekdays == {1, 2, 3, 4, 5}:
        return "Weekdays"
    if weekdays == {0, 6}:
        return "Weekends"
    if len(weekdays) == 7:
        return "every day"
    return _listed(f"{_WEEKDAYS[day]}s" for day in sorted(weekdays, key=lambda day: (day + 6) % 7))


def _frequency(times: Times) -> str | None:
    """Words for times of day that are evenly apart."""
    seconds = list(times)
    first, last, step = seconds[0], seconds[-1], seconds[1] - seconds[0]
    if seconds != list(range(first, last + 1, step)):
        return None
    every = _every(step)
    if first < step and last + step >= SECONDS_OF_A_DAY and SECONDS_OF_A_DAY % step == 0:
        if first == 0:
            return every
        return f"{every} at :{first // 60:02}" if step == _HOUR and first % 60 == 0 else f"{every} from {_time(first)}"
    return f"{every} from {_time(first)} to {_time(last)}"


def _every(step: int) -> str:
    words = describe_length(timedelta(seconds=step))
    return f"every {words.removeprefix('1 ') if words.count(' ') == 1 else words}"


def _within_a_sentence(days: str) -> str:
    return days.replace("Week", "week", 1) if days.startswith(("Weekdays", "Weekends")) else days


def _time(second: int) -> str:
    minute, second = divmod(second, 60)
    return f"{minute // 60:02}:{minute % 60:02}" + (f":{second:02}" if second else "")


def _ordinal(number: int) -> str:
    suffix = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th") if number not in (11, 12, 13) else "th"
    return f"{number}{suffix}"


def _listed(words: Iterable[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last
