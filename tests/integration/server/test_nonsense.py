"""A few hundred documents of nonsense on live servers; `python -m tests.fuzz` tries a hundred thousand."""

from __future__ import annotations

import secrets
from random import Random

from tests.fuzz.configs import ConfigFuzz
from tests.fuzz.files import FileFuzz
from tests.fuzz.ground import Found
from tests.fuzz.jobs import JobFuzz
from tests.project import Project

FIXED = 20_261_121  # half of them are the same each time


def verdict(found: Found, seed: int) -> None:
    """Nothing is wrong, and there was something of everything; else the seed is told."""
    assert not found.violations, f"seed {seed}: {found.violations[0]}"
    assert not found.lacks, f"seed {seed}: {found.lacks}"


async def test_configurations_of_nonsense_change_nothing_that_they_do_not_say(project: Project) -> None:
    seed, found = secrets.randbelow(2**32), Found()
    fuzz = ConfigFuzz(project, Random(f"{FIXED} configurations"), found, lambda _: None, jobs=80)
    await fuzz.run(100, then=(Random(f"{seed} configurations"), 40))
    verdict(found, seed)


async def test_job_documents_of_nonsense_run_where_they_are_due_and_stay_as_they_were_elsewhere(
    project: Project,
) -> None:
    seed, found = secrets.randbelow(2**32), Found()
    fuzz = JobFuzz(project, Random(f"{FIXED} jobs"), found, lambda _: None)
    await fuzz.run(150, then=(Random(f"{seed} jobs"), 50))
    verdict(found, seed)


async def test_a_file_that_is_cut_off_leaves_the_old_version_in_force(project: Project) -> None:
    seed, found = secrets.randbelow(2**32), Found()
    await FileFuzz(project, Random(f"{seed} files"), found, lambda _: None, files=12).run(12)
    verdict(found, seed)
