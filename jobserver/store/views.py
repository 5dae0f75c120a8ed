"""What people are shown: plain values, read from documents that anyone may have written.

A field that is missing, or that holds something of another kind than it should, is None.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunView:
    """One attempt; `duration` in milliseconds."""

    id: str
    job_id: str
    name: str
    status: str
    attempt: int | None
    scheduled_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    duration: int | None
    server: str | None
    result: Any
    error: str | None
    stack: str | None
    reason: str | None = None
    """Why it was skipped or cancelled."""

    @classmethod
    def of(cls, entry: Document) -> RunView:
        """Read one entry of `jobRuns`."""
        return cls(
            id=str(entry["_id"]),
            job_id=str(entry.get("jobId")),
            name=str(entry.get("name")),
            status=str(entry.get("status")),
            attempt=whole(entry.get("attempt")),
            scheduled_at=moment(entry.get("scheduledAt")),
            started_at=moment(entry.get("startedAt")),
            finished_at=moment(entry.get("finishedAt")),
            duration=whole(entry.get("duration")),
            server=text(entry.get("server")),
            result=entry.get("result"),
            error=text(entry.get("error")),
            stack=text(entry.get("stack")),
            reason=text(entry.get("reason")),
        )

    @classmethod
    def under_way(cls, document: Document) -> RunView:
        """Read a locked document of the jobs collection: its run has no entry before it ends."""
        return cls(
            id=f"{document['_id']}:{document.get('fence')}",
            job_id=str(document["_id"]),
            name=str(document.get("name")),
            status="running",
            attempt=whole(document.get("attempt")),
            scheduled_at=moment(document.get("scheduledFor")),
            started_at=moment(document.get("lastRunAt")),
            finished_at=None,
            duration=None,
            server=text(document.get("lockedBy")),
            result=None,
            error=None,
            stack=None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class OccurrenceView:
    """One document of the jobs collection."""

    id: str
    name: str
    status: str
    next_run_at: datetime | None
    failed_at: datetime | None
    attempt: int | None
    crashes: int
    poison: bool
    progress: float | None
    progress_message: str | None
    duration: int | None
    result: Any
    error: str | None
    stack: str | None
    cancel_reason: str | None
    data: Any

    @classmethod
    def of(cls, document: Document) -> OccurrenceView:
        """Read one document; one without a status waits to be run."""
        told = document.get("progressData")
        return cls(
            id=str(document["_id"]),
            name=str(document.get("name")),
            status=text(document.get("status")) or "queued",
            next_run_at=moment(document.get("nextRunAt")),
            failed_at=moment(document.get("failedAt")),
            attempt=whole(document.get("attempt")),
            crashes=whole(document.get("crashes")) or 0,
            poison=document.get("poison") is True,
            progress=number(document.get("progress")),
            progress_message=text(told.get("message")) if isinstance(told, Mapping) else None,
            duration=whole(document.get("duration")),
            result=document.get("result"),
            error=text(document.get("lastError")),
            stack=text(document.get("stack")),
            cancel_reason=text(document.get("cancelReason")),
            data=document.get("data"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class JobView:
    """One job: its `jobConfigs` document, the holder of its schedule, what runs and waits, its newest run.

    `applied_schedule` is what was in force last, for a `schedule` that turns out to be unusable. `anchor_at` is where
    the intervals of the schedule with the key `schedule_key` count from.
    """

    name: str
    enabled: bool
    schedule: Any
    applied_schedule: Any
    config_error: str | None
    missing_since: datetime | None
    schedule_key: str | None
    anchor_at: datetime | None
    next_run_at: datetime | None
    poison: bool
    running: int
    progress: float | None
    last_run: RunView | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotsView:
    """A limit on what one server runs at once, and how much of it is in use."""

    available: int
    used: int

    @classmethod
    def of(cls, told: Any) -> SlotsView | None:
        """Read what a server says; None where it has no limit."""
        available = whole(told.get("available")) if isinstance(told, Mapping) else None
        return None if available is None else cls(available=available, used=whole(told.get("used")) or 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerView:
    """One registered server; dead ones stay until another server has taken their locks back.

    `slots` is None where they are not limited; a `draining` server ends once its runs have.
    """

    id: str
    host: str
    pid: int | None
    version: str | None
    supervisor: str | None
    alive: bool
    started_at: datetime | None
    heartbeat_at: datetime | None
    lease_until: datetime | None
    running: int
    slots: SlotsView | None = None
    draining: bool = False

    @classmethod
    def of(cls, document: Document, *, running: int) -> ServerView:
        """Read one registration, with `alive` as MongoDB's own clock has judged it."""
        return cls(
            id=str(document["_id"]),
            host=text(document.get("host")) or "?",
            pid=whole(document.get("pid")),
            version=text(document.get("version")),
            supervisor=text(document.get("supervisor")),
            alive=document.get("alive") is True,
            started_at=moment(document.get("startedAt")),
            heartbeat_at=moment(document.get("heartbeatAt")),
            lease_until=moment(document.get("leaseUntil")),
            running=running,
            slots=SlotsView.of(document.get("slots")),
            draining=document.get("draining") is True,
        )

    def is_silent(self, now: datetime) -> bool:
        """Whether half of its lease is over, so that three renewals have not come: it stands still, or is gone."""
        if self.heartbeat_at is None or self.lease_until is None:
            return False
        return now - self.heartbeat_at > (self.lease_until - self.heartbeat_at) / 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How many job documents there are of each sort at one moment."""

    queued: int
    scheduled: int
    running: int
    dead: int
    stale_locks: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownName:
    """A name that no server knows a job for, and how many job documents wait for one."""

    name: str
    waiting: int
    due_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One field of one version: what it was and what it became."""

    field: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionView:
    """One version of a job's configuration, from `jobConfigHistory`."""

    version: int
    at: datetime | None
    by: str | None
    changes: tuple[Change, ...]
    values: Document


def moment(value: Any) -> datetime | None:
    """A date, where it is one that Python can hold."""
    return value if isinstance(value, datetime) else None


def whole(value: Any) -> int | None:
    """A whole number; MongoDB's shell writes them as doubles."""
    found = number(value)
    return int(found) if found is not None and found == found // 1 else None


def number(value: Any) -> float | None:
    """A finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value - value != 0:
        return None
    return value


def text(value: Any) -> str | None:
    """A text."""
    return value if isinstance(value, str) else None
