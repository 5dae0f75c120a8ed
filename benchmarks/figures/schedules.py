"""How long it takes to read a schedule that was never seen before, and to find the next moment of one."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import product

from benchmarks.bench import Bench
from benchmarks.figure import Bound, Figure, Reading, Spread, Target, Unit
from jobserver.schedule import Schedule

ZONE = "Europe/Berlin"
START = datetime(2026, 3, 1, tzinfo=UTC)
STEPS = 5


def measure(bench: Bench) -> Figure:
    """Cron and words, each text once, in a zone whose clocks change."""
    Schedule.parse("0 0 * * mon", ZONE).next_after(START)  # loads croniter and the zone
    count = 200 * bench.sizes.rounds
    cron, words = _milliseconds(_cron(), count), _milliseconds(_words(), count)
    readings = (
        _reading("cron: parse and next", cron[0], Target(bound=Bound.AT_MOST, limit=0.150)),
        _reading("cron: next", cron[1], Target(bound=Bound.AT_MOST, limit=0.050)),
        _reading("words: parse and next", words[0], Target(bound=Bound.AT_MOST, limit=0.150)),
        _reading("words: next", words[1], Target(bound=Bound.AT_MOST, limit=0.050)),
    )
    return Figure(title="a schedule is read, and the next moment found", readings=readings, facts={"texts": count})


def _cron() -> Iterator[str]:
    for minute, hour, days in product(range(60), range(24), ("*", "mon-fri", "1,3,5")):
        yield f"{minute} {hour} * * {days}"


def _words() -> Iterator[str]:
    for minute, hour, days in product(range(60), range(24), ("every weekday", "on the 1st and 15th", "every day")):
        yield f"{days} at {hour}:{minute:02}"


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
