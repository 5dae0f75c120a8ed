"""What happened in virtual time: one entry per attempt, and one per occurrence that was skipped."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from jobserver.runner.pulse.run import Run
from jobserver.runner.pulse.settling import HISTORY
from jobserver.store.documents import ABSENT, ClaimedJob, ProgressReport, Settlement, Skipped
from jobserver.store.states import Status


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualRun:
    """One attempt as `jobRuns` would keep it, or an occurrence that was skipped; moments are virtual.

    `status` is completed, failed, cancelled or skipped, and running while virtual time has not come to its end. A
    failed attempt that is tried again has `retry_at`. What is skipped is no attempt, its number is 0; of very many
    occurrences the last entry stands for all that follow, to before `skipped_until`.
    """

    name: str
    job_id: str
    scheduled_at: datetime
    started_at: datetime
    status: Status
    attempt: int
    data: Any = None
    finished_at: datetime | None = None
    result: Any = None
    error: str | None = None
    stack: str = ""
    reason: str | None = None
    retry_at: datetime | None = None
    skipped_until: datetime | None = None
    progress: tuple[ProgressReport, ...] = ()


class VirtualHistory:
    """Keeps runs in the order in which they began; also where a run's signs of life go."""

    def __init__(self) -> None:
        self._runs: dict[str, VirtualRun] = {}

    def __iter__(self) -> Iterator[VirtualRun]:
        return iter(self._runs.values())

    def get(self, run_id: str) -> VirtualRun | None:
        """The run of this id, None where it has not begun."""
        return self._runs.get(run_id)

    def begin(self, run: Run) -> None:
        """A run has begun."""
        job = run.job
        self._runs[job.run_id] = VirtualRun(
            name=job.name,
            job_id=job.id,
            scheduled_at=job.scheduled_at,
            started_at=job.started_at,
            status=Status.RUNNING,
            attempt=job.attempt,
            data=run.data,
        )

    def end(self, settlement: Settlement, *, now: datetime) -> None:
        """It has ended; one that was given back leaves no trace, as it does not count."""
        run_id, status = settlement.job.run_id, HISTORY.get(settlement.transition)
        if status is None:
            del self._runs[run_id]
            return
        run, error = self._runs[run_id], settlement.error
        self._runs[run_id] = replace(
            run,
            status=status,
            attempt=0 if status is Status.SKIPPED else run.attempt,
            finished_at=now,
            result=None if settlement.result is ABSENT else settlement.result,
            error=error.message if error else None,
            stack=error.stack if error else "",
            reason=settlement.reason,
            retry_at=None if settlement.retry_in is None else now + settlement.retry_in,
        )

    def skip(self, job: ClaimedJob, skipped: Iterable[Skipped], *, at: datetime, reason: str) -> None:
        """These occurrences do not run, which was found `at` this moment."""
        for each in skipped:
            self._runs[f"{job.id}:skipped:{each.at.timestamp()}"] = VirtualRun(
                name=job.name,
                job_id=job.id,
                scheduled_at=each.at,
                started_at=at,
                finished_at=at,
                status=Status.SKIPPED,
                attempt=0,
                reason=reason,
                skipped_until=each.until,
            )

    async def record_skipped(
        self, job: ClaimedJob, skipped: Sequence[Skipped], *, server: str, at: datetime, reason: str
    ) -> None:
        self.skip(job, skipped, at=at, reason=reason)

    async def withdraw_skipped(self, job: ClaimedJob, occurrence: datetime) -> None:
        self._runs.pop(f"{job.id}:skipped:{occurrence.timestamp()}", None)

    async def stand_for(self, job: ClaimedJob, occurrence: datetime) -> bool:
        return True

    async def touch(self, job: ClaimedJob, *, lock_lifetime: timedelta, report: ProgressReport | None = None) -> bool:
        if report is not None:
            run = self._runs[job.run_id]
            self._runs[job.run_id] = replace(run, progress=(*run.progress, report))
        return True
