"""What becomes of occurrences that came due while nothing could run them: pure rules, no I/O.

An occurrence is late when a following one is due already, or when it begins more than `GRACE` after its moment.

    latest   the last one that is due runs, the earlier ones are skipped
    skip     the same, but the last one runs only within the grace
    all      they run one after another, the newest `max` of them; earlier ones are skipped
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice, takewhile
from typing import assert_never

from jobserver.runner.pulse.recurrence import Recurrence
from jobserver.schedule import MisfireKind
from jobserver.store.documents import Skipped

GRACE = timedelta(seconds=60)
MISSED = "missed: nothing could run it in time"
OVERLAPPED = "the run before it was still under way"
MOST_RECORDED = 1_000  # one by one; further ones share a record


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """The occurrence that a run stands for, whether it runs at all, and what is skipped to come there."""

    occurrence: datetime
    runs: bool = True
    skipped: tuple[Skipped, ...] = ()


def due_by(now: datetime, first: datetime, recurrence: Recurrence) -> Due:
    """Of all occurrences from `first` to `now`: which one is to run."""
    if not recurrence.has(first):  # somebody made it due by hand
        return Due(occurrence=first)
    misfire = recurrence.schedule.misfire
    match misfire.kind:
        case MisfireKind.LATEST | MisfireKind.ALL:
            chosen = _newest(recurrence, misfire.max, first, now)
            return Due(occurrence=chosen, skipped=skipped(recurrence, first, chosen))
        case MisfireKind.SKIP:
            chosen = _newest(recurrence, 1, first, now)
            runs = now - chosen <= GRACE
            return Due(occurrence=chosen, runs=runs, skipped=skipped(recurrence, first, chosen))
        case _:
            assert_never(misfire.kind)


def following(recurrence: Recurrence, occurrence: datetime, now: datetime) -> datetime | None:
    """When the document is due next, after the run for `occurrence` has ended by `now`."""
    return recurrence.after(occurrence if catches_up(recurrence) else max(now, occurrence))


def catches_up(recurrence: Recurrence) -> bool:
    """Whether no occurrence makes way for a later one."""
    return recurrence.schedule.misfire.kind is MisfireKind.ALL and not recurrence.foreign


def overlapped(recurrence: Recurrence, occurrence: datetime, upcoming: datetime | None) -> tuple[Skipped, ...]:
    """What came due while the run for `occurrence` was under way, and does not start."""
    first = recurrence.after(occurrence)
    if first is None or upcoming is None or recurrence.foreign:
        return ()
    return skipped(recurrence, first, upcoming)


def skipped(recurrence: Recurrence, first: datetime, end: datetime) -> tuple[Skipped, ...]:
    """The occurrences from `first` to before `end`, the last of very many as one."""
    if first >= end:
        return ()
    found = list(islice(takewhile(lambda each: each < end, _from(recurrence, first)), MOST_RECORDED + 1))
    single = tuple(Skipped(at=at) for at in found[:MOST_RECORDED])
    return single if len(found) <= MOST_RECORDED else (*single, Skipped(at=found[-1], until=end))


def _from(recurrence: Recurrence, occurrence: datetime | None) -> Iterator[datetime]:
    while occurrence is not None:
        yield occurrence
        occurrence = recurrence.after(occurrence)


def _newest(recurrence: Recurrence, count: int, first: datetime, now: datetime) -> datetime:
    """The oldest of the last `count` occurrences from `first` to `now`: looks back ever further until it has them."""
    back = timedelta(seconds=1)
    while True:
        begin = now - min(back, now - first)
        start = first if begin == first else recurrence.after(begin)
        found = deque(takewhile(lambda each: each <= now, _from(recurrence, start)), maxlen=count)
        if len(found) == count or begin == first:
            return found[0] if found else first
        back *= 2
