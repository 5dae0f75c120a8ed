"""Before a recurring document runs: brings it on to the occurrence that its misfire policy says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Protocol

import structlog

from jobserver.errors import DatabaseError
from jobserver.runner.pulse.misfire import MISSED, Due, due_by
from jobserver.runner.pulse.recurrence import is_task, recurrence
from jobserver.runner.pulse.run import Run, Stop
from jobserver.store.documents import ClaimedJob, Skipped

DISABLED = "its job is disabled"

_log = structlog.get_logger("jobserver")


class Occurrences(Protocol):
    """Where it stands which occurrence a claimed document is for."""

    async def stand_for(self, job: ClaimedJob, occurrence: datetime) -> bool:
        """Say that this claim is for a later occurrence than the one it was due for; False when the lock is lost."""
        ...


class SkippedHistory(Protocol):
    """Where occurrences that do not run are kept."""

    async def record_skipped(
        self, job: ClaimedJob, skipped: Sequence[Skipped], *, server: str, at: datetime, reason: str
    ) -> None:
        """Store an entry for each of these occurrences. Raises DatabaseError."""
        ...

    async def withdraw_skipped(self, job: ClaimedJob, occurrence: datetime) -> None:
        """It runs after all: remove the entry that says it was skipped. Raises DatabaseError."""
        ...


class MissedOccurrences:
    """Skips, in the database first, what is not caught up with."""

    def __init__(self, *, store: Occurrences, history: SkippedHistory, server: Callable[[], str]) -> None:
        self._store, self._history, self._server = store, history, server

    async def may_run(self, run: Run) -> bool:
        """Whether this run is to begin; it then stands for the occurrence in `job.scheduled_at`.

        Raises ScheduleError for a task whose recurrence cannot be read.
        """
        job = run.job
        if is_task(job) and not run.known.settings.enabled:
            run.stop_reason = DISABLED
            return False
        follows = recurrence(job, run.known.settings.schedule)
        if follows is None or follows.foreign or job.attempt > 1:
            return True
        due = due_by(job.started_at, job.scheduled_at, follows)
        left_out = due.skipped if due.runs else (*due.skipped, Skipped(at=due.occurrence))
        if left_out:
            _warn(job, left_out, policy=str(follows.schedule.misfire))
        try:
            held = await self._bring_on(job, due)
        except DatabaseError as error:
            run.stop, run.stop_reason = Stop.SHUTDOWN, f"not begun: {error}"
            return False
        if not held:
            run.stop, run.stop_reason = Stop.LOCK_LOST, "another claim holds the document, or it was removed"
            return False
        job.scheduled_at = due.occurrence
        if not due.runs:
            run.stop_reason = MISSED
        return due.runs

    async def _bring_on(self, job: ClaimedJob, due: Due) -> bool:
        """To the occurrence that is due, in the database; False when the lock is lost."""
        if due.skipped:
            await self._history.record_skipped(
                job, due.skipped, server=self._server(), at=job.started_at, reason=MISSED
            )
            if not await self._store.stand_for(job, due.occurrence):
                return False
        if due.runs and job.document.get("crashes"):
            # The server that crashed may have recorded this one as overlapped, and not have come to move on from it.
            await self._history.withdraw_skipped(job, due.occurrence)
        return True


def _warn(job: ClaimedJob, left_out: Sequence[Skipped], *, policy: str) -> None:
    _log.warning(
        "occurrences skipped",
        name=job.name,
        count=len(left_out),
        first=left_out[0].at.isoformat(),
        last=(left_out[-1].until or left_out[-1].at).isoformat(),
        reason=MISSED,
        misfire=policy,
    )
