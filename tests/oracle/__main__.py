"""The long forms: `python -m tests.oracle [cases] [COUNT] [SEED]`, `python -m tests.oracle strings [COUNT] [SEED]`."""

from __future__ import annotations

import argparse
import sys

from tests.oracle.long_forms import compare_cases, throw_strings

COUNTS = {"cases": 100_000, "strings": 1_000_000}
DESCRIPTION = """Compare schedules with a walk through time (cases), or judge texts by chance (strings): none may raise
anything but a refusal, or take long. The exit code is 1 for anything else."""


def main(arguments: list[str]) -> int:
    """The number of what went wrong, at most 1."""
    what = arguments[0] if arguments and arguments[0] in COUNTS else "cases"
    parser = argparse.ArgumentParser(
        prog="python -m tests.oracle",
        usage="%(prog)s [-h] [cases | strings] [COUNT] [SEED]",
        description=DESCRIPTION,
    )
    counts = ", ".join(f"{count:,} {name}" for name, count in COUNTS.items())
    parser.add_argument("count", type=int, nargs="?", default=COUNTS[what], help=f"by default {counts}")
    parser.add_argument("seed", type=int, nargs="?", default=1, help="by default 1")
    given = parser.parse_args(arguments[1:] if arguments[:1] == [what] else arguments)
    compare = compare_cases if what == "cases" else throw_strings
    return min(compare(given.count, given.seed), 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
