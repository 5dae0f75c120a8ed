"""What the documents should be: a small pure model of jobs, claims, leases and a clock that anybody may move.

Moments are whole minutes. Every length is chosen so that only a due time can be reached exactly: what is due at this
minute is due, and a lease, a lock or a deadline is either clearly over or clearly not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from jobserver.store.states import Status, Transition

LEASE, GRACE = 25, 5
LOCK_LIFETIME = 45
LONGEST_RUN, OVERDUE_AFTER = 73, 5
INTERVAL, RETRY_IN = 20, 20
MAX_CRASHES = 3


class Kind(StrEnum):
    """What kind of document: asked for once, a task with a recurrence, the holder of a job's own schedule."""

    ONCE = "once"
    TASK = "task"
    HOLDER = "holder"


@dataclass(slots=True, kw_only=True)
class Job:
    """One document; None is a field that is not there."""

    name: str
    kind: Kind = Kind.ONCE
    priority: int = 0
    status: Status = Status.QUEUED
    due: int | None = None
    key: str | None = None
    fence: int | None = None
    attempt: int | None = None
    crashes: int | None = None
    scheduled_for: int | None = None
    token: str | None = None
    owner: str | None = None
    lock_until: int | None = None
    deadline: int | None = None
    asked_to_stop: str | None = None
    run_count: int | None = None
    finished_count: int | None = None
    fail_count: int | None = None
    settled_by: str | None = None
    crashed_token: str | None = None
    schedule: str | None = None
    rearm: int | None = None
    poison: bool = False
    disabled: bool = False
    withdrawn: bool = False
    expires: bool = False

    @property
    def recurs(self) -> bool:
        """Whether something comes after a run of it."""
        return self.kind is not Kind.ONCE

    @property
    def is_live(self) -> bool:
        """Whether it waits or runs."""
        return self.due is not None or self.token is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """What a server remembers of its claim."""

    id: Any
    token: str
    owner: str
    scheduled_for: int | None


Which = Callable[[Job], bool]
Lock = tuple[Any, str]  # of a document, under a token


