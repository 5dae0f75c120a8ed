"""One `jobConfigs` document → the overrides it holds, and what is wrong with the rest.

The first bad field is shown in the document; every bad field keeps its last good value, the good ones are applied.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from jobserver.definition import (
    LONGEST_LOCK,
    LONGEST_RUN,
    MOST_SLOTS,
    SHORTEST_LOCK,
    SHORTEST_RUN,
    Execution,
    JobDefaults,
    JobSettings,
)
from jobserver.errors import ConfigError, did_you_mean
from jobserver.excerpt import excerpt
from jobserver.job import Priority
from jobserver.lengths import parse_length, to_milliseconds
from jobserver.retry import Retry
from jobserver.schedule import Schedule

MOST_CONCURRENCY = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Overrides:
    """`values` by field name, parsed; `errors` for the fields that hold something unusable."""

    values: Mapping[str, Any] = field(default_factory=dict)
    errors: tuple[ConfigError, ...] = ()


def validate_config(config: Any) -> list[ConfigError]:
    """Everything that is wrong with a `jobConfigs` document, in the words that servers write into it; [] if nothing."""
    if not isinstance(config, Mapping):
        return [ConfigError("", f"{excerpt(config)} is not a configuration document")]
    return list(parse_overrides(config).errors)


def parse_overrides(document: Mapping[str, Any]) -> Overrides:
    """Read every field that can be overridden; null and absent both mean the class's default. Never raises."""
    values: dict[str, Any] = {}
    errors: list[ConfigError] = []
    for name, parse in PARSERS.items():
        if document.get(name) is None:
            continue
        try:
            values[name] = parse(document[name], name)
        except ConfigError as error:
            errors.append(error)
    if type(document.get("jobName", "")) is not str:  # to MongoDB a list is whatever any of its items is
        errors.append(ConfigError("jobName", f"{excerpt(document['jobName'])} is not the name of one job"))
    errors += _misspelt(document)
    return Overrides(values=values, errors=tuple(errors))


def fitting(overrides: Overrides, *, is_async: bool) -> Overrides:
    """The same, with an `execution` that cannot call such a `run` among the errors."""
    execution = overrides.values.get("execution")
    if execution is None:
        return overrides
    try:
        execution.fitting(is_async=is_async, field="execution")
    except ConfigError as error:
        values = {name: value for name, value in overrides.values.items() if name != "execution"}
        return Overrides(values=values, errors=(*overrides.errors, error))
    return overrides


def settings_in_force(
    defaults: JobDefaults, values: Mapping[str, Any], *, concurrency: int, lock_lifetime: timedelta
) -> JobSettings:
    """The class's defaults under these overrides; `concurrency` and `lock_lifetime` are the server's own defaults."""
    return JobSettings(
        schedule=values.get("schedule", defaults.schedule),
        enabled=values.get("enabled", defaults.enabled),
        retry=values.get("retry", defaults.retry),
        priority=values.get("priority", defaults.priority),
        concurrency=values.get("concurrency", _or(defaults.concurrency, concurrency)),
        global_concurrency=values.get("globalConcurrency", defaults.global_concurrency),
        lock_lifetime=values.get("lockLifetime", _or(defaults.lock_lifetime, lock_lifetime)),
        execution=values.get("execution", defaults.execution),
        slots=values.get("slots", defaults.slots),
        max_execution_time=values.get("maxExecutionTime", defaults.max_execution_time),
        cancel_running=values.get("cancelRunning", False),
    )


def as_document(values: Mapping[str, Any]) -> dict[str, Any]:
    """Overrides in the form that a document holds."""
    return {name: _stored(value) for name, value in values.items()}


def default_config(defaults: JobDefaults) -> dict[str, Any]:
    """The class's own words, for `defaultConfig`; what it leaves to the server is absent."""
    stated = {
        "schedule": defaults.schedule,
        "retry": defaults.retry,
        "priority": int(defaults.priority),
        "concurrency": defaults.concurrency,
        "globalConcurrency": defaults.global_concurrency,
        "lockLifetime": defaults.lock_lifetime,
        "execution": defaults.execution,
        "slots": defaults.slots if defaults.slots != 1 else None,
        "maxExecutionTime": defaults.max_execution_time,
    }
    return as_document({name: value for name, value in stated.items() if value is not None})


def _stored(value: Any) -> Any:
    if isinstance(value, (Schedule, Retry)):
        return value.to_document()
    if isinstance(value, Execution):
        return str(value)
    return to_milliseconds(value) if isinstance(value, timedelta) else value


def _flag(value: Any, name: str) -> bool:
    if not isinstance(value, bool):
        raise ConfigError(name, f"{excerpt(value)} is neither true nor false")
    return value


def _whole(value: Any, name: str, lowest: int, highest: int, advice: str) -> int:
    """The old shell stores every number as a double, so 3.0 is 3."""
    usable = isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))
    if isinstance(value, bool) or not usable or value != int(value) or not lowest <= value <= highest:
        raise ConfigError(name, f"{excerpt(value)} is not a whole number from {lowest} to {highest}{advice}")
    return int(value)


def _concurrency(value: Any, name: str) -> int:
    return _whole(value, name, 0, MOST_CONCURRENCY, "; 0 pauses the job")


def _global_concurrency(value: Any, name: str) -> int:
    return _whole(value, name, 1, MOST_CONCURRENCY, "; remove it for no limit")


def _priority(value: Any, name: str) -> int:
    if isinstance(value, str) and value.upper() in Priority.__members__:
        return int(Priority[value.upper()])
    return _whole(value, name, -20, 20, f"; or one of {', '.join(Priority.__members__)}")


def _lock_lifetime(value: Any, name: str) -> timedelta:
    return parse_length(value, field=name, at_least=SHORTEST_LOCK, at_most=LONGEST_LOCK)


def _max_execution_time(value: Any, name: str) -> timedelta:
    return parse_length(value, field=name, at_least=SHORTEST_RUN, at_most=LONGEST_RUN)


def _execution(value: Any, name: str) -> Execution:
    return Execution.parse(value, field=name)


def _slots(value: Any, name: str) -> int:
    return _whole(value, name, 1, MOST_SLOTS, "")


def _schedule(value: Any, name: str) -> Schedule:
    return Schedule.parse(value)


def _retry(value: Any, name: str) -> Retry:
    return Retry.parse(value, field=name)


PARSERS: Mapping[str, Callable[[Any, str], Any]] = {
    "enabled": _flag,
    "schedule": _schedule,
    "retry": _retry,
    "priority": _priority,
    "concurrency": _concurrency,
    "globalConcurrency": _global_concurrency,
    "lockLifetime": _lock_lifetime,
    "execution": _execution,
    "slots": _slots,
    "maxExecutionTime": _max_execution_time,
    "cancelRunning": _flag,
    "runNow": _flag,
}
KNOWN_FIELDS = (
    *PARSERS,
    *("_id", "jobName", "checksum", "createdAt", "updatedAt", "updatedBy", "defaultConfig"),
    *("configError", "missingSince", "runNowRequest"),
)


def _misspelt(document: Mapping[str, Any]) -> list[ConfigError]:
    """A field of one's own is fine; one that looks like ours but is not would be an edit without effect."""
    unknown = [name for name in document if isinstance(name, str) and name not in KNOWN_FIELDS]
    hints = [(name, did_you_mean(name[:60], PARSERS)) for name in unknown[:50]]
    return [ConfigError(name, f"has no meaning here{hint}") for name, hint in hints if hint]


def _or(value: Any, default: Any) -> Any:
    return default if value is None else value
