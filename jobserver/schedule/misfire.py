"""What happens with occurrences that came due while nothing could run them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from jobserver.errors import ScheduleError, did_you_mean
from jobserver.excerpt import excerpt

DEFAULT_MAX = 100
LARGEST_MAX = 100_000

_TEXT = re.compile(r"([a-z]+)(?:\s*\(\s*(?:max\s*=\s*)?(\d{1,9})\s*\))?", re.ASCII)
_EXAMPLES = "write 'latest', 'skip', 'all' or 'all(max=10)'"


class MisfireKind(StrEnum):
    """LATEST catches up with one run, SKIP with none, ALL with one for each occurrence, the newest `max` of them."""

    LATEST = "latest"
    SKIP = "skip"
    ALL = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class Misfire:
    """The policy for missed occurrences; `max` bounds how many are caught up with, and is 1 or 0 but for ALL."""

    kind: MisfireKind = MisfireKind.LATEST
    max: int = 1

    @classmethod
    def parse(cls, source: object, *, field: str = "schedule.misfire") -> Misfire:
        """From text, or a mapping {type, max}; None is `latest`. ScheduleError names `field`."""
        if source is None:
            return cls()
        if isinstance(source, Misfire):
            return source
        if isinstance(source, Mapping):
            return _from_mapping(dict(source), field)
        match = _TEXT.fullmatch(source.strip().lower()) if isinstance(source, str) and len(source) <= 60 else None
        if match is None:
            raise ScheduleError(f"{excerpt(source)} is no misfire policy; {_EXAMPLES}", field=field)
        return _made(match[1], None if match[2] is None else int(match[2]), field)

    def __str__(self) -> str:
        if self.kind is MisfireKind.ALL and self.max != DEFAULT_MAX:
            return f"all(max={self.max})"
        return self.kind.value


def _from_mapping(source: dict[object, object], field: str) -> Misfire:
    kind = source.pop("type", None) or source.pop("kind", None)
    maximum = source.pop("max", None)
    if source:
        raise ScheduleError(f"unknown key {excerpt(next(iter(source)))}; known keys: type, max", field=field)
    if isinstance(maximum, float) and maximum.is_integer():  # other languages store every number as one
        maximum = int(maximum)
    if maximum is not None and (not isinstance(maximum, int) or isinstance(maximum, bool)):
        raise ScheduleError(f"max: {excerpt(maximum)} is not a whole number", field=field)
    if not isinstance(kind, str):
        raise ScheduleError(f"a type is missing; {_EXAMPLES}", field=field)
    return _made(kind.strip().lower(), maximum, field)


def _made(name: str, maximum: int | None, field: str) -> Misfire:
    try:
        kind = MisfireKind(name)
    except ValueError:
        hint = did_you_mean(name[:60], [each.value for each in MisfireKind]) or f"; {_EXAMPLES}"
        raise ScheduleError(f"unknown policy {excerpt(name)}{hint}", field=field) from None
    if kind is not MisfireKind.ALL:
        if maximum is not None:
            raise ScheduleError(f"only 'all' takes a max, not {kind.value!r}", field=field)
        return Misfire(kind=kind, max=1 if kind is MisfireKind.LATEST else 0)
    maximum = DEFAULT_MAX if maximum is None else maximum
    if not 1 <= maximum <= LARGEST_MAX:
        raise ScheduleError(f"max: {excerpt(maximum)} is not between 1 and {LARGEST_MAX}", field=field)
    return Misfire(kind=kind, max=maximum)
