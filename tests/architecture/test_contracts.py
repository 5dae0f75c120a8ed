"""Each contract on the direction of imports bites: one forbidden import more, and it is reported broken."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FORBIDDEN = {
    "Imports go down the road of a job, never up": ("store/clock.py", "import jobserver.manager.manager"),
    "Scanner, execution and store do not know each other": ("execution/done.py", "import jobserver.store.states"),
    "Only the store, and what hands it a client, speaks to MongoDB's driver": ("manager/history.py", "import pymongo"),
    "The kit for authors' tests stands on top": ("client.py", "import jobserver.testing"),
    "What an author writes is pure": ("retry.py", "import asyncio"),
}


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=100, check=False
    )


@pytest.fixture
def project(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "jobserver", tmp_path / "jobserver", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


@pytest.mark.parametrize("contract", FORBIDDEN)
def test_a_forbidden_import_breaks_the_contract(project: Path, contract: str) -> None:
    file, statement = FORBIDDEN[contract]
    path = project / "jobserver" / file
    path.write_text(f"{path.read_text()}\n{statement}  # noqa\n")
    linted = lint_imports(project)
    assert linted.returncode == 1, linted.stderr
    broken = " ".join(linted.stdout.split("Broken contracts")[1].split())
    assert contract in broken


def test_the_code_as_it_stands_keeps_every_contract(project: Path) -> None:
    linted = lint_imports(project)
    assert linted.returncode == 0, linted.stdout
