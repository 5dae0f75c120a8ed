"""Who is let in where slots are limited, and for how long a large document lets smaller ones pass."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from jobserver.store.admission import Admission, Line
from jobserver.store.candidates import Candidate, Candidates
from jobserver.store.documents import Lane

PATIENCE = 10.0


class Clock:
    """Stands until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def line(clock: Clock) -> Line:
    return Line(patience=timedelta(seconds=PATIENCE), monotonic=clock)


def lanes(**usual: int) -> list[Lane]:
    return [
        Lane(name=name, limit=100, lock_lifetime=timedelta(minutes=1), slots=slots) for name, slots in usual.items()
    ]


def due(*entries: tuple[str, Any] | tuple[str, Any, int]) -> list[Candidate]:
    """In the order of the claim: (job, id), or (job, id, the document's own slots)."""
    return [Candidate(entry[0], entry[1], 0, entry[2] if len(entry) > 2 else None) for entry in entries]


def admitted(found: list[Candidate], of: list[Lane], *, free: int, line: Line) -> list[Any]:
    waiting = Candidates()
    waiting.put(found, of, 1000)
    admission = Admission(available=1024, free=free, lanes=of, line=line)
    picked = waiting.pick(of, 100, admission)
    assert admission.left_out == {each.name for each in found if each not in picked}
    assert admission.taken <= free
    return [each.id for each in picked]


def test_as_many_are_let_in_as_there_are_slots() -> None:
    found = due(("big", 1), ("big", 2), ("big", 3))
    assert admitted(found, lanes(big=512), free=1024, line=line(Clock())) == [1, 2]


def test_what_a_document_says_itself_counts_more_than_what_its_job_usually_takes() -> None:
    found = due(("a", 1, 1000), ("a", 2), ("a", 3, 14), ("a", 4))
    assert admitted(found, lanes(a=10), free=1024, line=line(Clock())) == [1, 2, 3]


def test_small_ones_pass_a_large_one_that_has_not_waited_for_long() -> None:
    found = due(("small", 1), ("big", 2), ("small", 3))
    assert admitted(found, lanes(small=1, big=512), free=500, line=line(Clock())) == [1, 3]


def test_nothing_passes_a_large_one_that_has_waited_for_long_enough() -> None:
    clock = Clock()
    waits, of = line(clock), lanes(small=1, big=512)
    found = due(("small", 1), ("big", 2), ("small", 3))
    admitted(found, of, free=500, line=waits)
    clock.now += PATIENCE - 0.01
    assert admitted(found, of, free=500, line=waits) == [1, 3]
    clock.now += 0.01
    assert admitted(found, of, free=500, line=waits) == [1]


def test_it_is_let_in_as_soon_as_it_fits_and_the_line_is_open_again() -> None:
    clock = Clock()
    waits, of = line(clock), lanes(small=1, big=512)
    admitted(due(("big", 2)), of, free=500, line=waits)
    clock.now += PATIENCE
    assert admitted(due(("big", 2), ("small", 3)), of, free=513, line=waits) == [2, 3]
    assert admitted(due(("big", 4), ("small", 5)), of, free=1, line=waits) == [5]


def test_another_document_of_the_job_begins_to_wait_when_it_has_come_to_the_head() -> None:
    clock = Clock()
    waits, of = line(clock), lanes(small=1, big=512)
    admitted(due(("big", 1), ("big", 2)), of, free=500, line=waits)
    clock.now += PATIENCE
    # Another server has taken the first one.
    assert admitted(due(("big", 2), ("small", 3)), of, free=500, line=waits) == [3]
    clock.now += PATIENCE
    assert admitted(due(("big", 2), ("small", 3)), of, free=500, line=waits) == []


def test_two_jobs_wait_each_for_itself_and_the_first_in_line_comes_first() -> None:
    clock = Clock()
    waits, of = line(clock), lanes(small=1, big=512, huge=1024)
    found = due(("huge", 1), ("big", 2), ("small", 3))
    admitted(found, of, free=500, line=waits)
    clock.now += PATIENCE
    assert admitted(found, of, free=600, line=waits) == []
    assert admitted(found, of, free=1024, line=waits) == [1]


def test_without_patience_nothing_ever_passes() -> None:
    never = Line(patience=timedelta(), monotonic=Clock())
    assert admitted(due(("big", 1), ("small", 2)), lanes(small=1, big=512), free=500, line=never) == []
