"""The runner's first part: which jobs this server runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jobserver.definition import JobDefinition, JobSettings
from jobserver.runner.pulse.jobs import KnownJobs
from jobserver.runner.pulse.one_offs import OneOffs
from jobserver.runner.pulse.run import Stop
from jobserver.runner.pulse.running import Runs
from jobserver.runner.pulse.wakeups import Wakeups

DISABLED = "its job was disabled, and cancelRunning is set"


class PulseExecutor:
    """A `JobExecutor` on the claim loop's own table of jobs; `changed` makes the server say which jobs it has."""

    def __init__(
        self, *, jobs: KnownJobs, runs: Runs, wakeups: Wakeups, one_offs: OneOffs, changed: Callable[[], None]
    ) -> None:
        self._jobs, self._runs, self._wakeups, self._changed = jobs, runs, wakeups, changed
        self._one_offs = one_offs

    async def create_job(self, definition: JobDefinition, settings: JobSettings) -> None:
        self._jobs.put(definition, settings)
        self._wakeups.hint([definition.name])
        self._changed()

    async def configure_job(self, name: str, settings: JobSettings) -> None:
        self._jobs.configure(name, settings)
        self._wakeups.hint([name])
        if settings.cancel_running and not settings.enabled:
            for run in self._runs:
                if run.name == name:
                    self._runs.stop(run, Stop.CANCELLED, DISABLED)

    async def supply(self, definition: JobDefinition, *, request: Any) -> None:
        self._one_offs.supply(definition, request)

    def has_code_of(self, name: str) -> bool:
        return self._one_offs.has_code_of(name)

    async def remove_job(self, name: str) -> None:
        self._jobs.remove(name)
        self._changed()
