"""The public names. Each is loaded when it is first asked for: a job file must not pay for a database driver."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jobserver.client import JobClient, SyncJobClient
    from jobserver.errors import AlreadyAdded, FatalError, JobCancelled, JobServerError, LockLost, RetryableError
    from jobserver.job import Job, JobContext, Priority
    from jobserver.limits import Limits
    from jobserver.manager.overrides import validate_config
    from jobserver.one_off import OneOff
    from jobserver.retry import Retry
    from jobserver.schedule import DstPolicy, Misfire, Schedule
    from jobserver.server import JobServer
    from jobserver.task import Task

__all__ = [
    "AlreadyAdded",
    "DstPolicy",
    "FatalError",
    "Job",
    "JobCancelled",
    "JobClient",
    "JobContext",
    "JobServer",
    "JobServerError",
    "Limits",
    "LockLost",
    "Misfire",
    "OneOff",
    "Priority",
    "Retry",
    "RetryableError",
    "Schedule",
    "SyncJobClient",
    "Task",
    "validate_config",
]

__version__ = "0.1.0"

_HOMES = {
    "AlreadyAdded": "jobserver.errors",
    "DstPolicy": "jobserver.schedule",
    "FatalError": "jobserver.errors",
    "Job": "jobserver.job",
    "JobCancelled": "jobserver.errors",
    "JobClient": "jobserver.client",
    "JobContext": "jobserver.job",
    "JobServer": "jobserver.server",
    "JobServerError": "jobserver.errors",
    "Limits": "jobserver.limits",
    "LockLost": "jobserver.errors",
    "Misfire": "jobserver.schedule",
    "OneOff": "jobserver.one_off",
    "Priority": "jobserver.job",
    "Retry": "jobserver.retry",
    "RetryableError": "jobserver.errors",
    "Schedule": "jobserver.schedule",
    "SyncJobClient": "jobserver.client",
    "Task": "jobserver.task",
    "validate_config": "jobserver.manager.overrides",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'jobserver' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
