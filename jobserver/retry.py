"""When a failed run is tried again: pure policy, no clock and no sleep.

`attempts` counts the retries after the first run. The wait before retry n (1 for the first) is

    fixed        delay
    linear       delay x n
    exponential  delay x factor ^ (n - 1)

cut at `max_delay` (a year where none is given), then spread by +/- `jitter` of itself.
A document without `backoff` means exponential with factor 2: what the Pulse library does, and what the full form says.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from functools import partial
from typing import Any, ClassVar, assert_never

from jobserver.errors import ConfigError, did_you_mean
from jobserver.excerpt import excerpt
from jobserver.lengths import Length, describe_length, parse_length, to_milliseconds

MOST_ATTEMPTS = 1000
LONGEST_DELAY = timedelta(days=30)
LONGEST_MAX_DELAY = timedelta(days=365)
LARGEST_FACTOR = 1000.0
DEFAULT_DELAY = timedelta(minutes=5)

_KEYS = {"enabled": "enabled", "attempts": "attempts", "delay": "delay", "backoff": "backoff"}
_BACKOFF_KEYS = {"type": "backoff", "factor": "factor", "maxDelay": "max_delay", "jitter": "jitter"}


class BackoffType(StrEnum):
    """How the wait grows from one retry to the next."""

    FIXED = "fixed"
    LINEAR = "linear"
    EXPONENTIAL = "exponential"


@dataclass(frozen=True, slots=True, kw_only=True, init=False)
class Retry:
    """A retry policy that is valid by construction: ConfigError names the part that is not.

    attempts 0-1000; delay up to 30 days; factor 1-1000; max_delay up to 365 days; jitter 0-1, a fraction of the wait.
    """

    OFF: ClassVar[Retry]

    enabled: bool
    attempts: int
    delay: timedelta
    backoff: BackoffType
    factor: float
    max_delay: timedelta | None
    jitter: float

    def __init__(
        self,
        *,
        enabled: bool = True,
        attempts: int = 3,
        delay: Length = DEFAULT_DELAY,
        backoff: BackoffType | str = BackoffType.EXPONENTIAL,
        factor: float = 2.0,
        max_delay: Length | None = None,
        jitter: float = 0.0,
    ) -> None:
        settle = partial(object.__setattr__, self)  # the dataclass is frozen
        settle("enabled", _flag(enabled, "retry.enabled"))
        settle("attempts", _attempts(attempts, "retry.attempts"))
        settle("delay", parse_length(delay, field="retry.delay", at_most=LONGEST_DELAY))
        settle("backoff", _backoff(backoff, "retry.backoff"))
        settle("factor", _number(factor, "retry.factor", 1.0, LARGEST_FACTOR))
        settle("max_delay", None if max_delay is None else _max_delay(max_delay, "retry.max_delay"))
        settle("jitter", _number(jitter, "retry.jitter", 0.0, 1.0))

    @classmethod
    def parse(cls, source: object, *, field: str = "retry") -> Retry:
        """What a class or a document says; absent parts take their defaults. ConfigError names the inner field.

        A Retry; {enabled, attempts, delay, backoff: {type, factor, maxDelay, jitter} or its type alone};
        False (off), True (the defaults), or a number of attempts.
        """
        if isinstance(source, Retry):
            return source
        if isinstance(source, bool):
            return cls() if source else cls.OFF
        if isinstance(source, int | float):
            source = {"attempts": source}
        if not isinstance(source, Mapping):
            raise ConfigError(field, f"{excerpt(source)} is not a retry policy; write {{attempts: 3, delay: 60000}}")
        parts, paths = _document_parts(source, field)
        try:
            return cls(**parts)
        except ConfigError as error:
            raise ConfigError(paths[error.field.removeprefix("retry.")], error.message) from None

    def to_document(self) -> dict[str, Any]:
        """The form that `jobConfigs` stores, lengths in milliseconds; `parse` gives the same policy back."""
        backoff: dict[str, Any] = {"type": self.backoff.value, "factor": self.factor}
        if self.max_delay is not None:
            backoff["maxDelay"] = to_milliseconds(self.max_delay)
        if self.jitter:
            backoff["jitter"] = self.jitter
        delay = to_milliseconds(self.delay)
        return {"enabled": self.enabled, "attempts": self.attempts, "delay": delay, "backoff": backoff}

    def describe(self) -> str:
        """Words for a person: "off", "3 x after 1 minute, exponential"."""
        if not self.enabled or not self.attempts:
            return "off"
        return f"{self.attempts} x after {describe_length(self.delay)}, {self.backoff.value}"

    def delay_before(self, retry: int, *, random: Callable[[], float]) -> timedelta | None:
        """The wait before the given retry, 1 for the first; None when the policy is off or spent.

        `random` gives numbers from 0 up to 1 and is asked only where there is jitter.
        """
        if retry < 1:
            raise ValueError(f"retries are counted from 1, not {retry}")
        if not self.enabled or retry > self.attempts:
            return None
        longest = to_milliseconds(LONGEST_MAX_DELAY if self.max_delay is None else self.max_delay)
        wait = min(to_milliseconds(self.delay) * self._growth(retry), longest)
        if self.jitter:
            wait *= 1 + self.jitter * (2 * random() - 1)
        return timedelta(milliseconds=round(wait))

    def for_retryable_error(self) -> Retry:
        """The policy for a run that asks to be retried: this one, or three times its delay where retries are off."""
        if self.enabled and self.attempts:
            return self
        return replace(self, enabled=True, attempts=3, backoff=BackoffType.FIXED)

    def _growth(self, retry: int) -> float:
        match self.backoff:
            case BackoffType.FIXED:
                return 1.0
            case BackoffType.LINEAR:
                return float(retry)
            case BackoffType.EXPONENTIAL:
                try:
                    return self.factor ** (retry - 1)
                except OverflowError:  # not infinity: a delay of 0 times infinity is not a number
                    return sys.float_info.max
            case _:
                assert_never(self.backoff)


def _document_parts(source: Mapping[Any, Any], field: str) -> tuple[dict[str, Any], dict[str, str]]:
    """The constructor's arguments that a document gives, and the document's path of every argument."""
    parts = _known(source, _KEYS, field)
    inside = f"{field}.backoff"
    paths = {name: f"{field}.{name}" for name in _KEYS}
    paths |= {name: f"{inside}.{key}" for key, name in _BACKOFF_KEYS.items() if name != "backoff"}
    if isinstance(backoff := parts.get("backoff"), Mapping):
        del parts["backoff"]
        parts |= _known(backoff, _BACKOFF_KEYS, inside)
        paths["backoff"] = f"{inside}.type"
    return parts, paths


def _known(document: Mapping[Any, Any], keys: Mapping[str, str], field: str) -> dict[str, Any]:
    parts = {}
    for key, value in document.items():
        if key not in keys:
            hint = did_you_mean(key[:60], keys) if isinstance(key, str) else ""
            raise ConfigError(field, f"unknown key {excerpt(key)}{hint}; known keys: {', '.join(keys)}")
        parts[keys[key]] = value
    return parts


def _flag(value: object, field: str) -> bool:
    if not isinstance(value, bool):
        raise ConfigError(field, f"{excerpt(value)} is neither true nor false")
    return value


def _attempts(value: object, field: str) -> int:
    number = _number(value, field, 0, MOST_ATTEMPTS)
    if number != int(number):
        raise ConfigError(field, f"{excerpt(value)} is not a whole number")
    return int(number)


def _backoff(value: object, field: str) -> BackoffType:
    known = [kind.value for kind in BackoffType]
    if not isinstance(value, str):
        raise ConfigError(field, f"{excerpt(value)} is not a kind of backoff; known: {', '.join(known)}")
    if value not in known:
        hint = did_you_mean(value[:60].lower(), known)
        raise ConfigError(field, f"unknown backoff {excerpt(value)}{hint}; known: {', '.join(known)}")
    return BackoffType(value)


def _max_delay(value: Length, field: str) -> timedelta:
    return parse_length(value, field=field, at_most=LONGEST_MAX_DELAY)


def _number(value: object, field: str, least: float, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(field, f"{excerpt(value)} is not a number between {least:g} and {most:g}")
    if not least <= value <= most:  # false for nan too
        raise ConfigError(field, f"{excerpt(value)} is not between {least:g} and {most:g}")
    return float(value)


Retry.OFF = Retry(enabled=False, attempts=0)
