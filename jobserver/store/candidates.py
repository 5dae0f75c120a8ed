"""Ids of due documents, read ahead of the claims that lock them.

Every claimed document leaves a gap in the index that the next read from its start has to cross, so a long backlog is
read in long pieces. Candidates are hints: the lock itself decides whether a document is still due.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from jobserver.store.documents import Lane

READ_AHEAD = 8  # claims per read, once a backlog shows


class Candidate(NamedTuple):
    """One due document: enough to lock it, and to keep the order in which it is due."""

    name: str
    id: Any
    priority: Any


class Candidates:
    """What was read and not yet tried, in the order of the claim; and of which jobs there may be more to read."""

    def __init__(self) -> None:
        self._waiting: list[Candidate] = []
        self._more: set[str] = set()
        self._crowd = 0  # how many of the first ones others are after, too

    def clear(self) -> None:
        """Forget them: something more urgent may have come."""
        self._waiting.clear()
        self._more.clear()
        self._crowd = 0

    def put(self, found: Sequence[Candidate], lanes: Sequence[Lane], limit: int) -> None:
        """Take in what a read of these lanes came to."""
        if self._waiting and found:
            self._waiting = sorted([*self._waiting, *found], key=_urgency)
        else:
            self._waiting += found
        if self._crowd:
            self._begin_elsewhere(self._crowd)
        counts = Counter(candidate.name for candidate in found)
        for lane in lanes:
            if len(found) >= limit or counts[lane.name] >= lane.limit:
                self._more.add(lane.name)
            else:
                self._more.discard(lane.name)

    def pick(self, lanes: Sequence[Lane], limit: int) -> list[Candidate]:
        """The first that these lanes have room for; they are waiting no more."""
        room = {lane.name: lane.limit for lane in lanes}
        picked: list[Candidate] = []
        left: list[Candidate] = []
        for candidate in self._waiting:
            if len(picked) < limit and room.get(candidate.name, 0) > 0:
                room[candidate.name] -= 1
                picked.append(candidate)
            else:
                left.append(candidate)
        self._waiting = left
        return picked

    def drop(self, names: set[str]) -> None:
        """Of these jobs nothing more can be claimed now."""
        self._waiting = [candidate for candidate in self._waiting if candidate.name not in names]
        self._more -= names

    def unfinished(self) -> set[str]:
        """The jobs that may have more than was picked."""
        return self._more | {candidate.name for candidate in self._waiting}

    def crowded(self, step: int) -> None:
        """Other servers are after the same ones: begin elsewhere among the equally urgent, now and after each read."""
        self._crowd = step
        self._begin_elsewhere(step)

    def _begin_elsewhere(self, step: int) -> None:
        if not self._waiting:
            return
        urgent = self._waiting[0].priority
        equal = next((n for n, each in enumerate(self._waiting) if each.priority != urgent), len(self._waiting))
        start = step * random.randrange(max(1, equal // step))
        self._waiting = [*self._waiting[start:equal], *self._waiting[:start], *self._waiting[equal:]]


def _urgency(candidate: Candidate) -> float:
    """Highest priority first; a document that a hand has given none, or nonsense, comes last."""
    priority = candidate.priority
    return -priority if isinstance(priority, (int, float)) else math.inf
