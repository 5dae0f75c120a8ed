"""`python -m tests.fleet [--servers 8] [--jobs 200] [--seconds 300] [--kills 2] [--stalls 1]`.

The exit code is 1 for any difference, and where not even half of the moments were run.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pymongo import MongoClient

from jobserver.embedded import EmbeddedMongo
from tests.fleet.check import Verdict
from tests.fleet.fleet import Fleet, Plan
from tests.progress import begin
from tests.project import scratch_project

DESCRIPTION = """Eight servers share jobs of every second while some of them are killed and made to stand still. Each
moment has to be run once, or recorded as skipped. The exit code is 1 for any difference, and where not even half of the
moments were run."""
MOST_SHOWN = 20


def main() -> int:
    """On a mongod of its own; everything that was started ends with this."""
    plan = _plan()
    tell = begin()
    tell("starting MongoDB")
    with (
        TemporaryDirectory(prefix="jobserver-fleet-", ignore_cleanup_errors=True) as folder,
        EmbeddedMongo.start(Path(folder) / "mongod", cache_gb=1.0) as mongod,
        MongoClient[dict[str, Any]](mongod.uri, tz_aware=True) as client,
        scratch_project(Path(folder) / "project", client, mongod.uri) as project,
    ):
        verdict = asyncio.run(Fleet(project, plan, tell).prove())
    tell.over()
    sys.stdout.write(f"{summary(plan, verdict)}\n")
    # Where most was skipped, hardly anything was tried.
    return 1 if verdict.differences or verdict.ran <= verdict.expected / 2 else 0


def summary(plan: Plan, verdict: Verdict) -> str:
    """What a person wants to know in the end."""
    ran, skipped = (f"{100 * count / verdict.expected:.2f} %" for count in (verdict.ran, verdict.skipped))
    lines = [
        f"{plan.servers} servers, {plan.jobs} jobs each second for {plan.seconds} s, "
        f"{plan.kills} killed, {plan.stalls} stood still",
        f"  moments      {verdict.expected:>8}",
        f"  run once     {verdict.ran:>8}  {ran}",
        f"  skipped      {verdict.skipped:>8}  {skipped}, each recorded",
        f"  crashes      {verdict.crashes:>8}  runs whose server was gone, each recorded",
        f"  unrecorded   {verdict.unrecorded:>8}  run and settled, killed before the entry was written",
        f"  differences  {len(verdict.differences):>8}",
        *(f"    {difference}" for difference in verdict.differences[:MOST_SHOWN]),
    ]
    return "\n".join(lines)


def _plan() -> Plan:
    parser = argparse.ArgumentParser(prog="python -m tests.fleet", description=DESCRIPTION)
    for name, default in (("servers", 8), ("jobs", 200), ("seconds", 300), ("kills", 2), ("stalls", 1)):
        parser.add_argument(f"--{name}", type=int, default=default, metavar="N", help=f"by default {default}")
    given = parser.parse_args()
    if min(given.servers, given.jobs, given.seconds) < 1 or min(given.kills, given.stalls) < 0:
        parser.error("at least 1 server, 1 job and 1 second; neither kills nor stalls are fewer than none")
    if given.kills + given.stalls >= given.servers:
        parser.error("at least one server has to be left alone")
    return Plan(**vars(given))


if __name__ == "__main__":
    sys.exit(main())
