"""`python -m tests.chaos [--short] [--seed N] [--jobs N] [--seconds N] [--lease N] [--keep FOLDER] [--json]`.

Real servers with wrong clocks work on a real three-node replica set while processes are killed and stopped, networks
cut, configurations and files changed. A witness keeps what MongoDB commits, runs keep what they did, and a checker
that knows neither judges. The exit code is 1 for any violation, where too little was tried, and in the long form for a
figure above its limit.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.chaos.conduct import Chaos
from tests.chaos.plan import LONG, SHORT, Plan
from tests.chaos.report import document, lines, missed
from tests.progress import begin


def main() -> int:
    """On mongods of its own; everything that was started ends with this."""
    options = _options()
    plan = _plan(options)
    tell = begin()
    with _folder(options.keep) as folder:
        proof = Chaos(plan, folder, tell).prove()
    tell.over()
    sys.stdout.write(json.dumps(document(proof), indent=2) if options.json else "\n".join(lines(proof)))
    sys.stdout.write("\n")
    # In the short form figures are too few, and the machine too shared, to decide anything.
    return 0 if proof.holds and (options.short or not missed(proof)) else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__.partition("\n\n")[2])
    forms = f"{_size(SHORT)}, under three minutes; without: {_size(LONG)}"
    parser.add_argument("--short", action="store_true", help=forms)
    parser.add_argument("--seed", type=int, help="of everything by chance; by default another each time, and told")
    for name, what in (
        ("jobs", "so many jobs"),
        ("seconds", f"enqueued over so long; by default {LONG.seconds:g}, with --short {SHORT.seconds:g}"),
        ("lease", f"of the servers, in seconds; by default {LONG.lease:g}, and limits scale with it"),
    ):
        parser.add_argument(f"--{name}", type=int, metavar="N", help=what)
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="leave history, traces and server logs there")
    parser.add_argument("--json", action="store_true", help="for programs")
    return parser.parse_args()


def _size(plan: Plan) -> str:
    return f"{plan.jobs:,} jobs and {sum(plan.faults.values()) + sum(plan.alone.values())} faults"


def _plan(options: argparse.Namespace) -> Plan:
    plan = SHORT if options.short else LONG
    given = {name: value for name in ("jobs", "seconds", "lease") if (value := getattr(options, name)) is not None}
    seed = random.SystemRandom().randrange(10**6) if options.seed is None else options.seed
    return replace(plan, seed=seed, **given)


@contextmanager
def _folder(kept: Path | None) -> Iterator[Path]:
    if kept is not None:
        kept.mkdir(parents=True)
        yield kept.absolute()
        return
    with TemporaryDirectory(prefix="jobserver-chaos-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


if __name__ == "__main__":
    sys.exit(main())
