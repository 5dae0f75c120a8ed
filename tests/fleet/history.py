"""What a fleet has left behind, as plain records: the history in MongoDB, and what the runs have noted themselves."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from pymongo.database import Database

Document = dict[str, Any]

LOST_WITH_ITS_SERVER = ("died while it ran", "the lock expired", "what this run came to was not stored")
"""How the history names the end of a run whose server could say nothing any more, or said it too late: who stood still
and wakes up may find its lock taken before the other has written why."""


class End(StrEnum):
    """How a run ended, by its entry in the history."""

    COMPLETED = "completed"
    CRASHED = "crashed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One claim of one document, for one moment."""

    job: str
    run: str
    at: datetime
    end: End
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Skip:
    """A moment that was recorded as skipped; with `until` all of them from `at` to before that one."""

    job: str
    at: datetime
    until: datetime | None = None

    def covers(self, moment: datetime) -> bool:
        """Whether it speaks of this moment."""
        return self.at == moment if self.until is None else self.at <= moment < self.until


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """What the code of a run wrote when it was called."""

    job: str
    run: str
    at: datetime
    pid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """All of it; `killed` are the processes that could not write their last words."""

    runs: tuple[Run, ...] = ()
    skips: tuple[Skip, ...] = ()
    notes: tuple[Note, ...] = ()
    killed: frozenset[int] = field(default_factory=frozenset)


def read_history(database: Database[Document], *, killed: frozenset[int]) -> History:
    """From `jobRuns` and `notes`."""
    entries = list(
        database.jobRuns.find({}, {"jobId": 1, "scheduledAt": 1, "status": 1, "error": 1, "skippedUntil": 1})
    )
    return History(
        runs=tuple(_run(entry) for entry in entries if entry["status"] != "skipped"),
        skips=tuple(_skip(entry) for entry in entries if entry["status"] == "skipped"),
        notes=tuple(_note(note) for note in database.notes.find({})),
        killed=killed,
    )


def _run(entry: Document) -> Run:
    crashed = entry["status"] == "failed" and str(entry.get("error")).endswith(LOST_WITH_ITS_SERVER)
    end = End.CRASHED if crashed else End.COMPLETED if entry["status"] == "completed" else End.FAILED
    job, at = str(entry["jobId"]), _aware(entry["scheduledAt"])
    return Run(job=job, run=entry["_id"], at=at, end=end, error=entry.get("error"))


def _skip(entry: Document) -> Skip:
    until = entry.get("skippedUntil")
    return Skip(
        job=str(entry["jobId"]), at=_aware(entry["scheduledAt"]), until=None if until is None else _aware(until)
    )


def _note(note: Document) -> Note:
    return Note(job=note["run"].rsplit(":", 1)[0], run=note["run"], at=_aware(note["due"]), pid=note["pid"])


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
