"""`python -m tests.fuzz [--documents 100000] [--seed N] [--json]`. The exit code is 1 for any violation."""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import sys
from dataclasses import dataclass
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

from pymongo import MongoClient

from jobserver.embedded import EmbeddedMongo
from tests.fuzz.configs import ConfigFuzz
from tests.fuzz.files import FileFuzz
from tests.fuzz.ground import Found, Tell
from tests.fuzz.jobs import JobFuzz
from tests.progress import begin
from tests.project import scratch_project

MOST_SHOWN = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How many documents of both kinds together, and what the choice among them begins with."""

    documents: int
    seed: int
    only: str | None
    as_json: bool


def main() -> int:
    """On a mongod of its own; everything that was started ends with this."""
    plan = _plan()
    tell = begin()
    tell("starting MongoDB")
    with (
        TemporaryDirectory(prefix="jobserver-fuzz-", ignore_cleanup_errors=True) as folder,
        EmbeddedMongo.start(Path(folder) / "mongod", cache_gb=1.0) as mongod,
        MongoClient[dict[str, Any]](mongod.uri, tz_aware=True, datetime_conversion="DATETIME_AUTO") as client,
    ):
        found = {kind: _tried(kind, plan, Path(folder), client, mongod.uri, tell) for kind in _kinds(plan)}
    tell.over()
    seconds = round(tell.seconds)
    sys.stdout.write(f"{_as_json(plan, found, seconds) if plan.as_json else _summary(plan, found, seconds)}\n")
    return 1 if any(each.violations or each.lacks for each in found.values()) else 0


FUZZERS: dict[str, Any] = {"configurations": ConfigFuzz, "jobs": JobFuzz, "files": FileFuzz}


def _kinds(plan: Plan) -> list[str]:
    return [plan.only] if plan.only else list(FUZZERS)


def _tried(kind: str, plan: Plan, folder: Path, client: MongoClient[dict[str, Any]], uri: str, tell: Tell) -> Found:
    found = Found()
    with scratch_project(folder / kind, client, uri) as project:
        fuzzer = FUZZERS[kind](project, Random(f"{plan.seed} {kind}"), found, tell)
        try:
            asyncio.run(fuzzer.run(plan.documents // min(2, len(_kinds(plan)))))
        except AssertionError as error:
            found.wrong(f"servers do not go on: {error}")
    return found


def _summary(plan: Plan, found: dict[str, Found], seconds: int) -> str:
    lines = [f"seed {plan.seed}, {seconds} s"]
    for kind, each in found.items():
        lines += [
            f"  {kind:<16} {each.documents:>8} written, {each.refused_by_mongodb} of them refused by MongoDB itself",
            *(f"  {'':<16} {count:>8} {what}" for what, count in each.judged.items()),
            *(f"  too little: {lack}" for lack in each.lacks),
            f"  {'log lines':<16} {each.log_lines:>8}",
            f"  {'violations':<16} {len(each.violations):>8}",
            *(f"    {violation}" for violation in each.violations[:MOST_SHOWN]),
        ]
    return "\n".join(lines)


def _as_json(plan: Plan, found: dict[str, Found], seconds: int) -> str:
    kinds = {
        kind: {
            "documents": each.documents,
            "refusedByMongoDB": each.refused_by_mongodb,
            "judged": each.judged,
            "tooLittle": each.lacks,
            "logLines": each.log_lines,
            "violations": each.violations,
        }
        for kind, each in found.items()
    }
    return json.dumps({"seed": plan.seed, "seconds": seconds, **kinds})


def _plan() -> Plan:
    about = (
        "Writes nonsense into the collections of live servers, and cuts off their job files at every byte. "
        "The exit code is 1 for any violation: a server that ended or stood still, an edit that says nothing valid and "
        "was applied, a refusal that is not shown, a person's words that were changed, a log that grows or that a "
        "terminal cannot show."
    )
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=about)
    parser.add_argument(
        "--documents",
        type=int,
        default=100_000,
        metavar="N",
        help="of configurations and jobs together; by default 100000",
    )
    parser.add_argument("--seed", type=int, metavar="N", help="the same documents again; by default another each time")
    parser.add_argument("--only", choices=FUZZERS, help="one kind alone")
    parser.add_argument("--json", action="store_true", dest="as_json", help="the verdict for programs")
    given = parser.parse_args()
    if given.documents < 2:
        parser.error("at least 2 documents")
    if given.seed is None:
        given.seed = secrets.randbelow(2**32)
    return Plan(**vars(given))


if __name__ == "__main__":
    sys.exit(main())
