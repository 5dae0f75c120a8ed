"""What a chaos run leaves behind, as plain records: what MongoDB committed, what runs noted, what happened outside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One committed write to one document; `before` and `after` are the whole of it, {} where there is none.

    `at` is the wall clock of the primary that made it. The order of changes is the order of their commits.
    """

    at: datetime
    collection: str
    id: Any
    before: Document = field(default_factory=dict)
    after: Document = field(default_factory=dict)


class Sign(StrEnum):
    """What a run notes of itself."""

    BEGIN = "begin"
    BEAT = "beat"  # it still works
    END = "end"  # all its work is done, and its result is about to be returned


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A sign of life of one run, fsynced before the run went on; `clock` is in seconds, the same for all processes."""

    job: str
    id: str
    fence: int
    sign: Sign
    clock: float
    pid: int
    is_process: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Death:
    """A process that is known to have ended, not before this moment."""

    pid: int
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Skip:
    """An occurrence of a recurring document that was recorded as skipped; with `until` all from `at` to before that."""

    id: str
    at: datetime
    until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """What is allowed: per job at once on all servers, attempts of one occurrence, crashes of it.

    `stall` is how long a server stood still, at the least, where a run of it overlaps with its successor: the seconds
    from the moment at which it stops its own runs to the end of its lease.
    """

    limits: Mapping[str, int] = field(default_factory=dict)
    attempts: Mapping[str, int] = field(default_factory=dict)
    crashes: int = 3
    stall: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """What the database cannot tell.

    `accepted` are the ids that clients were given. From `settled_at` on every server is to obey every configuration:
    nothing is disturbed any more, and the last edit is ten seconds old.
    """

    accepted: frozenset[str] = frozenset()
    deaths: tuple[Death, ...] = ()
    skips: tuple[Skip, ...] = ()
    promise: Promise = field(default_factory=Promise)
    settled_at: datetime | None = None
