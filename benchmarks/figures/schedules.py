"""How long it takes to read a schedule that was never seen before, and to find the next moment of one."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import combinations, product

from benchmarks.bench import Bench
from benchmarks.figure import Bound, Figure, Reading, Spread, Target, Unit
from jobserver.schedule import Schedule

ZONE = "Europe/Berlin"
START = datetime(2026, 3, 1, tzinfo=UTC)
STEPS = 5

_TH = (*range(4, 21), *range(24, 29))
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


def measure(bench: Bench) -> Figure:
    """Each text once, in a zone whose clocks change: on days that many schedules share, and on days of its own."""
    Schedule.parse("0 0 * * mon", ZONE).next_after(START)  # loads croniter and the zone
    count = 200 * bench.sizes.rounds
    sorts = {"cron": _cron(), "cron, rare days": _rare_cron(), "words": _words(), "words, rare days": _rare_words()}
    readings = [reading for what, texts in sorts.items() for reading in _readings(what, texts, count)]
    return Figure(
        title="a schedule is read, and the next moment found", readings=tuple(readings), facts={"texts": count}
    )


def _readings(what: str, texts: Iterator[str], count: int) -> Iterator[Reading]:
    parsed, found = _milliseconds(texts, count)
    yield _reading(f"{what}: parse and next", parsed, Target(bound=Bound.AT_MOST, limit=0.150))
    yield _reading(f"{what}: next", found, Target(bound=Bound.AT_MOST, limit=0.050))


def _cron() -> Iterator[str]:
    for minute, hour, days in product(range(60), range(24), ("*", "mon-fri", "1,3,5")):
        yield f"{minute} {hour} * * {days}"


def _words() -> Iterator[str]:
    for minute, hour, days in product(range(60), range(24), ("every weekday", "on the 1st and 15th", "every day")):
        yield f"{days} at {hour}:{minute:02}"


def _rare_cron() -> Iterator[str]:
    """The days of no text are at hand from one before it."""
    for (one, other), month in product(combinations(_TH, 2), range(1, 13)):
        yield f"30 9 {one},{other} {month} *"


def _rare_words() -> Iterator[str]:
    for (one, other), month in product(combinations(_TH, 2), _MONTHS):
        yield f"on the {one}th and {other}th of {month} at 9:30"


def _milliseconds(texts: Iterator[str], count: int) -> tuple[list[float], list[float]]:
    """For parsing with the first moment, and for the moments after it."""
    parsed, found = list[float](), list[float]()
    for _, text in zip(range(count), texts, strict=False):
        began = time.perf_counter()
        schedule = Schedule.parse(text, ZONE)
        moment = schedule.next_after(START)
        parsed.append((time.perf_counter() - began) * 1e3)
        for _ in range(STEPS):
            assert moment is not None
            began = time.perf_counter()
            moment = schedule.next_after(moment)
            found.append((time.perf_counter() - began) * 1e3)
    return parsed, found


def _reading(what: str, values: Sequence[float], target: Target) -> Reading:
    return Reading(what=what, unit=Unit.MILLISECONDS, spread=Spread.of(values), target=target)
