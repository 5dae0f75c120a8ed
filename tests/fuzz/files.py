"""A real job file cut off at every byte, in a running server: the old version stays in force until it is whole."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from pathlib import Path
from random import Random

from jobserver import JobServer
from tests.fuzz.ground import Found, Tell
from tests.project import Project, until

EXAMPLE = Path(__file__).parents[2] / "jobs" / "digest.py"
WITHIN = 120.0  # seconds for so many files on a busy machine
MARKER = "class Marker(Job):\n    schedule = 'manual'\n    async def run(self): return {0}\n"


class FileFuzz:
    """Many files, each cut at another byte at the same time; every other one in place, the rest by renaming."""

    def __init__(self, project: Project, random: Random, found: Found, tell: Tell, *, files: int = 40) -> None:
        self._project, self._random, self._found, self._tell = project, random, found, tell
        self._text = EXAMPLE.read_bytes()
        self._paths = [project.root / "jobs" / f"cut{number:02}.py" for number in range(files)]
        self._marked = 0
        found.judged["to be refused"] = 0

    async def run(self, documents: int) -> None:
        """Try so many cuts, each byte in turn, in two ways."""
        for path in self._paths:
            path.write_bytes(self._text)
        self._project.job("canary")
        cuts = [(cut, in_place) for cut in range(len(self._text)) for in_place in (True, False)]
        cuts = self._random.sample(cuts, min(documents, len(cuts)))
        async with self._project.server() as server:
            whole = server.jobs["api:cut00"].definition.checksum
            for start in range(0, len(cuts), len(self._paths)):
                await self._round(server, whole, cuts[start : start + len(self._paths)])
                self._found.documents += len(cuts[start : start + len(self._paths)])
                self._tell(f"{self._found.documents} of {len(cuts)} cuts, {self._found.so_far}")

    async def _round(self, server: JobServer, whole: str, cuts: Sequence[tuple[int, bool]]) -> None:
        for path, (cut, in_place) in zip(self._paths, cuts, strict=False):
            _write(path, self._text[:cut], in_place=in_place)
        await self._looked_at(server)
        for path, (cut, in_place) in zip(self._paths, cuts, strict=False):
            known, is_whole = server.jobs.get(f"api:{path.stem}"), _is_whole(self._text[:cut])
            self._found.judged["to be refused"] += not is_whole
            if known is None or (known.definition.checksum != whole and not is_whole):
                self._found.wrong(f"in force after a cut at byte {cut}, in place: {in_place}: {known}")
            _write(path, self._text, in_place=not in_place)
        await self._project.ran("api:canary")
        await self._looked_at(server)
        names = [f"api:{path.stem}" for path in self._paths]
        await until(lambda: all(server.jobs[name].definition.checksum == whole for name in names), within=WITHIN)

    async def _looked_at(self, server: JobServer) -> None:
        """Wait until a file that is written after the others is in force."""
        self._marked += 1
        before = server.jobs["api:marker"].definition.checksum if "api:marker" in server.jobs else ""
        self._project.job("marker", MARKER.format(self._marked))

        def is_new() -> bool:
            return "api:marker" in server.jobs and server.jobs["api:marker"].definition.checksum != before

        await until(is_new, within=WITHIN)


def _write(path: Path, text: bytes, *, in_place: bool) -> None:
    if in_place:
        path.write_bytes(text)
        return
    aside = path.with_suffix(".aside")
    aside.write_bytes(text)
    aside.replace(path)


def _is_whole(text: bytes) -> bool:
    """Nobody can tell such a beginning from a file that was meant so: a job with a `run` of at least one statement."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return False
    classes = [each for each in tree.body if isinstance(each, ast.ClassDef)]
    return any(isinstance(inner, ast.AsyncFunctionDef) for each in classes for inner in each.body)
