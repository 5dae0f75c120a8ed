"""Ids of due documents, read ahead of the claims that lock them.

Every claimed document leaves a gap in the index that the next read from its start has to cross, so a long backlog is
read in long pieces. Servers that work on one backlog read the same ids; once their claims collide, each keeps to its
own share of what it reads. Candidates are hints: the lock itself decides whether a document is still due.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol
from zlib import crc32

from bson import ObjectId

from jobserver.store.documents import Lane

READ_AHEAD = 8  # claims per read, once a backlog shows


class Candidate(NamedTuple):
    """One due document: enough to lock it, and to keep the order in which it is due.

    `slots` is what it asks for itself; it is looked at only where slots are limited.
    """

    name: str
    id: Any
    priority: Any
    slots: int | None = None


class Doorkeeper(Protocol):
    """Who says, candidate by candidate in the order of the claim, whether there is room for it."""

    def admits(self, candidate: Candidate) -> bool:
        """True uses the room up."""
        ...


class Share(NamedTuple):
    """Which part of a backlog is one server's: the ids whose checksum leaves `number` when divided by `of`."""

    number: int = 0
    of: int = 1

    def has(self, candidate: Candidate) -> bool:
        """Whether this one belongs to it; every process comes to the same answer."""
        id_ = candidate.id
        return crc32(id_.binary if isinstance(id_, ObjectId) else repr(id_).encode()) % self.of == self.number


WHOLE = Share()


class Candidates:
    """What was read and not yet tried, in the order of the claim; and of which jobs there may be more to read."""

    def __init__(self) -> None:
        self._waiting: list[Candidate] = []
        self._more: set[str] = set()
        self._share = WHOLE

    def clear(self) -> None:
        """Forget them: something more urgent may have come."""
        self._waiting.clear()
        self._more.clear()

    def put(self, found: Sequence[Candidate], lanes: Sequence[Lane], limit: int) -> None:
        """Take in what a read of these lanes came to."""
        own = self._own(found) if len(found) >= limit else found
        if self._waiting and own:
            self._waiting = sorted([*self._waiting, *own], key=_urgency)
        else:
            self._waiting += own
        counts = Counter(candidate.name for candidate in found)
        for lane in lanes:
            if len(found) >= limit or counts[lane.name] >= lane.limit:
                self._more.add(lane.name)
            else:
                self._more.discard(lane.name)

    def pick(self, lanes: Sequence[Lane], limit: int, doorkeeper: Doorkeeper | None = None) -> list[Candidate]:
        """The first that these lanes, and the doorkeeper, have room for; they are waiting no more."""
        room = {lane.name: lane.limit for lane in lanes}
        picked: list[Candidate] = []
        left: list[Candidate] = []
        for candidate in self._waiting:
            has_room = len(picked) < limit and room.get(candidate.name, 0) > 0
            if has_room and (doorkeeper is None or doorkeeper.admits(candidate)):
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

    def divide(self, share: Share) -> None:
        """From now on keep to this share of a long backlog."""
        if share != self._share:
            self._share = share
            own = self._own(self._waiting)
            if len(own) < len(self._waiting):  # what was left to others must be looked at again, should they not come
                self._more.update(candidate.name for candidate in self._waiting)
                self._waiting = own

    def _own(self, found: Sequence[Candidate]) -> list[Candidate]:
        """Our share of what is equally urgent, or all of it when the others leave theirs lying."""
        found = list(found)
        if self._share == WHOLE or not found or _urgency(found[0]) != _urgency(found[-1]):
            return found
        own = [candidate for candidate in found if self._share.has(candidate)]
        return own if 2 * self._share.of * len(own) >= len(found) else found


def _urgency(candidate: Candidate) -> float:
    """Highest priority first; a document that a hand has given none, or nonsense, comes last."""
    priority = candidate.priority
    return -priority if isinstance(priority, (int, float)) else math.inf
