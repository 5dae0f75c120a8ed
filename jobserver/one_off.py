"""A one-off job: its name runs at most once, ever."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any


class OneOffState(StrEnum):
    """How far it has come. FAILED and CANCELLED ones may be added again."""

    QUEUED = "queued"
    STARTED = "started"
    FINISHED = "finished"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class OneOff:
    """What was known of it when it was read; moments are aware UTC, None for what has not happened.

    `started_at` and `finished_at` are of its last attempt. `needs_code` means that only a server whose program has
    handed over the function can run it.
    """

    id: Any
    name: str
    state: OneOffState
    data: Any = None
    created_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    result: Any = None
    error: str | None = None
    needs_code: bool = False

    @property
    def has_ended(self) -> bool:
        """Whether it is over, well or not."""
        return self.state in (OneOffState.FINISHED, OneOffState.FAILED, OneOffState.CANCELLED)

    @property
    def has_succeeded_so_far(self) -> bool:
        """Whether it was added and has not failed, nor been cancelled."""
        return self.state not in (OneOffState.FAILED, OneOffState.CANCELLED)

    @property
    def since(self) -> datetime | None:
        """When it came into its state."""
        return {OneOffState.QUEUED: self.created_at, OneOffState.STARTED: self.started_at}.get(
            self.state, self.finished_at
        )
