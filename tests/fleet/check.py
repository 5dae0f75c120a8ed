"""Whether a fleet did what its schedules say, and nothing else: a pure function over what it left behind.

Every moment has to be completed once or recorded as skipped. A run whose server crashed may have done its work before,
so its moment may have been worked on once more for each recorded crash, or be skipped afterwards.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from tests.fleet.history import End, History, Note, Run, Skip

SECOND = timedelta(seconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """The moments of one document that are looked at: every second from the first to the last, both of them too."""

    job: str
    first: datetime
    last: datetime

    def moments(self) -> Iterator[datetime]:
        """A walk, one second at a time."""
        moment = self.first
        while moment <= self.last:
            yield moment
            moment += SECOND

    def is_beat(self, moment: datetime) -> bool:
        """Whether the walk would come by there, also before its first and after its last moment."""
        return not (moment - self.first) % SECOND


class Fault(StrEnum):
    """What can be wrong with one moment of one document."""

    MISSING = "neither run nor recorded as skipped"
    TWICE = "worked on more than once, and no crash is recorded for it"
    EXTRA = "no moment of this schedule"
    BOTH = "run, and recorded as skipped"
    FAILED = "failed, and not for a crash"
    UNTOLD = "completed by its entry, but its code was never called"
    UNRECORDED = "its code was called by a server that lives, and it has no entry"
    UNKNOWN = "of a document that nobody made"


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One moment that did not go as it should, and what its runs failed with."""

    fault: Fault
    job: str
    at: datetime
    errors: tuple[str, ...] = ()

    def __str__(self) -> str:
        return ": ".join([f"{self.job} at {self.at:%H:%M:%S.%f}", self.fault, *self.errors])


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What became of the expected moments.

    `unrecorded` of those that ran were settled by a server that was killed before it wrote their history.
    """

    expected: int
    ran: int
    skipped: int
    crashes: int
    unrecorded: int
    differences: tuple[Difference, ...]


@dataclass(slots=True, kw_only=True)
class _Moment:
    """All that was found of one moment."""

    runs: list[Run] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    skipped: bool = False

    def ending(self, end: End) -> set[str]:
        """The runs that ended so."""
        return {run.run for run in self.runs if run.end is end}


def check(expected: Iterable[Expected], history: History) -> Verdict:
    """Every expected moment, and every moment that anything was found of."""
    documents = {each.job: each for each in expected}
    wanted = {(each.job, moment) for each in documents.values() for moment in each.moments()}
    found, spans = _found(history)
    differences: list[Difference] = []
    tally: Counter[str] = Counter()
    for job, at in sorted(wanted | found.keys()):
        here, is_wanted = found[job, at], (job, at) in wanted
        here.skipped = here.skipped or any(span.covers(at) for span in spans[job])
        faults = _faults(documents.get(job), at, here, history.killed, wanted=is_wanted)
        errors = tuple(str(run.error) for run in here.runs if run.error is not None)
        differences += [Difference(fault=fault, job=job, at=at, errors=errors) for fault in faults]
        if is_wanted:
            tally.update(_tallied(here, history.killed))
    return Verdict(
        expected=len(wanted),
        ran=tally["ran"],
        skipped=tally["skipped"],
        crashes=sum(run.end is End.CRASHED for run in history.runs),
        unrecorded=tally["unrecorded"],
        differences=tuple(differences),
    )


def _found(history: History) -> tuple[defaultdict[tuple[str, datetime], _Moment], defaultdict[str, list[Skip]]]:
    """What there is of single moments, and the skips that cover many."""
    found: defaultdict[tuple[str, datetime], _Moment] = defaultdict(_Moment)
    spans: defaultdict[str, list[Skip]] = defaultdict(list)
    for run in history.runs:
        found[run.job, run.at].runs.append(run)
    for note in history.notes:
        found[note.job, note.at].notes.append(note)
    for skip in history.skips:
        found[skip.job, skip.at].skipped = True
        if skip.until is not None:
            spans[skip.job].append(skip)
    return found, spans


def _faults(
    document: Expected | None, at: datetime, here: _Moment, killed: frozenset[int], *, wanted: bool
) -> Iterator[Fault]:
    if document is None:
        yield Fault.UNKNOWN
        return
    if not document.is_beat(at):
        yield Fault.EXTRA
    completed, crashed = here.ending(End.COMPLETED), here.ending(End.CRASHED)
    called = {note.run for note in here.notes}
    by_itself = _unrecorded(here, killed)
    if here.ending(End.FAILED):
        yield Fault.FAILED
    if completed - called:
        yield Fault.UNTOLD
    if called - {run.run for run in here.runs} - by_itself:
        yield Fault.UNRECORDED
    if len(called - crashed) > 1 or len(completed) > 1 or len(here.notes) > len(called):
        yield Fault.TWICE
    if here.skipped and (completed or by_itself):
        yield Fault.BOTH
    if wanted and not (completed or by_itself or here.skipped):
        yield Fault.MISSING


def _unrecorded(here: _Moment, killed: frozenset[int]) -> set[str]:
    """The runs that only their own notes tell of, for their server was killed."""
    recorded = {run.run for run in here.runs}
    return {note.run for note in here.notes if note.run not in recorded and note.pid in killed}


def _tallied(here: _Moment, killed: frozenset[int]) -> Iterator[str]:
    if here.ending(End.COMPLETED):
        yield "ran"
    elif _unrecorded(here, killed):
        yield from ("ran", "unrecorded")
    elif here.skipped:
        yield "skipped"
