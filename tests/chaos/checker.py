"""Whether what was committed and what was done is a history that we promise: a pure function.

Each rule is an observer of its own (`document_rules`, `run_rules`): it sees every change in the order of the commits,
and says what is wrong as soon as it is. Nothing here imports jobserver: a rule that shared its code would share its
mistakes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tests.chaos.document_rules import Attempts, Claims, Ends, Keys, Leases, Limits, Obedience, Occurrences, Reports
from tests.chaos.history import Change, Outside, Step
from tests.chaos.rule import Rule, Violation
from tests.chaos.run_rules import Acceptance, Executions, Overlaps, Work

MOST_KEPT = 200  # violations that are told in full; all are counted


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What was looked at, and what was wrong."""

    changes: int
    documents: int
    claims: int
    runs: int
    ends: dict[str, int]
    judged: dict[str, int]  # by promise, how much there was that could have broken it
    violations: tuple[Violation, ...]
    counted: dict[str, int]

    @property
    def is_clean(self) -> bool:
        """Whether every promise was kept."""
        return not self.counted


def check(changes: Iterable[Change], steps: Sequence[Step], outside: Outside) -> Verdict:
    """Every rule over the whole history, read once from its beginning to its end."""
    claims, ends = Claims(), Ends()
    rules: list[Rule] = [
        claims,
        ends,
        Leases(outside.deaths),
        Attempts(outside.promise),
        Limits(outside.promise),
        Keys(),
        Reports(),
        Obedience(outside.settled_at),
        Occurrences(outside.skips),
        Acceptance(outside.accepted),
        Work(steps),
        Executions(steps),
        Overlaps(steps, outside.promise.stall),
    ]
    found: list[Violation] = []
    seen = 0
    for change in changes:
        seen += 1
        for rule in rules:
            found += rule.see(change)
    for rule in rules:
        found += rule.finish()
    return Verdict(
        changes=seen,
        documents=ends.documents,
        claims=claims.judged,
        runs=len({(step.id, step.fence) for step in steps}),
        ends=dict(ends.count),
        judged={rule.promise: rule.judged for rule in rules},
        violations=tuple(found[:MOST_KEPT]),
        counted=dict(Counter(violation.promise for violation in found)),
    )
