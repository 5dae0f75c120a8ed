"""The seam between "which jobs there are" and "how they run".

An implementation brings three parts and composes them in a `JobRunner`; the conformance suite says what each must do.
Names are job names such as `api:inventory`; every method may be called again with the same arguments without harm.
"""

from __future__ import annotations

from typing import Any, Protocol

from jobserver.definition import JobDefinition, JobSettings


class JobExecutor(Protocol):
    """Which jobs this server runs, and under which settings."""

    async def create_job(self, definition: JobDefinition, settings: JobSettings) -> None:
        """Take on a job, or its new version: runs that are under way end on the code they began with."""
        ...

    async def configure_job(self, name: str, settings: JobSettings) -> None:
        """New limits, retry policy, priority or lock lifetime, in force for whatever starts from now on."""
        ...

    async def supply(self, definition: JobDefinition, *, request: Any) -> None:
        """The code of a one-off job, whose document has the id `request`: here it may run, until it has ended."""
        ...

    def has_code_of(self, name: str) -> bool:
        """Whether the one-off job of that name may run here."""
        ...

    async def remove_job(self, name: str) -> None:
        """Start no more of it; runs that are under way end as they will."""
        ...


class JobScheduler(Protocol):
    """When jobs run by themselves, and one extra run now."""

    async def schedule(self, name: str, settings: JobSettings, *, afresh: bool = False) -> None:
        """Bring the schedule, and whether it is enabled, into force.

        A schedule that is in force already is left alone: no missed run is dropped, none comes early. `afresh` says
        that the job's code is new, so that one given up as poison gets another chance.
        """
        ...

    async def run_job_now(
        self, name: str, settings: JobSettings, *, request: Any | None = None, data: Any = None
    ) -> None:
        """One run outside the schedule, also of a disabled job; the same `request` again adds nothing."""
        ...

    async def withdraw(self, name: str, *, reason: str) -> None:
        """Take back whatever of this job waits to run, its schedule too; a run that is under way ends as it will."""
        ...


class JobLifecycle(Protocol):
    """Begin and end."""

    async def start(self) -> None:
        """Connect and begin to run what is due. Raises DatabaseError."""
        ...

    async def drain(self) -> None:
        """Claim nothing more, and wait until what runs has ended and is stored, however long that takes.

        Nothing is cancelled or given back, and the server stays registered. `close` may follow at any time.
        """
        ...

    async def close(self, *, hurry: bool = False) -> bool:
        """Claim nothing more, give running work its grace period, return the rest to the queue; leave no lock behind.

        Takes five seconds beyond the grace period at the most. Whether all was stored and given back: what was not,
        because MongoDB is away, others recover. A second call with `hurry` while the first still waits ends the grace
        period at once.
        """
        ...


class JobRunner:
    """A runner: the three parts behind one name."""

    def __init__(self, *, executor: JobExecutor, scheduler: JobScheduler, lifecycle: JobLifecycle) -> None:
        self.executor, self.scheduler, self.lifecycle = executor, scheduler, lifecycle
