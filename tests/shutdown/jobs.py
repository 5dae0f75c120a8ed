"""Jobs of every kind of execution that wait at a gate. Gate and notes are files: MongoDB may be away.

A file `deaf` makes them ignore whatever they are told.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from tests.project import Project

FILES = """
import pathlib, signal

HERE = pathlib.Path({folder!r})

def begun(context):
    half = HERE / f"{{context.run_id}}.{{os.getpid()}}.half"
    half.write_text(f"{{context.name}} {{context.run_id}} {{os.getpid()}} {{time.time()}}")
    half.rename(half.with_suffix(".begun"))

def there(name):
    return (HERE / name).exists()
"""
INLINE = """
class Inline(Job):
    schedule = "manual"
    async def run(self, context):
        begun(context)
        while not there("gate"):
            try:
                await asyncio.sleep(0.02)
            except asyncio.CancelledError:
                if not there("deaf"):
                    raise
"""
THREAD = """
class Thread(Job):
    schedule = "manual"
    def run(self, context):
        begun(context)
        while not there("gate"):
            try:
                time.sleep(0.02)
                if context.cancelled and not there("deaf"):
                    raise JobCancelled("told to stop")
            except Exception:
                if not there("deaf"):
                    raise
"""
PROCESS = """
class Process(Job):
    schedule = "manual"
    execution = "process"
    def run(self, context):
        if there("deaf"):
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        begun(context)
        while not there("gate"):
            time.sleep(0.02)
            if context.cancelled and not there("deaf"):
                raise JobCancelled("told to stop")
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """One run that has begun, in which process, and when by this machine's clock."""

    name: str
    run: str
    pid: int
    at: float


class Gate:
    """The jobs of a project, and the files through which they are watched."""

    def __init__(self, project: Project) -> None:
        self._folder = project.root / "gate"
        self._folder.mkdir()
        sources = {"inline": INLINE, "thread": THREAD, "process": PROCESS}
        prelude = FILES.format(folder=str(self._folder))
        self.names = [project.job(stem, prelude + source) for stem, source in sources.items()]

    def close(self) -> None:
        """As if nothing had run yet."""
        for path in self._folder.iterdir():
            path.unlink()

    def deafen(self) -> None:
        """Runs listen to nothing."""
        (self._folder / "deaf").touch()

    def open(self) -> None:
        """Runs may end."""
        (self._folder / "gate").touch()

    def begun(self) -> list[Begun]:
        """What has begun so far, in that order."""
        return sorted((_read(path) for path in self._folder.glob("*.begun")), key=lambda each: each.at)


def _read(path: Path) -> Begun:
    name, run, pid, at = path.read_text().split()
    return Begun(name=name, run=run, pid=int(pid), at=float(at))


def now() -> float:
    """The clock that `Begun.at` is of."""
    return time.time()
