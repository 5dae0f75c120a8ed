"""`logs`: what a run has logged, and with `--follow` what it logs now."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from datetime import timedelta

from jobserver.cli.log_lines import LEVELS, LinePrinter
from jobserver.cli.options import Where
from jobserver.cli.session import Session, session
from jobserver.errors import ConfigError, UnknownRun, did_you_mean
from jobserver.runlogs.bucket import Bucket
from jobserver.runlogs.buckets import bucket_of
from jobserver.store.log_bucket import GridFsBucket
from jobserver.store.states import Status
from jobserver.store.views import RunView
from jobserver.words import one_line, took

AT_ONCE = 1024**2  # bytes
LOOK_EVERY = 0.3  # seconds
LAST_WORDS = timedelta(seconds=4)  # the end of a log may come so long after the end of its run


def logs(where: Where, written: str, *, follow: bool, level: str | None, as_json: bool) -> None:
    """Print the log. Raises UnknownRun, and ConfigError for a level that does not exist."""
    printer = LinePrinter(sys.stdout, at_least=_known(level), as_json=as_json)
    with session(where) as opened:
        bucket = bucket_of(
            opened.settings,
            gridfs=lambda: GridFsBucket(lambda: opened.database, retention=opened.settings.logs.retention),
        )
        try:
            _print(opened, bucket, written, printer, follow=follow)
        except BrokenPipeError:  # `| head` has seen enough; nor is there anybody left for the flush at the end
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _print(opened: Session, bucket: Bucket, written: str, printer: LinePrinter, *, follow: bool) -> None:
    found = opened.reader.run(written)
    run = found.id if found else written
    reading = _Reading(bucket, run, printer)
    reading.go_on()
    if found is None and not reading.found:
        raise UnknownRun(written)
    if follow and not reading.ended:
        reading.follow(lambda: _may_say_more(opened, run))
        found = opened.reader.run(run)
    elif found is not None and found.status == Status.RUNNING:
        _say(printer, "the run is under way: --follow shows what comes")
    if not printer.has_printed:
        _say(printer, "nothing was logged" if not reading.found else "nothing of that level was logged")
    elif reading.found and not reading.ended and (follow or found is None or found.status != Status.RUNNING):
        _say(printer, "the end of this log has not arrived: the next server on the run's machine will bring it")
    if found is not None and found.status != Status.RUNNING:
        _say(printer, _ended(found))


class _Reading:
    """How far one log has been read."""

    def __init__(self, bucket: Bucket, run: str, printer: LinePrinter) -> None:
        self._bucket, self._run, self._printer = bucket, run, printer
        self._position = 0
        self.found = self.ended = False

    def go_on(self) -> None:
        """Print what has come since the last time."""
        while not self.ended and (part := self._bucket.read(self._run, self._position, AT_ONCE)) is not None:
            self.found, self.ended = True, part.ended
            self._printer.take(part.data)
            self._position += len(part.data)
            if not part.data:
                break

    def follow(self, may_say_more: Callable[[], bool]) -> None:
        """Until the log has ended, or its run has and nothing comes any more."""
        while not self.ended and may_say_more():
            time.sleep(LOOK_EVERY)
            self.go_on()


def _may_say_more(opened: Session, run: str) -> bool:
    found = opened.reader.run(run)
    if found is None or found.finished_at is None:
        return found is not None
    return opened.reader.now() - found.finished_at < LAST_WORDS


def _ended(run: RunView) -> str:
    """What came of it: a log may end without a word about that."""
    said = run.error or run.reason
    return f"{run.name} {run.status} after {took(run.duration)}{f': {one_line(said, 200)}' if said else ''}"


def _known(level: str | None) -> str | None:
    if level is not None and level not in LEVELS:
        hint = did_you_mean(level, LEVELS)
        raise ConfigError("level", f"no record has the level {level!r}{hint}; known: {', '.join(LEVELS)}")
    return level


def _say(printer: LinePrinter, words: str) -> None:
    """To the person, beside the log."""
    if not printer.as_json:
        sys.stdout.flush()
        sys.stderr.write(f"{words}\n")
