"""A cron expression: five fields or six with seconds first, or an alias; read by croniter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

from jobserver.errors import ScheduleError, did_you_mean
from jobserver.excerpt import excerpt
from jobserver.schedule.days import LAST, Days
from jobserver.schedule.dialect import settled
from jobserver.schedule.field import DAY_OF_MONTH, DAY_OF_WEEK, FIELDS, HOUR, MINUTE, MONTH, SECOND, Field
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

Values = Sequence[int | str]
Expansion = tuple[Sequence[Values], Mapping[int, set[int | str]]]
"""What croniter reads: the values of minute, hour, day, month, weekday (and second); weekday → which in the month."""


def canonical(text: str) -> str:
    """One spelling for each expression: lower case, single spaces, aliases written out. Judges nothing."""
    folded = " ".join(text[: LONGEST_EXPRESSION + 1].lower().split())
    return ALIASES.get(folded, folded)


@lru_cache(maxsize=4096)
def read(expression: str) -> WallClock:
    """The times that a canonical expression names; ScheduleError says which field is wrong, and what it takes."""
    texts = _split(expression)
    fields = FIELDS[-len(texts) :]
    dialect = [settled(text, field) for text, field in zip(texts, fields, strict=True)]
    expansion = _expand(dialect)
    if expansion is None:
        raise _blame(texts, dialect, fields)
    # Debian cron's rule, by what is written: the minute field or the hour field starts with `*`.
    follows_real_time = any(text.startswith("*") for text in texts[-5:-3])
    return _wall_clock(*expansion, dialect, follows_real_time)


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


def _expand(texts: Sequence[str]) -> Expansion | None:
    from croniter import croniter  # 50 ms: a process that reads no cron expression does without

    *seconds, minute, hour, day, month, weekday = texts
    try:
        expanded, nth = croniter.expand(f"{minute} {hour} {day} {month} {weekday}")
        for (
            second
        ) in seconds:  # as a minute: with six fields croniter 2 takes day 0 for 1, and forgets that 7 is Sunday
            expanded = [*expanded, croniter.expand(f"{second} * * * *")[0][0]]
    except ValueError:  # the root of croniter's own errors
        return None
    return expanded, nth


def _blame(texts: Sequence[str], dialect: Sequence[str], fields: Sequence[Field]) -> ScheduleError:
    """croniter does not say which field it could not read: the one that it cannot read among stars."""
    for index, field in enumerate(fields):
        alone = ["*"] * len(fields)
        alone[index] = dialect[index]
        if _expand(alone) is None:
            return field.refusal(texts[index], field.takes + did_you_mean(texts[index][:20], field.names))
    return ScheduleError(f"{excerpt(' '.join(texts))} is not a cron expression")


def _wall_clock(
    expanded: Sequence[Values],
    nth: Mapping[int, set[int | str]],
    dialect: Sequence[str],
    follows_real_time: bool,
) -> WallClock:
    minutes, hours, days, months, weekdays, *seconds = expanded
    # From the text: croniter forgets that 0-6 names days where it stands beside a `*`.
    any_day, any_weekday = dialect[-3] == "*", dialect[-1] == "*"
    if nth and not any_day:
        whole = excerpt(" ".join(dialect))
        raise ScheduleError(f"{whole}: mon#2 or L5 cannot stand beside a day of month; write `*` for one of them")
    return WallClock(
        days=Days(
            months=frozenset(_numbers(months, MONTH)),
            of_month=None if any_day else frozenset(_numbers(days, DAY_OF_MONTH)),
            last_of_month="l" in days,
            of_week=None if any_weekday else frozenset(() if nth else _numbers(weekdays, DAY_OF_WEEK)),
            nth_of_week=frozenset((day, LAST if week == "l" else int(week)) for day in nth for week in nth[day]),
            either=True,
        ),
        times=Grid(
            hours=_numbers(hours, HOUR),
            minutes=_numbers(minutes, MINUTE),
            seconds=_numbers(seconds[0], SECOND) if seconds else (0,),
        ),
        follows_real_time=follows_real_time,
    )


def _numbers(values: Values, field: Field) -> tuple[int, ...]:
    if "*" in values:
        return tuple(range(field.low, field.high + 1))
    return tuple(sorted({value for value in values if isinstance(value, int)}))
