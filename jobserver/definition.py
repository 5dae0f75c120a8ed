"""What a scan finds: one frozen definition per job, with the defaults that its class states."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal

from jobserver.job import Job, Priority
from jobserver.retry import Retry
from jobserver.schedule import Schedule


@dataclass(frozen=True, slots=True, kw_only=True)
class JobDefaults:
    """What the class says before any `jobConfigs` override; None leaves it to the runner's settings."""

    schedule: Schedule
    enabled: bool = True
    retry: Retry = field(default_factory=lambda: Retry.OFF)
    priority: int = Priority.NORMAL
    concurrency: int | None = None
    global_concurrency: int | None = None
    lock_lifetime: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobDefinition:
    """One loaded job. `checksum` covers the source without comments and layout; `wants` are run's parameters."""

    name: str
    path: str
    checksum: str
    job_class: type[Job]
    is_async: bool
    wants: tuple[str, ...]
    defaults: JobDefaults
    driver: Literal["pymongo", "motor"] = "pymongo"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanProblem:
    """A file, or one class of it, that could not be taken in; `traceback` is empty where there was none."""

    path: str
    message: str
    traceback: str = ""
    job_name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanResult:
    """One look at all job files: what is in force now, and every problem with its file.

    A job whose newest file is broken stays in `definitions` in its last good version.
    """

    definitions: dict[str, JobDefinition]
    problems: tuple[ScanProblem, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSettings:
    """What is in force for one job: its defaults under its `jobConfigs` overrides, completed by the server's."""

    schedule: Schedule
    enabled: bool
    retry: Retry
    priority: int
    concurrency: int
    global_concurrency: int | None
    lock_lifetime: timedelta
