"""What the Makefile and docs/reliability.md say of the proofs: each command is there and tells what it does."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mutants.catalogue import MUTANTS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reliability.md").read_text("utf-8")
MAKEFILE = (ROOT / "Makefile").read_text("utf-8")
PROOFS = sorted(set(re.findall(r"-m (tests\.\w+)", MAKEFILE)))


@pytest.mark.parametrize("proof", PROOFS)
def test_the_help_of_a_proof_says_what_its_exit_code_means(proof: str) -> None:
    shown = subprocess.run(
        [sys.executable, "-m", proof, "--help"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert shown.stdout.startswith(f"usage: python -m {proof} ")
    assert "The exit code is 1" in " ".join(shown.stdout.split())


def test_every_target_that_the_page_names_is_there() -> None:
    named = set(re.findall(r"`make ([a-z-]+)", PAGE))
    assert named
    assert named - set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE)) == set()


def test_the_page_counts_the_mistakes_that_are_made_on_purpose() -> None:
    assert f"\n{len(MUTANTS)} known mistakes " in PAGE
