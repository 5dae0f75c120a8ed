"""What people see of it: every command that shows something answers, in words that a terminal can show."""

from __future__ import annotations

import subprocess
import sys

from tests.fuzz.ground import Found
from tests.project import Project

COMMANDS = ("jobs", "runs", "status", "dead", "tasks")


def look_at_everything(project: Project, found: Found) -> None:
    """Ask for everything, as a table and as JSON."""
    for command in COMMANDS:
        for form in ((), ("--json",)):
            answer = subprocess.run(
                [sys.executable, "-m", "jobserver", command, *form, "--config", str(project.root / "server-0.yaml")],
                cwd=project.root,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=120,
                check=False,
            )
            _check(" ".join((command, *form)), answer, found)


def _check(asked: str, answer: subprocess.CompletedProcess[bytes], found: Found) -> None:
    if answer.returncode != 0:
        found.wrong(f"{asked} ends with {answer.returncode}: {answer.stderr[-800:].decode(errors='replace')}")
        return
    for line in answer.stdout.decode(errors="replace").splitlines():
        if not line.isprintable():
            found.wrong(f"{asked} says what is not printable: {line[:500]!r}")
            return
