"""`python -m tests.soak [--minutes 60] [--workers 2] [--kill-every 180] [--edit-every 60] [--seed N] [--json]`.

The exit code is 1 for anything that grows, or that a server says and should not.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pymongo import MongoClient

from jobserver.embedded import EmbeddedMongo
from tests.progress import begin
from tests.project import scratch_project
from tests.soak.soak import Plan, Report, Soak

DESCRIPTION = """A supervised server with its workers and a single one work on runs of every kind while workers are
killed and configurations edited. Memory, descriptors, sockets, threads and tasks of each process, the lag of its event
loop and the size of each collection are measured; after the warm-up nothing may grow. One-offs are kept for ever and
left out, and so is the history of configurations, which has an entry per edit. The exit code is 1 for anything that
grows, or that a server says and should not."""
# What has expired is looked for each second, so that a minute's retention is a minute.
PARAMETERS = ("--setParameter", "ttlMonitorSleepSecs=1")


def main() -> int:
    """On a mongod of its own; everything that was started ends with this."""
    given = _given()
    tell = begin()
    plan = _plan(given)
    with (
        TemporaryDirectory(prefix="jobserver-soak-", ignore_cleanup_errors=True) as folder,
        EmbeddedMongo.start(Path(folder) / "mongod", cache_gb=0.5, extra_args=PARAMETERS) as mongod,
        MongoClient[dict[str, Any]](mongod.uri, tz_aware=True) as client,
        scratch_project(Path(folder) / "project", client, mongod.uri) as project,
    ):
        (inside := Path(folder) / "inside").mkdir()
        report = asyncio.run(Soak(project, inside, plan, tell).prove())
    tell.over()
    sys.stdout.write(f"{as_json(plan, report) if given.json else summary(plan, report)}\n")
    return 0 if all(finding.holds for finding in report.findings) else 1


def summary(plan: Plan, report: Report) -> str:
    """What a person wants to know in the end."""
    asked = ", ".join(f"{count} {kind}" for kind, count in sorted(report.asked.items()))
    lines = [
        f"{plan.seconds / 60:.0f} minutes, the first {plan.warm_up / 60:.0f} to warm up; seed {plan.seed}",
        f"  {report.kills} workers killed, {report.edits} edits, asked for: {asked}",
        *(
            f"  {'ok' if each.holds else 'NOT OK':<7} {each.of:<22} {each.what:<20} {each.value}  [{each.bound}]"
            for each in report.findings
        ),
    ]
    wrong = sum(not each.holds for each in report.findings)
    return "\n".join([*lines, f"{wrong} of {len(report.findings)} findings are not as they should be"])


def as_json(plan: Plan, report: Report) -> str:
    """The same for programs."""
    told = {
        "asked": dict(report.asked),
        "kills": report.kills,
        "edits": report.edits,
        "tasks": dict(report.task_names),
        "findings": [asdict(finding) for finding in report.findings],
    }
    return json.dumps({"plan": asdict(plan), **told}, indent=2)


def _plan(given: argparse.Namespace) -> Plan:
    seconds = given.minutes * 60
    return Plan(
        seconds=seconds,
        warm_up=min(600.0, 0.3 * seconds),
        workers=given.workers,
        kill_every=given.kill_every,
        edit_every=given.edit_every,
        seed=given.seed,
    )


def _given() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=DESCRIPTION)
    parser.add_argument("--minutes", type=float, default=60.0, metavar="N", help="by default 60; 10 is the short form")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="of the supervised server, by default 2")
    parser.add_argument("--kill-every", type=float, default=180.0, metavar="S", help="seconds, by default 180")
    parser.add_argument("--edit-every", type=float, default=60.0, metavar="S", help="seconds, by default 60")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of what is asked for, by default 1")
    parser.add_argument("--json", action="store_true", help="the findings for programs")
    given = parser.parse_args()
    if given.minutes <= 0 or given.workers < 2 or min(given.kill_every, given.edit_every) <= 0:
        parser.error("some minutes, two workers at least (one of them is never killed), and lengths above 0")
    return given


if __name__ == "__main__":
    sys.exit(main())
