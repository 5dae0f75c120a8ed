"""The values that cross the store's border, free of driver types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from jobserver.store.states import Status, Transition


class _Absent:
    """The mark of "no value": None is a value that a job may return."""

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Final = _Absent()


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """One job's share of a claim: at most `limit` documents of `name`, each locked for `lock_lifetime`.

    `global_limit` bounds how many of it all servers together may run; `slots` is what one run usually takes here. A run
    that takes longer than `longest_run` is stopped.
    """

    name: str
    limit: int
    lock_lifetime: timedelta
    global_limit: int | None = None
    slots: int = 1
    longest_run: timedelta | None = None


@dataclass(slots=True, kw_only=True)
class ClaimedJob:
    """A job document that this server holds: every later write carries `token`.

    `run_id` names one claim of one document. It is the id of the run's history entry: writing that twice is harmless.
    `slots` are those of this server that its run holds now; 0 where they are not limited.
    """

    id: Any
    name: str
    token: str
    fence: int
    attempt: int
    started_at: datetime
    scheduled_at: datetime
    recurring: bool
    document: Mapping[str, Any]
    run_id: str
    slots: int = 0

    @property
    def crash_count(self) -> int:
        """How many crashes its document counts once this run is taken back from a process that died."""
        before = self.document.get("crashes")
        return before + 1 if isinstance(before, int) else 1

    @property
    def one_off(self) -> bool:
        """Whether its document stays for ever, so that its name never runs again."""
        return self.document.get("oneOff") is True

    def continues(self, next_run_at: datetime | None) -> bool:
        """Whether the document is still waited for once this run has ended: by a schedule, or after its parent."""
        return next_run_at is not None or self.document.get("recurrence") is True

    def is_last(self, next_run_at: datetime | None) -> bool:
        """Whether nothing comes after this run: the holder of a job stays, and so does what Pulse repeats."""
        if not self.recurring:
            return True
        is_task = self.document.get("type") != "single" and bool(self.document.get("recurrence"))
        return is_task and not self.continues(next_run_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorRecord:
    """Why a run failed: one line for `lastError`, and the traceback for `stack`."""

    message: str
    stack: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """An occurrence that does not run; with `until` all of them from `at` to before that moment."""

    at: datetime
    until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StopStep:
    """One of the steps by which a run was stopped, and when."""

    step: str
    at: datetime


@dataclass(slots=True, kw_only=True)
class Settlement:
    """How one run ended, and what becomes of its document.

    `next_run_at` is when a recurring job is due next, `occurrence_at` the occurrence this stands for, where jitter has
    moved it; `retry_in` counts from the server's now. `skipped` came due during the run and does not start. `steps` are
    those by which it was stopped; `lock_lost` says that its server knew that nothing would be stored.
    """

    job: ClaimedJob
    transition: Transition
    duration: timedelta
    result: Any = ABSENT
    error: ErrorRecord | None = None
    next_run_at: datetime | None = None
    occurrence_at: datetime | None = None
    skipped: tuple[Skipped, ...] = ()
    retry_in: timedelta | None = None
    reason: str | None = None
    steps: tuple[StopStep, ...] = ()
    lock_lost: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """One entry of `jobRuns`: an attempt that ended, or one that was skipped."""

    job: ClaimedJob
    status: Status
    server: str
    duration: timedelta
    result: Any = ABSENT
    error: ErrorRecord | None = None
    reason: str | None = None
    steps: tuple[StopStep, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgressReport:
    """What `progress(total, current, message)` stores; percent is None where total is 0."""

    total: float
    current: float
    message: str | None

    @property
    def percent(self) -> float | None:
        """0 to 100, rounded down to whole percents."""
        if not self.total:
            return None
        return int(min(100, 100 * self.current / self.total))  # the largest numbers give infinity
