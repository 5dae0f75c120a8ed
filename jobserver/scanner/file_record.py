"""What the scanner remembers of one file between scans."""

from __future__ import annotations

from dataclasses import dataclass, replace

from jobserver.definition import JobDefinition, ScanProblem
from jobserver.scanner.loading import LoadedFile
from jobserver.scanner.source_file import SourceFile
from jobserver.scanner.sources import JobFile

FIRST_RETRY_AFTER = 60.0
LONGEST_RETRY_AFTER = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokenVersion:
    """A version that was refused. It is tried again when touched, and now and then by itself: what it lacked (a module,
    a machine less busy) may be there by then. `retry_at` is in seconds of the monotonic clock."""

    digest: str
    modified_ns: int
    problems: tuple[ScanProblem, ...]
    failures: int
    retry_at: float


class FileRecord:
    """The last good version, and the newest one where that is broken."""

    def __init__(self, file: JobFile) -> None:
        self.file = file
        self.loaded: LoadedFile | None = None
        self._broken: BrokenVersion | None = None

    @property
    def definitions(self) -> tuple[JobDefinition, ...]:
        return self.loaded.definitions if self.loaded else ()

    @property
    def problems(self) -> tuple[ScanProblem, ...]:
        return self._broken.problems if self._broken else ()

    def needs_trial(self, source: SourceFile, now: float) -> bool:
        """Whether this version has yet to be tried, or tried again."""
        if self.loaded and self.loaded.digest == source.digest:
            self._broken = None  # back to what is in force
            return False
        broken = self._broken
        if broken is None or broken.digest != source.digest:
            return True
        return broken.modified_ns != source.modified_ns or now >= broken.retry_at

    def accept(self, loaded: LoadedFile) -> None:
        """Put a new version in force."""
        if self.loaded:
            self.loaded.unload()
        self.loaded, self._broken = loaded, None

    def refuse(self, source: SourceFile, problems: tuple[ScanProblem, ...], now: float) -> None:
        """Keep the last good version; wait twice as long with every failure of the same content."""
        same = self._broken if self._broken and self._broken.digest == source.digest else None
        failures = same.failures + 1 if same else 1
        wait = min(FIRST_RETRY_AFTER * 2 ** min(failures - 1, 10), LONGEST_RETRY_AFTER)
        self._broken = BrokenVersion(
            digest=source.digest,
            modified_ns=source.modified_ns,
            problems=tuple(map(self.named, problems)),
            failures=failures,
            retry_at=now + wait,
        )

    def forget(self) -> None:
        """The file is gone, and its jobs with it."""
        if self.loaded:
            self.loaded.unload()

    def named(self, problem: ScanProblem) -> ScanProblem:
        """The problem with the job's name, where the file stands for one job only."""
        if problem.job_name is not None or len(self.definitions) > 1:
            return problem
        name = self.definitions[0].name if self.definitions else self.file.default_name
        return replace(problem, job_name=name)
