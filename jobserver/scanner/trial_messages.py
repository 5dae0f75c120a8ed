"""What passes between the server and its probe: one request on stdin, one JSON line per file on stdout."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jobserver.definition import ScanProblem
from jobserver.scanner.source_file import SourceFile
from jobserver.scanner.sources import JobFile


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialRequest:
    """The files to try, `parallel` of them at a time, `seconds` for each; their content goes along, read once."""

    sources: tuple[SourceFile, ...]
    seconds: float
    parallel: int

    def encode(self) -> bytes:
        """As JSON."""
        sources = [
            {
                "path": source.path,
                "category": source.file.category,
                "content": base64.b64encode(source.content).decode("ascii"),
                "digest": source.digest,
                "modified_ns": source.modified_ns,
            }
            for source in self.sources
        ]
        return json.dumps({"sources": sources, "seconds": self.seconds, "parallel": self.parallel}).encode()

    @classmethod
    def decode(cls, text: bytes) -> TrialRequest:
        """The inverse of `encode`."""
        raw = json.loads(text)
        return cls(sources=tuple(map(_source, raw["sources"])), seconds=raw["seconds"], parallel=raw["parallel"])


def encode_verdict(path: str, problems: Sequence[ScanProblem]) -> bytes:
    """One line: the file and what is wrong with it, nothing when it passed."""
    return json.dumps({"path": path, "problems": [asdict(problem) for problem in problems]}).encode() + b"\n"


def decode_verdict(line: bytes) -> tuple[str, tuple[ScanProblem, ...]]:
    """The inverse of `encode_verdict`; ValueError for anything else."""
    try:
        raw = json.loads(line)
        return str(raw["path"]), tuple(ScanProblem(**problem) for problem in raw["problems"])
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"not a verdict: {error}") from error


def _source(raw: dict[str, Any]) -> SourceFile:
    return SourceFile(
        file=JobFile(path=Path(raw["path"]), category=raw["category"]),
        content=base64.b64decode(raw["content"]),
        digest=raw["digest"],
        modified_ns=raw["modified_ns"],
    )
