"""What a chaos run came to, for a person and for programs."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.chaos.conduct import Proof
from tests.chaos.figures import Recovery, Spread

SHARE_LOST = 45 / 30  # of the lease: what the promise is for a lease of 30 s
SUPERVISED = 2.0
RESUMED = 15.0
MOST_SHOWN = 20


def lines(proof: Proof) -> Iterator[str]:
    """A page."""
    plan, verdict = proof.plan, proof.verdict
    hosts = ", ".join(f"{name} with {workers}" for name, workers in plan.hosts.items())
    yield f"chaos, seed {plan.seed}: {proof.seconds:.0f} s, lease {plan.lease:g} s, clocks off by {plan.skew:g} s"
    yield f"  workers         {hosts}"
    yield f"  jobs accepted   {proof.accepted:>8}   and {proof.refused} that clients were told to be refused"
    yield f"  committed       {verdict.changes:>8}   changes, {verdict.claims} claims, {verdict.runs} executions"
    for status, count in sorted(verdict.ends.items()):
        yield f"  {status:<15} {count:>8}"
    yield f"  faults          {len(proof.faults):>8}"
    for kind, count in Counter(fault.kind for fault in proof.faults).most_common():
        yield f"    {count:>4}  {kind}"
    for name, measured in (("one by one", proof.recovery), ("beside other faults", proof.disturbed)):
        yield f"  {name}"
        for figure in figures(measured, proof.plan.lease):
            spread = figure.spread
            yield (
                f"    {figure.what:<29} {len(spread.lengths):>6} times   median {spread.median:5.1f} s, "
                f"p99 {spread.at(0.99):5.1f} s, most {spread.most:5.1f} s"
            )
    for figure in missed(proof):
        yield f"  missed: {figure.what}, promised {figure.promised}"
    codes = ", ".join(f"{name} {code}" for name, code in proof.exit_codes.items())
    yield f"  exit codes of SIGTERM   {codes}"
    for lack in proof.lacks:
        yield f"  too little: {lack}"
    for hitch in proof.hitches:
        yield f"  hitch: {hitch}"
    for promise, count in verdict.judged.items():
        yield f"  judged {count:>8} times   {promise}"
    yield f"  violations      {sum(verdict.counted.values()):>8}"
    for promise, count in verdict.counted.items():
        yield f"    {count:>4}  {promise}"
    yield from (f"    {violation}" for violation in verdict.violations[:MOST_SHOWN])


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A length that is promised; `limit` in seconds, of what `share` of the cases."""

    what: str
    spread: Spread
    share: float
    limit: float

    @property
    def promised(self) -> str:
        """In words."""
        return f"{'median' if self.share == 0.5 else f'p{self.share * 100:g}'} {self.limit:g} s"


def figures(measured: Recovery, lease: float) -> list[Figure]:
    """What is promised of each."""
    lost = SHARE_LOST * lease
    return [
        Figure(what="worker killed, claimed again", spread=measured.supervised, share=0.99, limit=SUPERVISED),
        Figure(what="host killed, claimed again", spread=measured.host_lost, share=0.99, limit=lost),
        Figure(what="primary killed, first claim", spread=measured.primary_killed, share=0.5, limit=RESUMED),
    ]


def missed(proof: Proof) -> list[Figure]:
    """Of those that were measured one by one; beside other faults they say something about those.

    What was never measured is missed.
    """
    measured = figures(proof.recovery, proof.plan.lease)
    return [each for each in measured if not each.spread.lengths or each.spread.at(each.share) > each.limit]


def document(proof: Proof) -> dict[str, Any]:
    """The same for programs; lengths in seconds."""
    plan, verdict = proof.plan, proof.verdict
    return {
        "seed": plan.seed,
        "seconds": round(proof.seconds, 1),
        "lease": plan.lease,
        "skew": plan.skew,
        "python": platform.python_version(),
        "accepted": proof.accepted,
        "refused": proof.refused,
        "changes": verdict.changes,
        "claims": verdict.claims,
        "executions": verdict.runs,
        "ends": verdict.ends,
        "faults": dict(Counter(str(fault.kind) for fault in proof.faults)),
        "oneByOne": _measured(proof.recovery, plan.lease),
        "besideOtherFaults": _measured(proof.disturbed, plan.lease),
        "missed": [each.what for each in missed(proof)],
        "exitCodes": proof.exit_codes,
        "tooLittle": proof.lacks,
        "hitches": list(proof.hitches),
        "judged": verdict.judged,
        "violations": verdict.counted,
        "examples": [str(violation) for violation in verdict.violations],
        "holds": proof.holds,
    }


def _measured(measured: Recovery, lease: float) -> dict[str, Any]:
    return {
        each.what: {
            "count": len(each.spread.lengths),
            "median": round(each.spread.median, 3),
            "p99": round(each.spread.at(0.99), 3),
            "most": round(each.spread.most, 3),
            "promised": each.promised,
        }
        for each in figures(measured, lease)
    }
