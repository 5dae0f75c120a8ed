"""Runs tests against a copy of the package, in every process that they start, and judges what came of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.faults import MONGOD_DIRECTORY
from tests.mutants.mutant import ROOT, DoesNotApply, Edit, Mutant, copy_package

WITNESS = Path(__file__).with_name("witness")
LONGEST = 300.0  # seconds for one trial


class Judgement(StrEnum):
    """Only the first is good."""

    CAUGHT = "caught"
    SURVIVED = "survived"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the tests of one mutant came to; `said` is how the first one failed, or what is wrong."""

    mutant: Mutant
    judgement: Judgement
    said: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How one test ended: it passed, or failed by an assertion, or neither."""

    test: str
    passed: bool
    asserted: bool
    said: str


class Failed(Exception):
    """The tests could not be run against the copy."""


def judged(mutant: Mutant, mongod: Path) -> Verdict:
    """Apply it, run its tests, look."""
    try:
        endings = run_tests(mutant.tests, mutant.edits, mongod)
    except (DoesNotApply, Failed) as error:
        return Verdict(mutant=mutant, judgement=Judgement.BROKEN, said=str(error))
    for test in mutant.tests:
        own = [ending for ending in endings if ending.test.partition("[")[0] == test]
        if own and all(ending.passed for ending in own):
            return Verdict(mutant=mutant, judgement=Judgement.SURVIVED, said=f"{test} passes with it")
        if not any(ending.asserted for ending in own):
            said = next((ending.said for ending in own if not ending.passed), "it was not run")
            return Verdict(mutant=mutant, judgement=Judgement.BROKEN, said=f"{test} asserts nothing: {said}")
    first = next(ending.said for ending in endings if ending.asserted)
    return Verdict(mutant=mutant, judgement=Judgement.CAUGHT, said=first)


def unmutated(tests: Sequence[str], mongod: Path) -> list[str]:
    """What is wrong with these tests where nothing is: they must pass against a plain copy."""
    endings = run_tests(tests, (), mongod)
    seen = {ending.test.partition("[")[0] for ending in endings}
    failed = [f"{ending.test} fails without any mutant: {ending.said}" for ending in endings if not ending.passed]
    return failed + [f"{test} does not exist" for test in tests if test not in seen]


def run_tests(tests: Sequence[str], edits: tuple[Edit, ...], mongod: Path) -> list[Ending]:
    """Against a copy with these changes. Raises DoesNotApply, and Failed where something else was tested."""
    with TemporaryDirectory(prefix="jobserver-mutant-") as name:
        folder = Path(name)
        copy_package(folder / "copy", edits)
        environ = _environment(os.environ, folder, mongod)
        command = [sys.executable, "-m", "pytest", "-p", "tests.mutants.reports", "-p", "no:cacheprovider", "-n", "0"]
        try:
            done = subprocess.run(
                [*command, *tests], cwd=ROOT, env=environ, capture_output=True, text=True, timeout=LONGEST, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise Failed(f"no end within {LONGEST:.0f} seconds") from error
        _check_witness(folder)
        if done.returncode not in (0, 1):
            last = (done.stdout + done.stderr).strip().splitlines()[-1:]
            raise Failed(f"pytest ended with {done.returncode}: {' '.join(last)}")
        return [Ending(**ending) for ending in json.loads((folder / "reports").read_text())]


def _environment(environ: Mapping[str, str], folder: Path, mongod: Path) -> dict[str, str]:
    """The copy comes first on the path of every Python, and none puts its working folder before it.

    As a worker of a session the tests share its mongod, instead of starting one each.
    """
    return {
        **environ,
        "PYTHONPATH": os.pathsep.join([str(folder / "copy"), str(WITNESS)]),
        "PYTHONSAFEPATH": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTEST_ADDOPTS": "",
        "PYTEST_XDIST_WORKER": "mutant",
        MONGOD_DIRECTORY: str(mongod),
        "MUTANT_REPORTS": str(folder / "reports"),
        "MUTANT_WITNESS": str(folder / "witness"),
    }


def _check_witness(folder: Path) -> None:
    witness = folder / "witness"
    found = set(witness.read_text().splitlines()) if witness.exists() else set()
    expected = str(folder / "copy" / "jobserver" / "__init__.py")
    if found != {expected}:
        raise Failed(f"not the copy was tested but {', '.join(sorted(found - {expected})) or 'nothing'}")
