"""What a rule of the checker is, and the words in which a job document's changes are read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from tests.chaos.history import Change

JOBS, SERVERS, CONFIGS = "pulseJobs", "jobServers", "jobConfigs"
TERMINAL = {"completed", "failed", "cancelled", "skipped"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """One promise that was broken, by which document or run, and how."""

    promise: str
    subject: str
    how: str
    at: datetime | None = None

    def __str__(self) -> str:
        when = "" if self.at is None else f" at {self.at:%H:%M:%S.%f}"
        return f"{self.promise}: {self.subject}{when}: {self.how}"


class Rule(Protocol):
    """Sees each change once, in order, and is asked in the end.

    `judged` counts what could have broken the promise: a rule that has judged nothing has not held anybody to anything.
    """

    promise: str
    judged: int

    def see(self, change: Change) -> Iterator[Violation]: ...
    def finish(self) -> Iterator[Violation]: ...


class OfJobs:
    """A rule that only looks at job documents; `promise` is what it holds the history to."""

    promise = ""
    judged = 0

    def see(self, change: Change) -> Iterator[Violation]:
        """Hand on what is about a job."""
        if change.collection == JOBS:
            yield from self.see_job(change)

    def see_job(self, change: Change) -> Iterator[Violation]:
        """One change of a job document."""
        raise NotImplementedError

    def finish(self) -> Iterator[Violation]:
        """Most rules have said all by then."""
        return iter(())

    def broken(self, change: Change, how: str) -> Violation:
        """This promise, by this change."""
        name = change.after.get("name") or change.before.get("name")
        return Violation(promise=self.promise, subject=f"{name} {change.id}", how=how, at=change.at)


def token(document: Any) -> str | None:
    """Of the lock that the document carries."""
    return document.get("lockToken")


def fence(document: Any) -> int:
    """How often it was claimed."""
    return int(document.get("fence", 0))


def is_claim(change: Change) -> bool:
    """Whether a lock was taken."""
    return token(change.after) is not None and token(change.before) is None


def is_end(change: Change) -> bool:
    """Whether a lock was given up or taken away."""
    return token(change.before) is not None and token(change.after) is None


def is_crash(change: Change) -> bool:
    """Whether a lock was taken away, by the word of whoever did it."""
    return is_end(change) and change.after.get("crashedToken") == token(change.before)


def recurs(document: Any) -> bool:
    """Whether the document comes again after its end."""
    return document.get("type") == "single" or bool(document.get("recurrence"))
