"""Rules that compare what was committed with what was really done, and with what clients were told."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import inf
from typing import Any

from tests.chaos.history import Change, Document, Sign, Step
from tests.chaos.rule import TERMINAL, OfJobs, Violation, fence, is_claim, is_end, recurs, token


class Acceptance(OfJobs):
    """Whatever a client was given an id for comes to an end, once, and so does whatever else was enqueued."""

    promise = "nothing that was accepted is lost"

    def __init__(self, accepted: frozenset[str]) -> None:
        self._accepted = accepted
        self.judged = len(accepted)
        self._last: dict[str, Document] = {}
        self._numbers: dict[tuple[str, Any], set[str]] = defaultdict(set)

    def see_job(self, change: Change) -> Iterator[Violation]:
        id_ = str(change.id)
        self._last[id_] = change.after
        data = change.after.get("data")
        if not change.before and isinstance(data, dict) and "n" in data:
            same = self._numbers[str(change.after.get("name")), data["n"]]
            same.add(id_)
            if len(same) > 1:
                yield self.broken(change, f"request {data['n']} was stored {len(same)} times")

    def finish(self) -> Iterator[Violation]:
        """When nothing moves any more."""
        for id_ in sorted(self._accepted - self._last.keys()):
            yield Violation(promise=self.promise, subject=id_, how="accepted, and never stored")
        for id_, document in self._last.items():
            if not document and id_ in self._accepted:
                yield Violation(promise=self.promise, subject=id_, how="accepted, and removed")
            elif document and not recurs(document) and document.get("status") not in TERMINAL:
                how = f"was left {document.get('status')}"
                yield Violation(promise=self.promise, subject=f"{document.get('name')} {id_}", how=how)
            elif document and token(document) is not None:
                how = f"was left locked by {document.get('lockedBy')}"
                yield Violation(promise=self.promise, subject=f"{document.get('name')} {id_}", how=how)


class Work(OfJobs):
    """Nobody works without a committed claim, and nothing is called completed whose work was not done to its end."""

    promise = "work is done under a committed claim, and done when it is called completed"

    def __init__(self, steps: Sequence[Step]) -> None:
        self._begun = {(step.id, step.fence): step for step in steps if step.sign is Sign.BEGIN}
        self._done = {(step.id, step.fence) for step in steps if step.sign is Sign.END}
        self._claimed: set[tuple[str, int]] = set()

    def see_job(self, change: Change) -> Iterator[Violation]:
        run = str(change.id), fence(change.after)
        if is_claim(change):
            self._claimed.add(run)
        if not is_end(change) or change.after.get("status") != "completed":
            return
        self.judged += 1
        if run not in self._done:
            yield self.broken(change, f"claim {run[1]} was completed, and its work was not done")

    def finish(self) -> Iterator[Violation]:
        """Runs that began although nothing was committed for them."""
        for (id_, number), step in self._begun.items():
            if (id_, number) not in self._claimed:
                how = f"worked under claim {number}, which is not there"
                yield Violation(promise=self.promise, subject=f"{step.job} {id_}", how=how)


class Executions:
    """Two executions of one document in processes never overlap, by a clock that all processes of a machine share."""

    promise = "executions in processes do not overlap"

    def __init__(self, steps: Sequence[Step]) -> None:
        self._spans: dict[str, dict[int, tuple[float, float]]] = defaultdict(dict)
        for step in steps:
            if step.is_process:
                first, last = self._spans[step.id].get(step.fence, (step.clock, step.clock))
                self._spans[step.id][step.fence] = min(first, step.clock), max(last, step.clock)
        self.judged = sum(len(spans) for spans in self._spans.values())

    def see(self, change: Change) -> Iterator[Violation]:
        """Nothing committed says anything about it."""
        return iter(())

    def finish(self) -> Iterator[Violation]:
        """Each execution with the one after it."""
        for id_, spans in self._spans.items():
            in_order = sorted((first, last, number) for number, (first, last) in spans.items())
            for (_, last, earlier), (first, _, later) in pairwise(in_order):
                if first < last:
                    how = f"claim {later} began {last - first:.3f} s before claim {earlier} had ended"
                    yield Violation(promise=self.promise, subject=id_, how=how)


class Overlaps:
    """Inline and in threads two executions of a document overlap only where the server of the first one stood still.

    A process that stands still gives no sign of life, of whatever run: here of none in the last seconds before the
    second one began.
    """

    promise = "inline and in threads only the runs of a server that stood still overlap"

    def __init__(self, steps: Sequence[Step], stall: float) -> None:
        self._stall = stall
        self._signs: dict[int, list[float]] = defaultdict(list)
        self._runs: dict[str, dict[int, list[Step]]] = defaultdict(lambda: defaultdict(list))
        for step in sorted(steps, key=lambda each: each.clock):
            if not step.is_process:
                self._signs[step.pid].append(step.clock)
                self._runs[step.id][step.fence].append(step)
        self.judged = sum(len(runs) - 1 for runs in self._runs.values())

    def see(self, change: Change) -> Iterator[Violation]:
        """Nothing committed says anything about it."""
        return iter(())

    def finish(self) -> Iterator[Violation]:
        """Each execution with the one after it."""
        for id_, runs in self._runs.items():
            for earlier, later in pairwise(sorted(runs)):
                ended, began, pid = runs[earlier][-1].clock, runs[later][0].clock, runs[earlier][0].pid
                silent = began - self._last_before(began, pid)
                if began < ended and silent < self._stall:
                    how = f"claim {later} began {ended - began:.3f} s before claim {earlier} ended, whose server lived"
                    yield Violation(promise=self.promise, subject=f"{runs[later][0].job} {id_}", how=how)

    def _last_before(self, moment: float, pid: int) -> float:
        place = bisect_left(self._signs[pid], moment)
        return self._signs[pid][place - 1] if place else -inf
