"""The machinery that makes mistakes on purpose: three of them are caught, and it tells when it proves nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from jobserver.embedded import EmbeddedMongo
from tests.faults import MONGOD_DIRECTORY
from tests.mutants.catalogue import MUTANTS
from tests.mutants.mutant import ROOT, DoesNotApply, Edit, Mutant, changed_files
from tests.mutants.trial import Judgement, judged

QUICK = ("settle-without-token", "reap-without-lock", "chore-thread-ends-with-a-fault")
CHORE = "tests/unit/test_chores.py::test_a_chore_of_the_event_loop_that_raises_is_begun_again_until_it_ends"


@pytest.fixture
def directory(mongod: EmbeddedMongo) -> Path:
    """Of the session's mongod, which the trials share."""
    del mongod
    return Path(os.environ[MONGOD_DIRECTORY])


def mutant(*tests: str, edits: tuple[Edit, ...] = ()) -> Mutant:
    return Mutant(name="made-up", breaks="nothing", edits=edits, tests=tests)


@pytest.mark.parametrize("name", QUICK)
def test_a_mistake_is_caught_by_the_tests_that_it_names(directory: Path, name: str) -> None:
    (quick,) = (each for each in MUTANTS if each.name == name)
    verdict = judged(quick, directory)
    assert verdict.judgement is Judgement.CAUGHT, verdict.said


def test_a_mistake_that_nobody_notices_has_survived(directory: Path) -> None:
    unnoticed = Edit(path="runner/pulse/chore.py", old="Begin; a second start", new="Begin; another start")
    verdict = judged(mutant(CHORE, edits=(unnoticed,)), directory)
    assert verdict.judgement is Judgement.SURVIVED
    assert CHORE in verdict.said


def test_a_copy_that_cannot_even_be_imported_proves_nothing(directory: Path) -> None:
    broken = Edit(path="runner/pulse/chore.py", old="import threading\n", new="import threading_\n")
    verdict = judged(mutant(CHORE, edits=(broken,)), directory)
    assert verdict.judgement is Judgement.BROKEN, verdict.said


@pytest.mark.parametrize("each", MUTANTS, ids=lambda each: each.name)
def test_every_mistake_fits_the_code_as_it_stands(each: Mutant) -> None:
    for path, text in changed_files(each.edits).items():
        compile(text, path, "exec")


def test_every_test_that_a_mistake_names_is_there() -> None:
    for path, _, name in (test.partition("::") for mutant in MUTANTS for test in mutant.tests):
        assert f"def {name}(" in (ROOT / path).read_text()  # with parameters none of its endings would be found


def test_a_text_that_is_there_twice_or_not_at_all_is_refused() -> None:
    with pytest.raises(DoesNotApply, match="0 times"):
        changed_files((Edit(path="words.py", old="no such text", new=""),))
    with pytest.raises(DoesNotApply, match="times, not once"):
        changed_files((Edit(path="words.py", old="def ", new=""),))
