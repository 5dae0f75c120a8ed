"""A task: a job document with arguments and a time of its own, as `JobClient.schedule` makes it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from jobserver.schedule import Schedule

RETENTION = timedelta(days=7)  # how long a document that has ended is kept, unless the settings say otherwise


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What was known of it when it was read; moments are aware UTC, None for what does not apply.

    `recurs` with a `recurrence` means again and again by that schedule, without one after each completion of the task
    `start_after`. `next_run_at` is None while it waits for that task, and once it has ended for good.
    """

    id: Any
    name: str
    data: Any
    status: str
    priority: int
    created_at: datetime | None
    recurs: bool
    recurrence: Schedule | None = None
    start_at: datetime | None = None
    start_after: Any = None
    next_run_at: datetime | None = None
    last_run_at: datetime | None = None
    last_completed_at: datetime | None = None
    last_error: str | None = None
    cancel_reason: str | None = None
    run_count: int = 0
