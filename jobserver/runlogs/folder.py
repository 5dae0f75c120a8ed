"""A bucket in a folder: `<run>.jsonl`, and `<run>.jsonl.live` while the run is under way."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from jobserver.runlogs.bucket import BucketError, LogPart, Piece
from jobserver.runlogs.spool import file_name

LIVE = ".live"


class FolderBucket:
    """A `Bucket`; what was last written longer than `retention` ago is removed."""

    grain: int | None = 1

    def __init__(self, folder: Path, *, retention: timedelta) -> None:
        self._folder, self._retention = folder, retention.total_seconds()

    def append(self, pieces: Sequence[Piece]) -> None:
        """Write each at its place."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            for piece in pieces:
                self._append(piece)
        except OSError as error:
            raise BucketError(f"the folder for run logs cannot be written: {error}") from error

    def read(self, run: str, start: int, at_most: int) -> LogPart | None:
        """From the file of the run; one that is under way may end between two looks."""
        done = self._folder / file_name(run)
        try:
            for path, ended in ((done, True), (_live(done), False), (done, True)):
                if (data := _read(path, start, at_most)) is not None:
                    return LogPart(data=data, ended=ended and len(data) < at_most)
        except OSError as error:
            raise BucketError(f"the folder for run logs cannot be read: {error}") from error
        return None

    def sweep(self) -> None:
        """Remove what is too old."""
        if not self._folder.is_dir():
            return
        oldest = time.time() - self._retention
        for path in self._folder.iterdir():
            if path.name.endswith((".jsonl", LIVE)) and path.stat().st_mtime < oldest:
                path.unlink(missing_ok=True)

    def close(self) -> None:
        """There is nothing to let go of."""

    def _append(self, piece: Piece) -> None:
        done = self._folder / file_name(piece.facts.run)
        if done.exists():  # an earlier answer was lost: all of it is there
            return
        file = os.open(_live(done), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            written = 0
            while written < len(piece.data):
                written += os.pwrite(file, memoryview(piece.data)[written:], piece.start + written)
        finally:
            os.close(file)
        if piece.ended:
            _live(done).replace(done)


def _live(done: Path) -> Path:
    return done.with_name(done.name + LIVE)


def _read(path: Path, start: int, at_most: int) -> bytes | None:
    try:
        with path.open("rb") as file:
            file.seek(start)
            return file.read(at_most)
    except FileNotFoundError:
        return None
