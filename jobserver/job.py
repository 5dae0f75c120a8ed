"""What an author writes: a `Job` subclass with `run` and a schedule. Needs no database driver to be imported.

`run` asks for what it needs by parameter name, in any order:

    data      what was enqueued with the job document, {} when nothing was
    db        the server's database: async for `async def run`, synchronous for `def run`
    progress  progress(total, current, message): stored, and the lock lives on
    done      done(error, result): decides the outcome before `run` returns
    log       the same as self.logger
    context   this run: ids, attempt, fence, idempotency_key, cancelled …
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import IntEnum
from threading import Event
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

if TYPE_CHECKING:
    from jobserver.limits import Limits
    from jobserver.retry import Retry
    from jobserver.schedule import ScheduleSource

RUN_PARAMETERS = ("data", "db", "progress", "done", "log", "context")


class Priority(IntEnum):
    """Among due jobs a higher priority starts first; any integer from -20 to 20 may stand in a document."""

    LOWEST = -20
    LOW = -10
    NORMAL = 0
    HIGH = 10
    HIGHEST = 20


class RunLogger(Protocol):
    """Structured records that carry the job's name and the run's id; `fields` is any mapping."""

    def d(self, message: str, fields: Mapping[str, Any] | None = None) -> None: ...
    def i(self, message: str, fields: Mapping[str, Any] | None = None) -> None: ...
    def w(self, message: str, fields: Mapping[str, Any] | None = None) -> None: ...
    def e(self, message: str, fields: Mapping[str, Any] | None = None) -> None: ...
    def debug(self, message: str, fields: Mapping[str, Any] | None = None) -> None: ...
    def info(self, message: str, fields: Mapping[str, Any] | None = None) -> None: ...
    def warning(self, message: str, fields: Mapping[str, Any] | None = None) -> None: ...
    def error(self, message: str, fields: Mapping[str, Any] | None = None) -> None: ...


class Progress(Protocol):
    """Stores progress and extends the lock by the lock lifetime; awaited in `async def run`, plain elsewhere.

    Raises LockLost when the lock is gone, DataError for values that are not numbers (nothing changes then).
    """

    def __call__(self, total: float, current: float, message: str | None = None) -> Awaitable[None] | None: ...


class CancelFlag:
    """Says whether the run was told to stop; true in an `if`, and a thread may `wait` for it."""

    __slots__ = ("_event", "_set")

    def __init__(self) -> None:
        self._set = False
        self._event: Event | None = None  # made when somebody waits: most runs never look

    def __bool__(self) -> bool:
        return self._set

    def is_set(self) -> bool:
        """Whether the run was told to stop."""
        return self._set

    def set(self) -> None:
        """Tell it."""
        self._set = True
        if self._event is not None:
            self._event.set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait in a thread until told, so many seconds at the longest; whether it was told."""
        if self._event is None:
            self._event = Event()
        if self._set:  # told while the event was being made
            self._event.set()
        return self._event.wait(timeout)


def unheard(message: Any) -> None:
    """Where nobody listens to the messages of a run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobContext:
    """This run, for the code that runs.

    `fence` grows with each claim of the document; `idempotency_key` is the same for every attempt at one occurrence, so
    another system can refuse what it has already done. `last_completed_at` is the end of the last run of this task, or
    of this recurring job, that went well: None before the first.
    """

    name: str
    job_id: Any
    run_id: str
    attempt: int
    fence: int
    idempotency_key: str
    scheduled_at: datetime
    server: str
    last_completed_at: datetime | None = None
    cancelled: CancelFlag = field(default_factory=CancelFlag)
    poster: Callable[[Any], None] = field(default=unheard, repr=False, compare=False)

    def post(self, message: Any) -> None:
        """Tell whoever listens on the server. "done" and "cancelled" decide the run, as `done` does.

        Raises DataError in a process of its own for what cannot be stored.
        """
        self.poster(message)


class RunHandles(Protocol):
    """What a run lends to the job instance it drives; the runner fills it in."""

    @property
    def context(self) -> JobContext: ...
    @property
    def data(self) -> Any: ...
    @property
    def log(self) -> RunLogger: ...
    def touch(self) -> Awaitable[None] | None: ...


class Job:
    """Extend it, define `run` and a schedule, drop the file into `jobs/`.

    Each default may be a class attribute or the method `get_…`; lengths are a timedelta, text such as "30 minutes",
    or a bare number of milliseconds.
    """

    name: ClassVar[str | None] = None
    schedule: ClassVar[ScheduleSource | None] = None
    retry: ClassVar[Retry | Mapping[str, Any] | None] = None
    priority: ClassVar[int] = Priority.NORMAL
    concurrency: ClassVar[int | None] = None
    global_concurrency: ClassVar[int | None] = None
    lock_lifetime: ClassVar[timedelta | float | str | None] = None
    enabled: ClassVar[bool] = True
    execution: ClassVar[Literal["inline", "thread", "process"] | None] = None
    slots: ClassVar[int] = 1
    max_execution_time: ClassVar[timedelta | float | str | None] = None
    limits: ClassVar[Limits | Mapping[str, Any] | None] = None
    start_method: ClassVar[Literal["forkserver", "spawn"]] = "forkserver"
    driver: ClassVar[Literal["pymongo", "motor"]] = "pymongo"

    priorities = Priority
    _handles: RunHandles | None = None

    def get_schedule(self) -> ScheduleSource | None:
        """When it runs: cron text, "manual", "now", a timedelta, a Schedule, or {type, value, timezone}."""
        return self.schedule

    def get_retry_config(self) -> Retry | Mapping[str, Any] | None:
        """The retry policy; None means off."""
        return self.retry

    def get_priority(self) -> int:
        """-20 to 20, see `self.priorities`."""
        return self.priority

    def get_concurrency(self) -> int | None:
        """How many of it one server runs at once; None means the server's default_concurrency."""
        return self.concurrency

    def get_lock_lifetime(self) -> timedelta | float | str | None:
        """How long after its last sign of life a run counts as stuck; None means default_lock_lifetime."""
        return self.lock_lifetime

    def get_execution(self) -> str | None:
        """Where it runs: "inline" (the default of `async def run`), "thread" (of `def run`) or "process"."""
        return self.execution

    def get_slots(self) -> int:
        """How many of the server's available_slots one run takes."""
        return self.slots

    def get_max_execution_time(self) -> timedelta | float | str | None:
        """How long one run may take before it is stopped and failed; None means for ever."""
        return self.max_execution_time

    def get_limits(self) -> Limits | Mapping[str, Any] | None:
        """Memory, processor time, niceness and folder of a run in a process."""
        return self.limits

    def get_enabled(self) -> bool:
        """Whether its schedule starts out switched on."""
        return self.enabled

    @property
    def job_name(self) -> str:
        """The name under which it runs, such as `api:inventory`."""
        return self._run.context.name

    @property
    def params(self) -> Any:
        """The same as the `data` parameter of `run`."""
        return self._run.data

    @property
    def context(self) -> JobContext:
        """The same as the `context` parameter of `run`."""
        return self._run.context

    @property
    def logger(self) -> RunLogger:
        """Records that carry the job's name and the run's id."""
        return self._run.log

    def touch(self) -> Any:
        """Extend the lock by the lock lifetime; awaited in `async def run`, plain in `def run`. Raises LockLost."""
        return self._run.touch()

    @property
    def _run(self) -> RunHandles:
        if self._handles is None:
            raise RuntimeError(f"{type(self).__name__} is not running: touch, logger, params and context live in a run")
        return self._handles
