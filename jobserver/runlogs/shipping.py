"""One thread brings the local files of run logs to the bucket: about once a second, and what dead servers have left.

Nothing is removed here before the bucket has all of it. While the bucket is away everything stays where it is.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog

from jobserver.runlogs.bucket import Bucket, Piece
from jobserver.runlogs.spool import SpooledLog, SpoolFolder, left_folders

EVERY = 1.0  # seconds
SWEEP_EVERY = 3600.0
LONGEST_PAUSE = 30.0
PIECE = 1024**2  # bytes of one log at once
MOST_BYTES, MOST_LOGS = 8 * 1024**2, 500  # of one call of the bucket

_log = structlog.get_logger("jobserver")


@dataclass(frozen=True, slots=True, kw_only=True)
class _End:
    """How far a log went when a round began."""

    written: int
    ended: bool


class Shipper:
    """Knows which logs have something that the bucket lacks."""

    def __init__(self, *, bucket: Bucket, spool: Path) -> None:
        self._bucket, self._spool = bucket, spool
        self._behind: dict[SpooledLog, None] = {}
        self._turn = threading.Lock()
        self._wake, self._closing = threading.Event(), threading.Event()
        self._left: list[SpoolFolder] = []
        self._swept_at = -SWEEP_EVERY
        self._away_said = False
        self._thread = threading.Thread(target=self._ship_all, name="run log shipping", daemon=True)

    def start(self) -> None:
        """Begin, with what dead servers have left here."""
        self._thread.start()

    def written(self, log: SpooledLog) -> None:
        """There is more of it, or it has ended."""
        with self._turn:
            self._behind[log] = None
        self._wake.set()

    def close(self, timeout: float) -> None:
        """Ship what is there, as far as the bucket takes it; the rest stays for the next start."""
        self._closing.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout)

    def _ship_all(self) -> None:
        self._guarded(self._take_over)
        pause = EVERY
        while True:
            self._wake.wait(SWEEP_EVERY)
            self._wake.clear()
            if self._guarded(self._round):
                pause = EVERY
            else:
                pause = min(LONGEST_PAUSE, 2 * pause)
                self._wake.set()
            if self._closing.is_set():
                break
            self._closing.wait(pause)
        for folder in self._left:
            folder.close()
        self._guarded(self._bucket.close)

    def _guarded(self, step: Callable[[], None]) -> bool:
        try:
            step()
        except Exception as error:  # whatever a bucket raises: it will be tried again, and nothing is lost meanwhile
            if not self._away_said:
                self._away_said = True
                _log.warning("run logs not shipped", error=str(error) or repr(error))
            return False
        if self._away_said and step == self._round:
            self._away_said = False
            _log.info("run logs shipped again")
        return True

    def _take_over(self) -> None:
        for folder in left_folders(self._spool):
            self._left.append(folder)
            for log in folder.found():
                self.written(log)
        self._wake.set()

    def _round(self) -> None:
        """Ship what is there now; what comes meanwhile is the next round's."""
        ends = {log: _end(log) for log in self._known()}
        try:
            self._ship(ends)
        except Exception:
            with self._turn:
                self._behind.update(dict.fromkeys(ends))
            raise
        self._tidy()

    def _ship(self, ends: dict[SpooledLog, _End]) -> None:
        while pieces := self._next_pieces(ends):
            self._bucket.append([piece for _, piece in pieces])
            for log, piece in pieces:
                log.shipped = piece.start + len(piece.data)
                if piece.ended:
                    log.remove()
                    self._forget(log)
                    del ends[log]

    def _known(self) -> list[SpooledLog]:
        """The logs that have something for the bucket."""
        with self._turn:
            known = list(self._behind)
            if self._bucket.grain is None:
                return [log for log in known if log.ended]
            self._behind = {log: None for log in known if log.ended}  # the others come back with their next line
        return known

    def _next_pieces(self, ends: dict[SpooledLog, _End]) -> list[tuple[SpooledLog, Piece]]:
        found: list[tuple[SpooledLog, Piece]] = []
        total = 0
        for log, end in list(ends.items()):
            if total > MOST_BYTES or len(found) == MOST_LOGS:
                break
            if log.shipped == end.written and not end.ended:
                continue
            piece = self._piece(log, end)
            if piece is None:
                self._forget(log)
                del ends[log]
            else:
                found.append((log, piece))
                total += len(piece.data)
        return found

    def _piece(self, log: SpooledLog, end: _End) -> Piece | None:
        """The next bytes; None where there are none, or somebody has removed them."""
        grain = self._bucket.grain
        start = 0 if grain is None else log.shipped - log.shipped % grain
        wanted = end.written - start if grain is None else min(PIECE, end.written - start)
        try:
            data = log.read(start, wanted) if end.written else b""
        except OSError as error:
            _log.warning("run log lost", run=log.facts.run, error=str(error))
            return None
        if len(data) < wanted or not end.written:
            return None
        return Piece(facts=log.facts, start=start, data=data, ended=end.ended and start + len(data) == end.written)

    def _forget(self, log: SpooledLog) -> None:
        with self._turn:
            self._behind.pop(log, None)

    def _tidy(self) -> None:
        """Once in a while: folders that have nothing left in them, and what is past its retention."""
        with self._turn:
            busy = {log.folder for log in self._behind}
        for folder in [each for each in self._left if each not in busy]:
            self._left.remove(folder)
            folder.close()
        if time.monotonic() - self._swept_at > SWEEP_EVERY:
            self._swept_at = time.monotonic()
            self._bucket.sweep()


def _end(log: SpooledLog) -> _End:
    ended = log.ended  # first: the last bytes are there before it is set
    return _End(written=log.written, ended=ended)
