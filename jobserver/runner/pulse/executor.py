"""The runner's first part: which jobs this server runs."""

from __future__ import annotations

from collections.abc import Callable

from jobserver.definition import JobDefinition, JobSettings
from jobserver.runner.pulse.jobs import KnownJobs
from jobserver.runner.pulse.wakeups import Wakeups


class PulseExecutor:
    """A `JobExecutor` on the claim loop's own table of jobs; `changed` makes the server say which jobs it has."""

    def __init__(self, *, jobs: KnownJobs, wakeups: Wakeups, changed: Callable[[], None]) -> None:
        self._jobs, self._wakeups, self._changed = jobs, wakeups, changed

    async def create_job(self, definition: JobDefinition, settings: JobSettings) -> None:
        self._jobs.put(definition, settings)
        self._wakeups.hint([definition.name])
        self._changed()

    async def configure_job(self, name: str, settings: JobSettings) -> None:
        self._jobs.configure(name, settings)
        self._wakeups.hint([name])

    async def remove_job(self, name: str) -> None:
        self._jobs.remove(name)
        self._changed()
