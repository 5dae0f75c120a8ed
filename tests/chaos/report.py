"""What a chaos run came to, for a person and for programs."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Iterator
from typing import Any

from tests.chaos.conduct import Proof
from tests.chaos.figures import Spread

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
    for what, spread, limit in recoveries(proof):
        yield (
            f"  {what:<33} {len(spread.lengths):>5}   median {spread.median:5.1f} s, "
            f"p99 {spread.at(0.99):5.1f} s, most {spread.most:5.1f} s (promised: {limit})"
        )
    codes = ", ".join(f"{name} {code}" for name, code in proof.exit_codes.items())
    yield f"  exit codes of SIGTERM   {codes}"
    for hitch in proof.hitches:
        yield f"  hitch: {hitch}"
    yield f"  violations      {sum(verdict.counted.values()):>8}"
    for promise, count in verdict.counted.items():
        yield f"    {count:>4}  {promise}"
    yield from (f"    {violation}" for violation in verdict.violations[:MOST_SHOWN])


def recoveries(proof: Proof) -> list[tuple[str, Spread, str]]:
    """What was measured, and what is promised of it."""
    lost = SHARE_LOST * proof.plan.lease
    return [
        ("claimed again, worker killed", proof.recovery.supervised, f"p99 {SUPERVISED:g} s"),
        ("claimed again, host killed", proof.recovery.host_lost, f"p99 {lost:g} s at this lease"),
        ("first claim, primary killed", proof.recovery.primary_killed, f"median {RESUMED:g} s"),
    ]


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
        "recovery": {
            what: {
                "count": len(spread.lengths),
                "median": round(spread.median, 3),
                "p99": round(spread.at(0.99), 3),
                "most": round(spread.most, 3),
                "promised": limit,
            }
            for what, spread, limit in recoveries(proof)
        },
        "exitCodes": proof.exit_codes,
        "hitches": list(proof.hitches),
        "violations": verdict.counted,
        "examples": [str(violation) for violation in verdict.violations],
        "holds": proof.holds,
    }
