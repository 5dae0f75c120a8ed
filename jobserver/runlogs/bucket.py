"""The seam: where the logs of runs are kept for good."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from jobserver.errors import JobServerError


class BucketError(JobServerError):
    """A bucket cannot be reached, or refuses; what was to go there stays where it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """Whose log it is."""

    run: str
    job: str
    job_id: str
    server: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """The bytes of one log from `start` on; with `ended` nothing comes after them."""

    facts: RunFacts
    start: int
    data: bytes
    ended: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPart:
    """What a bucket has of a log from where it was asked; without `ended` more may come."""

    data: bytes
    ended: bool


class Bucket(Protocol):
    """Takes pieces and gives them back. One thread at a time; every method may raise BucketError or DatabaseError.

    A piece may come again, with more behind it. `grain`: pieces begin at multiples of so many bytes; None means that
    nothing can be added to what is there, so a log comes as one piece when its run has ended.
    """

    @property
    def grain(self) -> int | None: ...

    def append(self, pieces: Sequence[Piece]) -> None:
        """Keep these, at most one of each run."""
        ...

    def read(self, run: str, start: int, at_most: int) -> LogPart | None:
        """What is there from this byte on, as far as so many; None where nothing of the run is."""
        ...

    def sweep(self) -> None:
        """Remove what is past its retention, where nobody else does."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...
