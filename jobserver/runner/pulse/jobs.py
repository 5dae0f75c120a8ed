"""What this server runs, and under which settings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from jobserver.definition import Execution, JobDefinition, JobSettings


@dataclass(frozen=True, slots=True)
class KnownJob:
    """A job's code and the settings in force; replaced as a whole, so a run keeps the pair it began with."""

    definition: JobDefinition
    settings: JobSettings
    execution: Execution = field(init=False)
    """Where its `run` is called."""

    def __post_init__(self) -> None:
        usual = Execution.usual(is_async=self.definition.is_async)
        object.__setattr__(self, "execution", self.settings.execution or usual)


class KnownJobs:
    """By name."""

    def __init__(self) -> None:
        self._jobs: dict[str, KnownJob] = {}
        self.in_turn: set[str] = set()

    def __iter__(self) -> Iterator[str]:
        return iter(self._jobs)

    def __len__(self) -> int:
        return len(self._jobs)

    def get(self, name: str) -> KnownJob | None:
        """The job in its present version, None for one that this server does not run."""
        return self._jobs.get(name)

    def settings(self) -> dict[str, JobSettings]:
        """The settings in force, by name; safe to ask from another thread."""
        return {name: job.settings for name, job in self._jobs.copy().items()}

    def put(self, definition: JobDefinition, settings: JobSettings) -> None:
        """Add a job or replace its version."""
        self._jobs[definition.name] = KnownJob(definition, settings)
        if definition.in_turn:
            self.in_turn.add(definition.name)
        else:
            self.in_turn.discard(definition.name)

    def configure(self, name: str, settings: JobSettings) -> None:
        """Replace its settings; unknown names are ignored, their file may just have gone."""
        known = self._jobs.get(name)
        if known is not None:
            self._jobs[name] = KnownJob(known.definition, settings)

    def remove(self, name: str) -> None:
        """Forget it."""
        self._jobs.pop(name, None)
        self.in_turn.discard(name)
