"""A cron expression: five fields or six with seconds first, or an alias; read by croniter."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from jobserver.errors import ScheduleError, did_you_mean
from jobserver.excerpt import excerpt
from jobserver.schedule.days import LAST, Days
from jobserver.schedule.dialect import settled
from jobserver.schedule.field import FIELDS, Field
from jobserver.schedule.wall_clock import Grid, WallClock

ALIASES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}

LONGEST_EXPRESSION = 250


class Named(NamedTuple):
    """What one field names; `nth` are (day of the week, which one in the month, or LAST)."""

    numbers: tuple[int, ...]
    anything: bool = False
    last: bool = False
    nth: frozenset[tuple[int, int]] = frozenset()


def canonical(text: str) -> str:
    """One spelling for each expression: lower case, single spaces, aliases written out. Judges nothing."""
    folded = " ".join(text[: LONGEST_EXPRESSION + 1].lower().split())
    return ALIASES.get(folded, folded)


@lru_cache(maxsize=4096)
def read(expression: str) -> WallClock:
    """The times that a canonical expression names; ScheduleError says which field is wrong, and what it takes."""
    texts = _split(expression)
    second, minute, hour, day, month, weekday = (
        _named(text, place) for place, text in enumerate(texts if len(texts) == 6 else ("0", *texts))
    )
    if weekday.nth and not day.anything:
        whole = excerpt(expression)
        raise ScheduleError(f"{whole}: mon#2 or L5 cannot stand beside a day of month; write `*` for one of them")
    return WallClock(
        days=Days(
            months=frozenset(month.numbers),
            of_month=None if day.anything else frozenset(day.numbers),
            last_of_month=day.last,
            of_week=None if weekday.anything else frozenset(() if weekday.nth else weekday.numbers),
            nth_of_week=weekday.nth,
            either=True,
        ),
        times=Grid(hours=hour.numbers, minutes=minute.numbers, seconds=second.numbers),
        # Debian cron's rule, by what is written: the minute field or the hour field starts with `*`.
        follows_real_time=any(text.startswith("*") for text in texts[-5:-3]),
    )


def _split(expression: str) -> list[str]:
    if len(expression) > LONGEST_EXPRESSION:
        raise ScheduleError(f"{excerpt(expression)} is longer than {LONGEST_EXPRESSION} characters")
    if not expression.isascii():
        raise ScheduleError(f"{excerpt(expression)} holds characters that no cron expression has")
    if expression.startswith("@"):
        known = did_you_mean(expression, ALIASES) or f"; known: {', '.join(ALIASES)}"
        raise ScheduleError(f"unknown alias {excerpt(expression)}{known}")
    texts = expression.split()
    if len(texts) not in (5, 6):
        raise ScheduleError(
            f"{excerpt(expression)} has {len(texts)} field{'' if len(texts) == 1 else 's'}; cron has five "
            "(minute, hour, day of month, month, day of week), or six with seconds first"
        )
    return texts


@lru_cache(maxsize=4096)
def _named(text: str, place: int) -> Named:
    field = FIELDS[place]
    dialect = settled(text, field)
    if dialect == "*":
        # From the text: croniter forgets that 0-6 names days where it stands beside a `*`.
        return Named(tuple(range(field.low, field.high + 1)), anything=True)
    if dialect.isdigit() and field.low <= int(dialect[:9]) <= field.high:
        return Named((int(dialect[:9]),))
    expansion = _expand(dialect, field)
    if expansion is None:
        raise field.refusal(text, field.takes + did_you_mean(text[:20], field.names))
    return expansion


def _expand(dialect: str, field: Field) -> Named | None:
    from croniter import croniter  # 50 ms: a process that reads no cron expression does without

    alone = ["*"] * 5
    # Seconds as minutes: with six fields croniter 2 takes day 0 for 1, and forgets that 7 is Sunday.
    place = max(0, FIELDS.index(field) - 1)
    alone[place] = dialect
    try:
        expanded, nth = croniter.expand(" ".join(alone))
    except ValueError:  # the root of croniter's own errors
        return None
    return Named(
        numbers=_numbers(expanded[place], field),
        last="l" in expanded[place],
        nth=frozenset((day, LAST if week == "l" else int(week)) for day in nth for week in nth[day]),
    )


def _numbers(values: Sequence[int | str], field: Field) -> tuple[int, ...]:
    if "*" in values:
        return tuple(range(field.low, field.high + 1))
    return tuple(sorted({value for value in values if isinstance(value, int)}))
