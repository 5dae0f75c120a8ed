"""Keeps the definitions in force: each scan takes in what has changed since the one before."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from jobserver.definition import ScanProblem, ScanResult
from jobserver.errors import DefinitionError
from jobserver.scanner.claims import Claims, settle_claims
from jobserver.scanner.file_record import FileRecord
from jobserver.scanner.loading import load
from jobserver.scanner.prober import Prober, ProbeReport
from jobserver.scanner.rejection import FileRejected
from jobserver.scanner.source_file import SourceFile, read_source
from jobserver.scanner.sources import JobFile, JobSources, Listing

PROBE_TIMEOUT = timedelta(seconds=10)
_MOST_ROUNDS = 5
_ONLY_HERE = "; it passed its trial, so a module it imports may have changed since the start: restart to load that"


class Scanner:
    """Finds, tries and loads job files. `scan` blocks (seconds when a file hangs), so it belongs into a thread; several
    threads may call it. `monotonic` gives seconds, for the waits between trials of a broken file."""

    def __init__(
        self,
        *,
        project_root: Path,
        jobs_dir: Path,
        plugins_dir: Path,
        disabled_plugins: Collection[str] = (),
        plugins: Sequence[str] | None = None,
        probe_timeout: timedelta = PROBE_TIMEOUT,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.sources = JobSources(
            project_root=project_root,
            jobs_dir=jobs_dir,
            plugins_dir=plugins_dir,
            disabled_plugins=disabled_plugins,
            plugins=plugins,
        )
        self._prober = Prober(timeout=probe_timeout)
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._records: dict[JobFile, FileRecord] = {}
        self._claims = Claims(definitions={}, refused=())

    def scan(self) -> ScanResult:
        """Look at every file; unchanged ones are neither tried nor imported again, problems are told until solved."""
        with self._lock:
            self._make_project_importable()
            listing = self.sources.listing()
            self._forget_removed(listing)
            passing = self._take_in(listing.files)
            records = list(self._records.values())
            claimed = [each for record in records for each in record.definitions]
            self._claims = settle_claims(claimed, self._claims.definitions)
            broken = [problem for record in records for problem in record.problems]
            problems = [*listing.problems, *passing, *broken, *self._claims.refused]
            return ScanResult(
                definitions=dict(self._claims.definitions),
                problems=tuple(sorted(problems, key=lambda each: (each.path, each.message))),
            )

    def _make_project_importable(self) -> None:
        # At the end: a project's own `queue.py` must not take the place of the standard library's in the server.
        root = str(self.sources.project_root)
        if root not in sys.path:
            sys.path.append(root)

    def _forget_removed(self, listing: Listing) -> None:
        for file in self._records.keys() - set(listing.files):
            if not listing.hides(file.path):
                self._records.pop(file).forget()

    def _take_in(self, files: Sequence[JobFile]) -> list[ScanProblem]:
        """Try and load what is new; problems that say nothing about a version, so they are not remembered."""
        problems: list[ScanProblem] = []
        for _ in range(_MOST_ROUNDS):
            sources, unreadable = self._read(files)
            problems += unreadable
            report = self._prober.probe(sources)
            restless = []
            for source in sources:
                if not _is_settled(source):
                    restless.append(source.file)
                elif trouble := self._decide(source, report):
                    problems.append(trouble)
            # Written while it was being tried: half a file may well be valid, so only what has come to rest is loaded.
            files = restless
            if not files:
                break
        return problems + [self._problem(file, "changes faster than it can be read") for file in files]

    def _read(self, files: Sequence[JobFile]) -> tuple[list[SourceFile], list[ScanProblem]]:
        sources, problems, now = [], [], self._monotonic()
        for file in files:
            try:
                source = read_source(file)
            except DefinitionError as error:
                problems.append(self._record(file).named(ScanProblem(path=str(file.path), message=str(error))))
                continue
            if source is None:
                self._records.pop(file, FileRecord(file)).forget()
            elif self._record(file).needs_trial(source, now):
                sources.append(source)
        return sources, problems

    def _decide(self, source: SourceFile, report: ProbeReport) -> ScanProblem | None:
        record, problems = self._record(source.file), report.verdicts.get(source.path)
        if problems is None:
            return self._problem(source.file, f"could not be tried: {report.trouble}")
        if not problems:
            try:
                record.accept(load(source))
            except FileRejected as rejected:
                problems = tuple(replace(each, message=each.message + _ONLY_HERE) for each in rejected.problems)
        if problems:
            record.refuse(source, problems, self._monotonic())
        return None

    def _record(self, file: JobFile) -> FileRecord:
        return self._records.setdefault(file, FileRecord(file))

    def _problem(self, file: JobFile, message: str) -> ScanProblem:
        error = DefinitionError(path=str(file.path), message=message)
        return self._record(file).named(ScanProblem(path=str(file.path), message=str(error)))


def _is_settled(source: SourceFile) -> bool:
    try:
        again = read_source(source.file)
    except DefinitionError:
        return False
    return again is not None and again.digest == source.digest