@dataclass(slots=True)
class Model:
    """All documents, and the leases of the servers that are registered."""

    now: int = 0
    jobs: dict[Any, Job] = field(default_factory=dict)
    leases: dict[str, int] = field(default_factory=dict)

    # what is asked for

    def active(self, name: str, key: str) -> Any | None:
        """The id of the document with this unique key."""
        return next((id_ for id_, job in self.jobs.items() if (job.name, job.key) == (name, key)), None)

    def holder(self, name: str) -> Job | None:
        """The document of a job's own schedule."""
        return next((job for job in self.jobs.values() if job.kind is Kind.HOLDER and job.name == name), None)

    # claims

    def can_be_claimed(self, job: Job) -> bool:
        """Due, unlocked, not disabled."""
        return job.token is None and not job.disabled and job.due is not None and job.due <= self.now

    def claim(self, id_: Any, *, token: str, owner: str, longest: int | None) -> None:
        """due → running."""
        job = self.jobs[id_]
        assert self.can_be_claimed(job), f"{job} was claimed"
        job.status, job.token, job.owner = Status.RUNNING, token, owner
        job.lock_until = self.now + LOCK_LIFETIME
        job.deadline = None if longest is None else self.now + longest
        job.fence, job.attempt, job.run_count = plus(job.fence), plus(job.attempt), plus(job.run_count)
        job.scheduled_for = job.due if job.scheduled_for is None else job.scheduled_for
        job.withdrawn = job.expires = False

    def held(self, claimed: Claimed) -> Job | None:
        """Its document, while that carries the token of this claim."""
        job = self.jobs.get(claimed.id)
        return job if job is not None and job.token == claimed.token else None

    def touch(self, claimed: Claimed) -> bool:
        """A sign of life; whether the lock was there."""
        if (job := self.held(claimed)) is not None:
            job.lock_until = self.now + LOCK_LIFETIME
        return job is not None

    # ends

    def settle(self, claimed: Claimed, transition: Transition, *, is_last: bool) -> bool:
        """running → whatever it came to; whether the lock was there, and so the end was stored."""
        if (job := self.held(claimed)) is None:
            return False
        match transition:
            case Transition.RELEASE:
                self.release(job)
            case Transition.REAP:
                self.crash(job)
            case Transition.RETRY:
                self._retry(job, claimed)
            case _:
                self._end(job, transition, None if is_last else self.now + INTERVAL)
        return True

    def is_known_to_have_settled(self, claimed: Claimed, transition: Transition) -> bool:
        """What the document says to who asks after a lost answer."""
        if (job := self.jobs.get(claimed.id)) is None:
            return False
        match transition:
            case Transition.RELEASE:
                return job.token != claimed.token
            case Transition.REAP:
                return job.crashed_token == claimed.token
            case _:
                return job.settled_by == claimed.token and job.crashed_token != claimed.token

    def release(self, job: Job) -> None:
        """running → queued, nothing counted."""
        job.status = Status.CANCELLED if job.withdrawn else Status.QUEUED
        job.attempt, job.run_count = less(job.attempt), less(job.run_count)
        if job.withdrawn:
            job.due, job.settled_by = None, job.token
        _unlock(job)
        _close_withdrawn(job)

    def crash(self, job: Job) -> None:
        """running → queued, one crash counted; the third is the last."""
        job.crashes, job.attempt, job.crashed_token = plus(job.crashes), less(job.attempt), job.token
        is_poison = job.crashes >= MAX_CRASHES
        job.status = Status.FAILED if is_poison else Status.CANCELLED if job.withdrawn else Status.QUEUED
        job.poison = is_poison
        if is_poison:
            job.fail_count, job.key, job.rearm = plus(job.fail_count), None, None
        if is_poison or job.withdrawn:
            job.settled_by, job.due = job.token, None
        _unlock(job)
        _close_withdrawn(job)

    def overrun(self, job: Job) -> None:
        """running → failed by another server: its own has not stopped it."""
        job.status, job.settled_by, job.crashed_token = Status.FAILED, job.token, job.token
        job.fail_count = plus(job.fail_count)
        if not job.recurs or job.withdrawn:
            job.due, job.key, job.expires = None, None, True
        _unlock(job)
        _forget_occurrence(job)

    def take_back(self, seen: Iterable[Lock], which: Which, end: Callable[[Job], None]) -> set[Lock]:
        """Of the locks that were seen those that are still like that."""
        taken = set()
        for id_, token in seen:
            job = self.jobs[id_]
            if job.token == token and which(job):
                end(job)
                taken.add((id_, token))
        return taken

    def locks(self, which: Which) -> list[Lock]:
        """What is locked, of these."""
        return [(id_, job.token) for id_, job in self.jobs.items() if job.token is not None and which(job)]

    def is_stuck(self, job: Job) -> bool:
        """No sign of life for a whole lock lifetime."""
        return job.lock_until is not None and job.lock_until < self.now

    def is_overdue(self, job: Job) -> bool:
        """It should have been stopped long ago."""
        return job.deadline is not None and job.deadline + OVERDUE_AFTER < self.now

    def is_alive(self, server: str) -> bool:
        """Whether its lease, and some seconds more, are not over."""
        return server in self.leases and self.leases[server] + GRACE > self.now

    def _retry(self, job: Job, claimed: Claimed) -> None:
        job.status = Status.CANCELLED if job.withdrawn else Status.SCHEDULED
        job.due = None if job.withdrawn else self.now + RETRY_IN
        job.fail_count, job.settled_by = plus(job.fail_count), job.token
        if job.recurs:
            job.scheduled_for = claimed.scheduled_for
        _unlock(job)
        _close_withdrawn(job)

    def _end(self, job: Job, transition: Transition, upcoming: int | None) -> None:
        job.status = _ENDS[transition]
        job.settled_by = job.token
        match transition:
            case Transition.COMPLETE:
                job.finished_count, job.poison = plus(job.finished_count), False
            case Transition.FAIL:
                job.fail_count = plus(job.fail_count)
            case Transition.SKIP:
                job.run_count = less(job.run_count)
        _unlock(job)
        _forget_occurrence(job)
        if not job.recurs:
            job.due, job.key, job.expires = None, None, True
            return
        rearm, job.rearm = job.rearm, None
        job.due = None if job.disabled or job.withdrawn else upcoming if rearm is None else rearm
        if upcoming is None:
            job.key = None
            job.expires = job.expires or job.kind is Kind.TASK
        _close_withdrawn(job)

    # what people and programs change

    def withdraw(self, job: Job) -> None:
        """It will not run again; a run under way is the last."""
        job.withdrawn, job.rearm = True, None
        if job.token is None:
            job.status, job.settled_by, job.due = Status.CANCELLED, "cancelled", None
            job.expires = True
            job.key = None
            _forget_occurrence(job)

    def revive(self, job: Job) -> bool:
        """failed or cancelled → queued; whether it had given up."""
        if job.status not in (Status.FAILED, Status.CANCELLED) or job.due is not None:
            return False
        job.status, job.due = Status.QUEUED, self.now
        job.poison = job.withdrawn = job.expires = False
        _forget_occurrence(job)
        return True

    def arm(self, job: Job, schedule: str, first: int, *, enabled: bool, afresh: bool) -> None:
        """A job's schedule comes into force; during a run it waits for the end of that."""
        is_changed = job.schedule != schedule or (afresh and job.poison)
        was_disabled, job.disabled, job.schedule = job.disabled, not enabled, schedule
        if is_changed:
            job.poison = job.withdrawn = job.expires = False
        if job.token is not None:
            job.rearm = first if is_changed else job.rearm
            return
        if is_changed:
            job.status = Status.SCHEDULED
            _forget_occurrence(job)
        if not enabled:
            job.due = None
        elif is_changed or was_disabled:
            job.due = first


_ENDS = {
    Transition.COMPLETE: Status.COMPLETED,
    Transition.FAIL: Status.FAILED,
    Transition.CANCEL: Status.CANCELLED,
    Transition.SKIP: Status.SKIPPED,
}


def plus(count: int | None) -> int:
    """One more."""
    return (count or 0) + 1


def less(count: int | None) -> int:
    """One less, never below 0."""
    return max(0, (count or 0) - 1)


def _unlock(job: Job) -> None:
    job.token = job.owner = job.lock_until = job.deadline = job.asked_to_stop = None


def _forget_occurrence(job: Job) -> None:
    job.attempt = job.crashes = job.scheduled_for = None


def _close_withdrawn(job: Job) -> None:
    if job.withdrawn:
        job.key, job.expires = None, True
        _forget_occurrence(job)
