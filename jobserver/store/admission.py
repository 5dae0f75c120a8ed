"""Which due documents find room among a server's slots, and for how long a large one lets smaller ones pass.

A document that this server could run, only not now, is passed over: what comes after it in the order of the claim may
start meanwhile. Once it has been passed over for `patience` the line is closed behind it, and what runs makes room by
ending. What comes before it, being more urgent or due earlier, is let in all the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from jobserver.store.candidates import Candidate
from jobserver.store.documents import Lane
from jobserver.store.expressions import Expression, either

MORE_THAN_ANY = 2**53  # what nobody has: infinity, as a hand may write it


def slots_of(value: Any) -> int | None:
    """How many slots a document asks for; None where it says nothing, or nothing that makes sense."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        return None
    return math.ceil(value) if value < MORE_THAN_ANY else MORE_THAN_ANY


def needed(usual: Expression) -> Expression:
    """The same inside MongoDB, with what a run of this job usually takes where the document does not say."""
    is_number = {"$in": [{"$type": "$slots"}, ["int", "long", "double"]]}
    return either({"$and": [is_number, {"$gt": ["$slots", 0]}]}, "$slots", usual)


class Line:
    """Of each job the first document that was passed over, and since when."""

    def __init__(self, *, patience: timedelta, monotonic: Callable[[], float]) -> None:
        self._patience, self._monotonic = patience.total_seconds(), monotonic
        self._first: dict[str, tuple[Any, float]] = {}

    def pass_over(self, candidate: Candidate) -> bool:
        """Note that it waits; whether it has done so for long enough."""
        now = self._monotonic()
        first, since = self._first.get(candidate.name, (None, now))
        if first != candidate.id:
            since = now
        self._first[candidate.name] = (candidate.id, since)
        return now - since >= self._patience


class Admission:
    """The free slots of one claim: candidates are asked in the order of the claim, and use them up."""

    def __init__(self, *, available: int, free: int, lanes: Sequence[Lane], line: Line) -> None:
        self.available, self.free = available, free
        self.taken = 0
        self.left_out: set[str] = set()
        """The jobs of which something due was not let in."""
        self._usual = {lane.name: lane.slots for lane in lanes}
        self._line = line
        self._is_closed = False

    def admits(self, candidate: Candidate) -> bool:
        """Whether it may be claimed now."""
        needs = candidate.slots or self._usual[candidate.name]
        if not self._is_closed and self.taken + needs <= self.free:
            self.taken += needs
            return True
        # Of one job only the first in line counts: those after it wait for it.
        if not self._is_closed and candidate.name not in self.left_out:
            self._is_closed = self._line.pass_over(candidate)
        self.left_out.add(candidate.name)
        return False
