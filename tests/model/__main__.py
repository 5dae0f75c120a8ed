"""`python -m tests.model [--examples 20000] [--steps 100] [--seed N] [--json]`.

The exit code is 1 for any difference.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from random import SystemRandom
from tempfile import TemporaryDirectory
from typing import Any

from pymongo import MongoClient

from jobserver.embedded import EmbeddedMongo
from tests.model.bench import a_bench
from tests.model.machine import explore
from tests.progress import Progress, begin

ABOUT = """\
Let hypothesis draw what may happen to the documents of a few jobs at three servers (enqueues, claims, ends in time and
too late, crashes, pauses, reapers, cancels, edits, jumps of the clock, backups), carry all of it out on the real stores
on a MongoDB of its own and on a small model, and compare every document after every step. What differs is made as short
as it goes, which takes some minutes, and told with the seed that finds it again. The exit code is 1 for any difference.
"""


@dataclass(slots=True, kw_only=True)
class Verdict:
    """What a program wants to know in the end; `tried` counts the examples that shortened a difference, too."""

    examples: int
    steps: int
    seed: int
    tried: int = 0
    seconds: float = 0.0
    difference: str | None = None


def main() -> int:
    """On a mongod of its own, which ends with this."""
    given = _given()
    seed = SystemRandom().getrandbits(32) if given.seed is None else given.seed
    verdict = Verdict(examples=given.examples, steps=given.steps, seed=seed)
    prove(verdict, begin())
    sys.stdout.write(f"{json.dumps(asdict(verdict)) if given.json else summary(verdict)}\n")
    return 0 if verdict.difference is None else 1


def prove(verdict: Verdict, tell: Progress) -> None:
    """Try them all, or up to the first difference."""

    def count() -> None:
        verdict.tried += 1
        if sys.stderr.isatty() or verdict.tried % 100 == 1:
            tell(f"example {verdict.tried} of {verdict.examples}")

    tell("starting MongoDB")
    with (
        TemporaryDirectory(prefix="jobserver-model-", ignore_cleanup_errors=True) as folder,
        EmbeddedMongo.start(Path(folder), cache_gb=0.5) as mongod,
        MongoClient[dict[str, Any]](mongod.uri, tz_aware=True) as client,
        a_bench(mongod.uri, client, "model") as bench,
    ):
        try:
            explore(bench, examples=verdict.examples, steps=verdict.steps, number=verdict.seed, counted=count)
        except Exception as found:  # what a store raises that should not raise is a difference, too
            verdict.difference = "\n".join([repr(found), *getattr(found, "__notes__", [])])
    verdict.seconds = round(tell.seconds, 1)
    tell.over()


def summary(verdict: Verdict) -> str:
    """What a person wants to know in the end."""
    found = "  the stores did what the model says" if verdict.difference is None else verdict.difference
    return "\n".join(
        [
            f"{verdict.tried} examples of {verdict.steps} steps in {verdict.seconds:.0f} s, seed {verdict.seed}",
            f"  differences  {int(verdict.difference is not None)}",
            found,
        ]
    )


def _given() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.model", description=ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, default in (("examples", 20_000), ("steps", 100)):
        parser.add_argument(f"--{name}", type=int, default=default, metavar="N", help=f"by default {default}")
    parser.add_argument("--seed", type=int, metavar="N", help="the same seed draws the same; by default another one")
    parser.add_argument("--json", action="store_true", help="the verdict as JSON, for programs")
    given = parser.parse_args()
    if min(given.examples, given.steps) < 1:
        parser.error("at least 1 example of 1 step")
    return given


if __name__ == "__main__":
    sys.exit(main())
