"""One mistake: exact changes to a copy of the package, and the tests that must fail with it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "jobserver"


class DoesNotApply(Exception):
    """The text that a mutant changes is not in the package exactly once: the mutant has to follow the code."""

    def __init__(self, path: str, old: str, count: int) -> None:
        super().__init__(f"jobserver/{path} has this {count} times, not once: {old.strip().splitlines()[0]}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """In one file of the package: this text, once, becomes that one."""

    path: str
    old: str
    new: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """`breaks` is what the mistake would do to somebody; `tests` are ids of pytest, without parameters."""

    name: str
    breaks: str
    edits: tuple[Edit, ...]
    tests: tuple[str, ...]


def copy_package(folder: Path, edits: tuple[Edit, ...] = ()) -> None:
    """Put the package below `folder`, changed so. Raises DoesNotApply."""
    changed = changed_files(edits)
    shutil.copytree(PACKAGE, folder / PACKAGE.name, ignore=shutil.ignore_patterns("__pycache__"))
    for path, text in changed.items():
        (folder / PACKAGE.name / path).write_text(text)


def changed_files(edits: tuple[Edit, ...]) -> dict[str, str]:
    """What the files that are changed hold afterwards, by path. Raises DoesNotApply."""
    changed: dict[str, str] = {}
    for edit in edits:
        text = changed.get(edit.path) or (PACKAGE / edit.path).read_text()
        if (count := text.count(edit.old)) != 1:
            raise DoesNotApply(edit.path, edit.old, count)
        changed[edit.path] = text.replace(edit.old, edit.new)
    return changed
