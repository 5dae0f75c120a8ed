"""`python -m tests.shutdown [--repeat 1] [--seed N] [--only TEXT] [--json]`: all 55 combinations, and their seconds."""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.progress import Progress, begin
from tests.shutdown.case import BEYOND_GRACE, ELSEWHERE_WITHIN, LEASE, Case, cases
from tests.shutdown.proof import Verdict, ground

DESCRIPTION = f"""\
Tell servers to end in every state, by every signal, with and without a supervisor. Each has to end within its grace
period and {BEYOND_GRACE:.0f} s, with a true exit code, without a lock and without a process left. What it gave back
has to begin elsewhere within {ELSEWHERE_WITHIN:.0f} s. What only others can recover has as long as the promise for a
lost host says, with a lease of {LEASE:.0f} s. The exit code is 1 for any violation, lateness included.
"""


def main() -> int:
    """On a mongod of its own; everything that was started ends with this."""
    given = _arguments()
    tell = begin()
    chance = random.Random(given.seed)
    wanted = _wanted(given.only)
    plan = [(case, chance.random() < 0.5) for _ in range(given.repeat) for case in chance.sample(wanted, len(wanted))]
    with TemporaryDirectory(prefix="jobserver-shutdown-", ignore_cleanup_errors=True) as folder:
        verdicts = asyncio.run(_prove(Path(folder), plan, tell))
    tell.over()
    sys.stdout.write(f"{as_json(given.seed, verdicts) if given.json else summary(given.seed, verdicts)}\n")
    return 1 if any(verdict.violations or verdict.lateness for verdict in verdicts) else 0


def summary(seed: int, verdicts: list[Verdict]) -> str:
    """What a person wants to know in the end."""
    heading = f"{'':38}{'proofs':>7}{'ended after':>13}{'elsewhere':>11}   slowest of each, in seconds"
    lines = [f"seed {seed}", heading]
    for case in sorted({verdict.case for verdict in verdicts}, key=lambda each: (each.workers, each.state, each.told)):
        found = [verdict for verdict in verdicts if verdict.case == case]
        elsewhere = [verdict.elsewhere_after for verdict in found if verdict.elsewhere_after is not None]
        slowest = f"{max(elsewhere):11.2f}" if elsewhere else f"{'':>11}"
        lines.append(f"{case!s:38}{len(found):7}{max(verdict.ended_after for verdict in found):13.2f}{slowest}")
        lines += [f"    {wrong[:1000]}" for verdict in found for wrong in (*verdict.violations, *verdict.lateness)]
    wrong_ones = sum(bool(verdict.violations) for verdict in verdicts)
    late = sum(bool(verdict.lateness) for verdict in verdicts)
    return "\n".join([*lines, f"{len(verdicts)} proofs, {wrong_ones} violated, {late} late"])


def as_json(seed: int, verdicts: list[Verdict]) -> str:
    """The same for programs, proof by proof."""
    proofs: list[dict[str, Any]] = [
        {
            "told": verdict.case.told,
            "state": verdict.case.state,
            "workers": verdict.case.workers,
            "exit_code": verdict.code,
            "ended_after": verdict.ended_after,
            "elsewhere_after": verdict.elsewhere_after,
            "violations": verdict.violations,
            "lateness": verdict.lateness,
        }
        for verdict in verdicts
    ]
    return json.dumps({"seed": seed, "proofs": proofs}, indent=2)


async def _prove(folder: Path, plan: list[tuple[Case, bool]], tell: Progress) -> list[Verdict]:
    verdicts: list[Verdict] = []
    with ground(folder) as found:
        for number, (case, harsh) in enumerate(plan, start=1):
            wrong = sum(bool(verdict.violations or verdict.lateness) for verdict in verdicts)
            tell(f"{number} of {len(plan)}, {wrong} wrong: {case}")
            verdicts.append(verdict := await found.prove(case, harsh=harsh))
            for wrong in (*verdict.violations, *verdict.lateness):
                sys.stderr.write(f"\n    {case}: {wrong[:1000]}\n")
    return verdicts


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.shutdown", description=DESCRIPTION)
    parser.add_argument("--repeat", type=int, default=1, metavar="N", help="so many times each, by default once")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), metavar="N", help="of order and harshness")
    parser.add_argument("--only", default="", metavar="TEXT", help="combinations whose name has this in it")
    parser.add_argument("--json", action="store_true", help="each proof with its figures")
    given = parser.parse_args()
    if given.repeat < 1 or not _wanted(given.only):
        parser.error("at least one proof of one combination")
    return given


def _wanted(only: str) -> list[Case]:
    return [case for case in [*cases(1), *cases(4)] if only in str(case)]


if __name__ == "__main__":
    sys.exit(main())
