"""Every error that jobserver raises, one tree:

JobServerError
├── JobError                what a job raises to say how its run ends
│   ├── RetryableError          try again: the job's policy, or 3 x the default delay
│   ├── FatalError              never try again
│   └── JobCancelled            ended on purpose, not a failure
├── OutOfTime               the run took longer than its max_execution_time
├── RunFailed               a run failed without an exception of its own
├── LockLost                this run's lock is gone: stop, nothing more is stored
├── RemoteError             what a run in a process of its own has failed with, or the process itself
├── ConfigError             a value somebody wrote is not usable
│   ├── SettingsError           config.yaml, environment or flags
│   ├── ScheduleError           a schedule
│   └── UnknownRunner           runner.type names no registered runner
├── DefinitionError         a job file or class is not a job
├── DataError               data, progress or a result that cannot be stored
├── UnknownJob              no job of that name
├── NameTaken               a job of that name comes from somewhere else
├── NotAdded                the job comes from a file, no program has added it
├── AlreadyAdded            a job of that name was added before
├── NotStarted              the server does not run
├── CompletionTimeout       a one-off has not ended in time (a TimeoutError, too)
├── UnknownTask             no task with that id
├── UnknownRun              no run with that id
└── DatabaseError           MongoDB is away, or refuses
    └── EmbeddedMongoError      the embedded MongoDB cannot start

Interrupted stands beside it, as KeyboardInterrupt does beside Exception.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from difflib import get_close_matches


class JobServerError(Exception):
    """The root: catch it to catch everything of ours."""


class JobError(JobServerError):
    """The family that a job raises (or hands to `done`) to decide how its run ends."""


class RetryableError(JobError):
    """A passing fault: the run is retried even where the job has retries off."""


class FatalError(JobError):
    """A fault that no retry can mend: the job document fails at once."""


class JobCancelled(JobError):
    """The run ends as `cancelled`, which is not a failure and is not retried."""


class Interrupted(BaseException):
    """Raised inside a thread, or a process, whose run has been told to stop and goes on.

    Like KeyboardInterrupt it is no Exception, so that `except Exception` does not catch it; `finally` still cleans up.
    """


class OutOfTime(JobServerError):
    """The run took longer than its `max_execution_time`, was stopped and has failed."""


class RunFailed(JobServerError):
    """A run failed without an exception of its own, as when its process was killed; what an error handler is told."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


class LockLost(JobServerError):
    """The run's lock was lost: another claim may be valid, and nothing this run writes is accepted."""

    def __init__(self, name: str, job_id: object, reason: str = "its lock token is no longer in the document") -> None:
        super().__init__(f"{name} {job_id} lost its lock: {reason}")
        self.name, self.job_id, self.reason = name, job_id, reason


class RemoteError(JobServerError):
    """What a run in a process of its own failed with, in the words it had there; `kind` is the name of its class."""

    def __init__(self, message: str, *, kind: str = "") -> None:
        super().__init__(message)
        self.kind = kind


class ConfigError(JobServerError):
    """A value that cannot be used; `field` names it, `message` says why and what would do."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}" if field else message)
        self.field, self.message = field, message


class SettingsError(ConfigError):
    """config.yaml, an environment variable or a flag holds something unusable."""


class ScheduleError(ConfigError):
    """A schedule that cannot be understood, or that never fires."""

    def __init__(self, message: str, *, field: str = "schedule") -> None:
        super().__init__(field, message)


class UnknownRunner(ConfigError):
    """`runner.type` names no registered runner."""

    def __init__(self, type_: str, known: Iterable[str]) -> None:
        known = sorted(known)
        hint = did_you_mean(type_, known)
        super().__init__("runner.type", f"unknown runner {type_!r}{hint}; known runners: {', '.join(known)}")
        self.type, self.known = type_, known


class DefinitionError(JobServerError):
    """A file or class that cannot serve as a job: names the file, the class where there is one, and what is missing."""

    def __init__(self, *, path: str, message: str, class_name: str | None = None) -> None:
        where = f"{path}: class {class_name}" if class_name else path
        super().__init__(f"{where}: {message}")
        self.path, self.class_name, self.message = path, class_name, message


class DataError(JobServerError):
    """Data, progress or a result that MongoDB cannot store; names the offending key."""


class UnknownJob(JobServerError):
    """No job of that name is known; `what` is the kind of it that was meant."""

    def __init__(self, name: str, known: Iterable[str] = (), *, what: str = "job") -> None:
        super().__init__(f"unknown {what} {name!r}{did_you_mean(name, known)}")
        self.name = name


class NameTaken(JobServerError):
    """A job of that name comes from somewhere else; `holder` is its file, or says what it is."""

    def __init__(self, name: str, holder: str) -> None:
        super().__init__(f"the name {name!r} is taken by {holder}: choose another name")
        self.name, self.holder = name, holder


class NotAdded(JobServerError):
    """The job comes from a file, so removing it is removing the file."""

    def __init__(self, name: str, path: str) -> None:
        super().__init__(
            f"job {name!r} was not added by a program, {path} brings it: remove that file, or set enabled to false in "
            "its configuration"
        )
        self.name, self.path = name, path


class AlreadyAdded(JobServerError):
    """A job of that name was added before; `state` and `at` say how far a one-off has come, and since when."""

    def __init__(self, name: str, *, state: str | None = None, at: datetime | None = None) -> None:
        if state is None:
            words = f"a job {name!r} was added already: remove it first with remove_job, or choose another name"
        else:
            since = "" if at is None else f" since {at:%Y-%m-%d %H:%M:%S} UTC"
            words = f"the one-off job {name!r} was added already, it is {state}{since}: a one-off runs at most once"
        super().__init__(words)
        self.name, self.state, self.at = name, state, at


class NotStarted(JobServerError):
    """The server has no connection to MongoDB yet, or none any more."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what}: the server does not run; await server.start() first")


class CompletionTimeout(JobServerError, TimeoutError):
    """The one-off job has not ended within the time that was given."""

    def __init__(self, name: str, timeout: float, state: str) -> None:
        super().__init__(f"the one-off job {name!r} is still {state} after {timeout:g} seconds")
        self.name, self.timeout, self.state = name, timeout, state


class UnknownTask(JobServerError):
    """No job document has that id, or it was removed."""

    def __init__(self, id_: object) -> None:
        why = "it was removed, its retention is over, or the id is of another collection"
        super().__init__(f"no task {str(id_)!r}: {why}; `jobserver tasks` lists those that there are")
        self.id = id_


class UnknownRun(JobServerError):
    """No run has that id, or none that runs now."""

    def __init__(self, id_: object, why: str | None = None) -> None:
        why = why or "its retention may be over, or the job document has not run yet"
        super().__init__(f"no run {str(id_)!r}: {why}; `jobserver runs` lists those that there are")
        self.id = id_


class DatabaseError(JobServerError):
    """MongoDB cannot be reached, or lacks something that the server needs."""


class EmbeddedMongoError(DatabaseError):
    """The embedded MongoDB cannot be found, started or reached."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the closest known word, or nothing."""
    close = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean {str(close[0])!r}?" if close else ""  # of an enum its word, not its class
