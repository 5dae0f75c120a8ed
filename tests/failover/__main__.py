"""`python -m tests.failover [--kills 10] [--step-downs 5] [--freezes 5] [--outages 1] [--seed N] [--json]`.

The exit code is 1 for any difference, and where claims resume too late after primaries were killed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pymongo import MongoClient

from tests.failover.trial import IMPATIENT, Fault, Recovery, Trial
from tests.progress import begin
from tests.project import scratch_project
from tests.replica_set import ThreeNodes

MOST_SHOWN = 20
OPTIONS = {"kills": Fault.KILL, "step-downs": Fault.STEP_DOWN, "freezes": Fault.FREEZE, "outages": Fault.OUTAGE}
RESUMED = 15.0  # seconds from the end of a primary until claims resume, in the middle: what is promised
USUALLY = {"kills": 10, "step-downs": 5, "freezes": 5, "outages": 1}


def main() -> int:
    """On a replica set of its own; everything that was started ends with this."""
    given = _given()
    faults = [fault for option, fault in OPTIONS.items() for _ in range(getattr(given, option.replace("-", "_")))]
    random.Random(given.seed).shuffle(faults)
    tell = begin()
    tell("starting three nodes")
    with (
        TemporaryDirectory(prefix="jobserver-failover-", ignore_cleanup_errors=True) as folder,
        ThreeNodes.start(Path(folder) / "set") as nodes,
        MongoClient[dict[str, Any]](nodes.uri, tz_aware=True, **IMPATIENT) as client,
        scratch_project(Path(folder) / "project", client, nodes.uri) as project,
    ):
        trial = Trial(project, nodes, outage=given.seconds)
        differences = asyncio.run(trial.work(faults, tell)) + _lateness(trial.recoveries)
    tell.over()
    figures = {
        "seed": given.seed,
        "runs": len(trial.load.acknowledged),
        "faults": {fault: _figures(trial.recoveries, fault) for fault in Fault if fault in faults},
        "differences": differences,
    }
    sys.stdout.write(f"{json.dumps(figures) if given.json else summary(figures)}\n")
    return 1 if differences else 0


def summary(figures: dict[str, Any]) -> str:
    """What a person wants to know in the end."""
    rows = [
        f"  {fault:<22}{each['times']:>5}{each['elected']['median']:>10}{each['elected']['max']:>8}"
        f"{each['resumed']['median']:>12}{each['resumed']['max']:>8}"
        for fault, each in figures["faults"].items()
    ]
    lines = [
        f"{figures['runs']} runs on two servers and three nodes, lease 30 s, elections 1 s, seed {figures['seed']}",
        f"  {'seconds after':<22}{'times':>5}{'elected':>10}{'max':>8}{'claiming':>12}{'max':>8}",
        *rows,
        f"  differences {len(figures['differences'])}",
        *(f"    {difference}" for difference in figures["differences"][:MOST_SHOWN]),
    ]
    return "\n".join(lines)


def _lateness(recoveries: Sequence[Recovery]) -> list[str]:
    resumed = [each.resumed for each in recoveries if each.fault is Fault.KILL]
    late = bool(resumed) and statistics.median(resumed) > RESUMED
    return [f"claims resumed {statistics.median(resumed):.1f} s after a kill, not within {RESUMED:g}"] if late else []


def _figures(recoveries: Sequence[Recovery], fault: Fault) -> dict[str, Any]:
    mine = [each for each in recoveries if each.fault is fault]
    return {
        "times": len(mine),
        "elected": _spread([each.elected for each in mine]),
        "resumed": _spread([each.resumed for each in mine]),
    }


def _spread(seconds: Sequence[float]) -> dict[str, float]:
    return {"median": round(statistics.median(seconds), 2), "max": max(seconds)}


def _given() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.failover",
        description="Break a replica set of three under two servers at work. Every run must end once and be recorded, "
        "and one that is under way all the time must keep its lock. The exit code is 1 for any difference, and where "
        "the median of claims after killed primaries is too late.",
    )
    for option, times in USUALLY.items():
        parser.add_argument(f"--{option}", type=int, default=times, metavar="N", help=f"by default {times}")
    parser.add_argument("--seconds", type=float, default=13.0, help="how long an outage is, by default 13")
    parser.add_argument("--seed", type=int, default=1, help="of the order of the faults")
    parser.add_argument("--json", action="store_true", help="the figures for programs")
    given = parser.parse_args()
    if not any(getattr(given, option.replace("-", "_")) > 0 for option in OPTIONS):
        parser.error("at least one fault")
    return given


if __name__ == "__main__":
    sys.exit(main())
