"""The job documents of a virtual server, in memory: what a claim and a settlement make of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from jobserver.store.documents import ClaimedJob, Settlement
from jobserver.store.states import Transition


@dataclass(slots=True, kw_only=True)
class VirtualDocument:
    """The holder of a recurring job, or one run that somebody asked for; `next_run_at` None is never due."""

    id: str
    name: str
    priority: int
    recurring: bool
    next_run_at: datetime | None
    anchor_at: datetime
    data: Any = None
    unique_key: str | None = None
    occurrence_at: datetime | None = None
    scheduled_for: datetime | None = None
    last_completed_at: datetime | None = None
    attempt: int = 0
    fence: int = 0
    is_running: bool = False

    def claim(self, now: datetime) -> ClaimedJob:
        """due → running."""
        assert self.next_run_at is not None
        self.is_running = True
        self.attempt += 1
        self.fence += 1
        self.scheduled_for = self.scheduled_for or self.occurrence_at or self.next_run_at
        return ClaimedJob(
            id=self.id,
            name=self.name,
            token=f"{self.id}:{self.fence}",
            fence=self.fence,
            attempt=self.attempt,
            started_at=now,
            scheduled_at=self.scheduled_for,
            recurring=self.recurring,
            document=self._as_mapping(),
            run_id=self.run_id,
        )

    @property
    def waits_for(self) -> datetime | None:
        """When it is to begin; None while it runs."""
        return None if self.is_running else self.next_run_at

    @property
    def run_id(self) -> str:
        """The id of the run that its last claim began."""
        return f"{self.id}:{self.fence}"

    def settle(self, settlement: Settlement, *, now: datetime) -> None:
        """running → whatever the run came to."""
        self.is_running = False
        match settlement.transition:
            case Transition.RELEASE:
                self.attempt -= 1
            case Transition.RETRY:
                assert settlement.retry_in is not None
                self.next_run_at = now + settlement.retry_in
                self.scheduled_for = settlement.job.scheduled_at
            case _:
                self._go_on(settlement, now)

    def _go_on(self, settlement: Settlement, now: datetime) -> None:
        if settlement.transition is Transition.COMPLETE:
            self.last_completed_at = now
        self.attempt, self.scheduled_for = 0, None
        self.next_run_at, self.occurrence_at = settlement.next_run_at, settlement.occurrence_at

    def _as_mapping(self) -> dict[str, Any]:
        """As far as a runner reads it, by the names that MongoDB has for it; what does not apply is absent."""
        fields = {
            "data": self.data,
            "anchorAt": self.anchor_at,
            "lastCompletedAt": self.last_completed_at,
        }
        return {name: value for name, value in fields.items() if value is not None}


class VirtualQueue:
    """All documents that wait or run."""

    def __init__(self) -> None:
        self._documents: dict[str, VirtualDocument] = {}
        self._added = 0

    def __iter__(self) -> Iterator[VirtualDocument]:
        return iter(self._documents.values())

    def new_id(self) -> str:
        """An id of no other document, the same in every run of a test."""
        self._added += 1
        return f"virtual-{self._added}"

    def add(self, document: VirtualDocument) -> VirtualDocument:
        """One more document; while one of its unique key waits or runs, that one instead."""
        for other in self._documents.values() if document.unique_key is not None else ():
            if (other.name, other.unique_key) == (document.name, document.unique_key):
                return other
        self._documents[document.id] = document
        return document

    def settle(self, settlement: Settlement, *, now: datetime) -> None:
        """What a run's end makes of its document; one that is not due again is done with."""
        document = self._documents[settlement.job.id]
        document.settle(settlement, now=now)
        if document.next_run_at is None and not document.recurring:
            del self._documents[document.id]

    def most_urgent(self, now: datetime, limit: Callable[[str], int]) -> VirtualDocument | None:
        """Of what is due and has room within its job's limit: the highest priority, then what was due first."""
        due = [(-each.priority, at, each) for each in self if (at := each.waits_for) is not None and at <= now]
        if not due:
            return None
        running = Counter(each.name for each in self if each.is_running)
        startable = [entry for entry in due if running[entry[2].name] < limit(entry[2].name)]
        return min(startable, key=lambda entry: entry[:2])[2] if startable else None

    def next_due(self, now: datetime) -> datetime | None:
        """The next moment after `now` at which something comes due."""
        moments = (each.waits_for for each in self)
        return min((moment for moment in moments if moment is not None and moment > now), default=None)
