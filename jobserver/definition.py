"""What a scan finds: one frozen definition per job, with the defaults that its class states."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Any, Literal

from jobserver.errors import ConfigError, did_you_mean
from jobserver.excerpt import excerpt
from jobserver.job import Job, Priority
from jobserver.limits import Limits
from jobserver.retry import Retry
from jobserver.schedule import Schedule

SHORTEST_LOCK, LONGEST_LOCK = timedelta(seconds=1), timedelta(days=30)
SHORTEST_RUN, LONGEST_RUN = timedelta(milliseconds=100), timedelta(days=365)
MOST_SLOTS = 1_000_000


class Execution(StrEnum):
    """Where `run` is called: on the server's event loop, in a thread of its own, in a process of its own."""

    INLINE = "inline"
    THREAD = "thread"
    PROCESS = "process"

    @classmethod
    def parse(cls, value: object, *, field: str) -> Execution:
        """One of the three. Raises ConfigError with "did you mean"."""
        for each in cls:
            if each == value:
                return each
        hint = did_you_mean(value, list(cls)) if isinstance(value, str) else ""
        raise ConfigError(field, f"{excerpt(value)} is none of {', '.join(cls)}{hint}")

    @classmethod
    def usual(cls, *, is_async: bool) -> Execution:
        """Where `run` is called when nobody has said so."""
        return cls.INLINE if is_async else cls.THREAD

    def fitting(self, *, is_async: bool, field: str) -> Execution:
        """Itself, unless such a `run` cannot be called there: a plain one would block the loop, a coroutine needs one.

        Raises ConfigError.
        """
        usual = Execution.usual(is_async=is_async)
        if self not in (usual, Execution.PROCESS):
            form = "async def" if is_async else "def"
            raise ConfigError(field, f"{str(self)!r} cannot call `{form} run`; use {str(usual)!r} or 'process'")
        return self


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
    execution: Execution | None = None
    slots: int = 1
    max_execution_time: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """Where a process that has nothing yet finds what it is to call: `name` in a file, as it was read.

    `kind` says what `name` is: a Job class, a function, or nothing, for a script that is run from top to bottom.
    `content` None means whatever the file, or the importable module `module`, holds when it is loaded.
    """

    kind: Literal["class", "function", "script"]
    path: str
    name: str = ""
    module: str = ""
    category: str = ""
    content: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobDefinition:
    """One loaded job. `checksum` covers the source without comments and layout; `wants` are run's parameters.

    `limits` and `start_method` are of runs in a process, which finds the job by `code`. `data` is what its schedule
    gives to its runs. Jobs that run `in_turn` run one at a time on their server, first in, first out.
    """

    name: str
    path: str
    checksum: str
    job_class: type[Job]
    is_async: bool
    wants: tuple[str, ...]
    defaults: JobDefaults
    driver: Literal["pymongo", "motor"] = "pymongo"
    limits: Limits = field(default_factory=Limits)
    start_method: Literal["forkserver", "spawn"] = "forkserver"
    code: Code | None = None
    data: Any = None
    in_turn: bool = False


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
    """What is in force for one job: its defaults under its `jobConfigs` overrides, completed by the server's.

    `execution` None is the usual one of its `run`.
    """

    schedule: Schedule
    enabled: bool
    retry: Retry
    priority: int
    concurrency: int
    global_concurrency: int | None
    lock_lifetime: timedelta
    execution: Execution | None = None
    slots: int = 1
    max_execution_time: timedelta | None = None
    cancel_running: bool = False
