"""What a job class states about itself, checked: schedule, retry, priority, limits, lock, switch, driver."""

from __future__ import annotations

import inspect
from datetime import timedelta
from typing import Any, Literal

from jobserver.definition import (
    LONGEST_LOCK,
    LONGEST_RUN,
    MOST_SLOTS,
    SHORTEST_LOCK,
    SHORTEST_RUN,
    Execution,
    JobDefaults,
)
from jobserver.errors import ConfigError, did_you_mean
from jobserver.job import Job, Priority
from jobserver.lengths import parse_length
from jobserver.limits import Limits
from jobserver.retry import Retry
from jobserver.schedule import Schedule

DRIVERS = ("pymongo", "motor")
START_METHODS = ("forkserver", "spawn")

Driver = Literal["pymongo", "motor"]
StartMethod = Literal["forkserver", "spawn"]


def class_defaults(job: Job, *, is_async: bool) -> JobDefaults:
    """Ask every `get_…`; ConfigError names the field that is unusable, whatever else a method raises passes through."""
    return JobDefaults(
        schedule=_schedule(_ask(job, "get_schedule")),
        enabled=_enabled(_ask(job, "get_enabled")),
        retry=_retry(_ask(job, "get_retry_config")),
        priority=_priority(_ask(job, "get_priority")),
        concurrency=_limit(_ask(job, "get_concurrency"), "concurrency", at_least=0),
        global_concurrency=_limit(job.global_concurrency, "global_concurrency", at_least=1),
        lock_lifetime=_lock_lifetime(_ask(job, "get_lock_lifetime")),
        execution=_execution(_ask(job, "get_execution"), is_async=is_async),
        slots=_slots(_ask(job, "get_slots")),
        max_execution_time=_max_execution_time(_ask(job, "get_max_execution_time")),
    )


def class_driver(job: Job, *, is_async: bool) -> Driver:
    """The database driver that `run` is written for; ConfigError where there is none such."""
    driver: object = job.driver
    if driver == "pymongo":
        return "pymongo"
    if driver != "motor":
        hint = did_you_mean(driver, DRIVERS) if isinstance(driver, str) else ""
        raise ConfigError("driver", f"must be 'pymongo' or 'motor', not {driver!r}{hint}")
    if not is_async:
        raise ConfigError("driver", "'motor' gives an async database, so it needs `async def run`")
    return "motor"


def class_limits(job: Job) -> Limits:
    """The limits of its runs in a process; ConfigError names the one that is unusable."""
    return Limits.parse(_ask(job, "get_limits"), field="limits")


def class_start_method(job: Job) -> StartMethod:
    """How a process for a run begins; ConfigError where there is no such way."""
    method: object = job.start_method
    if method == "forkserver":
        return "forkserver"
    if method != "spawn":
        hint = did_you_mean(method, START_METHODS) if isinstance(method, str) else ""
        raise ConfigError("start_method", f"must be 'forkserver' or 'spawn', not {method!r}{hint}")
    return "spawn"


def _ask(job: Job, getter: str) -> Any:
    answer = getattr(job, getter)()
    if inspect.iscoroutine(answer):
        answer.close()
        raise ConfigError(getter, "must be a plain method, not async: it is asked while files are scanned")
    return answer


def _schedule(source: Any) -> Schedule:
    if source is None:
        raise ConfigError("schedule", "get_schedule returned None; return 'manual' for a job that never runs by itself")
    return Schedule.parse(source)


def _retry(source: Any) -> Retry:
    return Retry.OFF if source is None else Retry.parse(source, field="retry")


def _priority(value: object) -> int:
    low, high = int(Priority.LOWEST), int(Priority.HIGHEST)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ConfigError("priority", f"must be a whole number from {low} to {high}, not {value!r}")
    return int(value)


def _limit(value: object, field: str, *, at_least: int) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < at_least:
        raise ConfigError(field, f"must be a whole number from {at_least} up, or None, not {value!r}")
    return int(value)


def _slots(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MOST_SLOTS:
        raise ConfigError("slots", f"must be a whole number from 1 to {MOST_SLOTS}, not {value!r}")
    return int(value)


def _lock_lifetime(value: Any) -> timedelta | None:
    if value is None:
        return None
    return parse_length(value, field="lock_lifetime", at_least=SHORTEST_LOCK, at_most=LONGEST_LOCK)


def _execution(value: object, *, is_async: bool) -> Execution | None:
    if value is None:
        return None
    return Execution.parse(value, field="execution").fitting(is_async=is_async, field="execution")


def _max_execution_time(value: Any) -> timedelta | None:
    if value is None:
        return None
    return parse_length(value, field="max_execution_time", at_least=SHORTEST_RUN, at_most=LONGEST_RUN)


def _enabled(value: object) -> bool:
    if not isinstance(value, bool):
        raise ConfigError("enabled", f"must be True or False, not {value!r}")
    return value
