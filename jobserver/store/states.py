"""The states of a job document and the one table of legal moves between them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """What `status` says; UNSTATED is a document of Pulse or of a person."""

    SCHEDULED = "scheduled"
    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"


UNSTATED = None
WAITING = (UNSTATED, Status.SCHEDULED, Status.QUEUED)
ENDED = (Status.COMPLETED, Status.FAILED, Status.CANCELLED, Status.SKIPPED)


class Transition(StrEnum):
    """Every way in which the status of a job document changes, named by its verb."""

    ADOPT = "adopt"
    ARM = "arm"
    CLAIM = "claim"
    COMPLETE = "complete"
    RETRY = "retry"
    FAIL = "fail"
    CANCEL = "cancel"
    SKIP = "skip"
    RELEASE = "release"
    REAP = "reap"
    BURY = "bury"
    REVIVE = "revive"
    FOLLOW = "follow"
    WITHDRAW = "withdraw"


@dataclass(frozen=True, slots=True)
class Move:
    """From any of `sources` to `target`; everything else does not match the transition's filter."""

    sources: tuple[Status | None, ...]
    target: Status


TRANSITIONS: Mapping[Transition, Move] = {
    # a document written by hand gets what a client would have written
    Transition.ADOPT: Move((UNSTATED,), Status.QUEUED),
    # the holder of a recurring job gets its next moment
    Transition.ARM: Move((*WAITING, *ENDED), Status.SCHEDULED),
    # due, unlocked, not disabled: ended ones too, for a holder keeps the state of its last run
    Transition.CLAIM: Move((*WAITING, *ENDED), Status.RUNNING),
    Transition.COMPLETE: Move((Status.RUNNING,), Status.COMPLETED),
    Transition.RETRY: Move((Status.RUNNING,), Status.SCHEDULED),
    Transition.FAIL: Move((Status.RUNNING,), Status.FAILED),
    Transition.CANCEL: Move((Status.RUNNING,), Status.CANCELLED),
    # an occurrence that was missed, and that the schedule does not catch up with
    Transition.SKIP: Move((Status.RUNNING,), Status.SKIPPED),
    # given back by its own server, the attempt does not count
    Transition.RELEASE: Move((Status.RUNNING,), Status.QUEUED),
    # taken back from a dead server or a stuck run, one crash counted
    Transition.REAP: Move((Status.RUNNING,), Status.QUEUED),
    # the third crash: poison
    Transition.BURY: Move((Status.RUNNING,), Status.FAILED),
    # somebody asked for one more go
    Transition.REVIVE: Move((Status.FAILED, Status.CANCELLED), Status.QUEUED),
    # the task that it starts after has completed
    Transition.FOLLOW: Move((*WAITING, *ENDED), Status.QUEUED),
    # somebody does not want it any more, or the task that it starts after has failed
    Transition.WITHDRAW: Move((*WAITING, *ENDED), Status.CANCELLED),
}
