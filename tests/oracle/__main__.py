"""The long forms: `python -m tests.oracle [CASES] [SEED]`, `python -m tests.oracle strings [COUNT] [SEED]`."""

from __future__ import annotations

import sys

from tests.oracle.long_forms import compare_cases, throw_strings

COUNTS = {"cases": 100_000, "strings": 1_000_000}


def main(arguments: list[str]) -> int:
    """The number of what went wrong, at most 1."""
    what = arguments.pop(0) if arguments and arguments[0] in COUNTS else "cases"
    count = int(arguments[0]) if arguments else COUNTS[what]
    seed = int(arguments[1]) if len(arguments) > 1 else 1
    wrong = compare_cases(count, seed) if what == "cases" else throw_strings(count, seed)
    return min(wrong, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
