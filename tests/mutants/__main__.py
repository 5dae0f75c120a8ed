"""`python -m tests.mutants [--only NAME ...] [--at-once 2] [--json]`.

The exit code is 1 unless every mutant is caught by each test that it names, and each of these passes without it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from jobserver.embedded import EmbeddedMongo
from tests.mutants.catalogue import MUTANTS
from tests.mutants.mutant import Mutant
from tests.mutants.trial import Failed, Judgement, Verdict, judged, unmutated
from tests.progress import begin

DESCRIPTION = """Make each known mistake in a copy of the package and see the tests that name it fail.

A mutant is caught when every test that it names fails by an assertion, against the copy, in every process. Before that
the same tests have to pass against a plain copy. The exit code is 1 for anything else."""
TEST_COMMANDS = ("--setParameter", "enableTestCommands=1")


def main() -> int:
    """On a mongod that all trials share."""
    given = _parser().parse_args()
    tell = begin()
    chosen = [mutant for mutant in MUTANTS if not given.only or mutant.name in given.only]
    with (
        TemporaryDirectory(prefix="jobserver-mutants-", ignore_cleanup_errors=True) as folder,
        EmbeddedMongo.start(Path(folder) / "mongod", cache_gb=0.5, extra_args=TEST_COMMANDS),
    ):
        wrong, verdicts = tried(chosen, Path(folder) / "mongod", at_once=given.at_once, tell=tell)
    report = as_json(wrong, verdicts, tell.seconds) if given.json else summary(wrong, verdicts)
    sys.stdout.write(f"{report}\n")
    return 0 if not wrong and all(each.judgement is Judgement.CAUGHT for each in verdicts) else 1


def tried(
    mutants: Sequence[Mutant], mongod: Path, *, at_once: int, tell: Callable[[str], None]
) -> tuple[list[str], list[Verdict]]:
    """What is wrong with the tests themselves, and the verdicts in the order of the mutants."""
    tests = sorted({test for mutant in mutants for test in mutant.tests})
    wrong: list[str] = []
    verdicts: dict[str, Verdict] = {}
    pool = ThreadPoolExecutor(at_once)
    try:
        plain = {pool.submit(_unmutated, tests[part::at_once], mongod) for part in range(at_once)}
        work: set[Future[list[str]] | Future[Verdict]] = set(plain)
        work |= {pool.submit(partial(judged, mutant, mongod)) for mutant in mutants}
        for ended in as_completed(work):
            found = ended.result()
            if isinstance(found, Verdict):
                verdicts[found.mutant.name] = found
                tell(f"{len(verdicts)} of {len(mutants)}  {found.mutant.name}: {found.judgement}")
            else:
                wrong += found
    finally:
        pool.shutdown(cancel_futures=True)
    return wrong, [verdicts[mutant.name] for mutant in mutants]


def summary(wrong: Sequence[str], verdicts: Sequence[Verdict]) -> str:
    """What a person wants to know in the end."""
    caught = sum(each.judgement is Judgement.CAUGHT for each in verdicts)
    lines = [f"{caught} of {len(verdicts)} mutants caught"]
    for each in verdicts:
        lines.append(f"  {each.judgement:<9} {each.mutant.name:<32} {each.mutant.breaks}")
        if each.judgement is not Judgement.CAUGHT:
            lines.append(f"            {each.said}")
    return "\n".join([*lines, *(f"  {what}" for what in wrong)])


def as_json(wrong: Sequence[str], verdicts: Sequence[Verdict], seconds: float) -> str:
    """The same for programs."""
    mutants = [
        {
            "name": each.mutant.name,
            "breaks": each.mutant.breaks,
            "tests": each.mutant.tests,
            "verdict": each.judgement,
            "said": each.said,
        }
        for each in verdicts
    ]
    return json.dumps({"seconds": round(seconds, 1), "mutants": mutants, "wrong": list(wrong)}, indent=2)


def _unmutated(tests: Sequence[str], mongod: Path) -> list[str]:
    try:
        return unmutated(tests, mongod) if tests else []
    except Failed as error:
        return [f"without any mutant: {error}"]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.mutants",
        description=DESCRIPTION,
        epilog="\n".join(("NAME is one of:", *(f"  {mutant.name:<36}{mutant.breaks}" for mutant in MUTANTS))),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = [mutant.name for mutant in MUTANTS]
    parser.add_argument("--only", action="append", choices=names, metavar="NAME", help="this one; may be given again")
    parser.add_argument("--at-once", type=int, default=2, metavar="N", help="so many trials side by side, by default 2")
    parser.add_argument("--json", action="store_true", help="the verdict for programs")
    return parser


if __name__ == "__main__":
    sys.exit(main())
