"""What happens with occurrences that came due while nothing could run them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from jobserver.errors import ScheduleError, did_you_mean
from jobserver.excerpt import excerpt

DEFAULT_MAX = 100
LARGEST_MAX = 1_000
FIELD = "schedule.misfire"

_TEXT = re.compile(r"([a-z]+)(?:\s*\(\s*(?:max\s*=\s*)?(\d{1,9})\s*\))?", re.ASCII)
_EXAMPLES = "write 'latest', 'skip', 'all' or 'all(max=10)'"


class MisfireKind(StrEnum):
    """LATEST catches up with one run, SKIP with none, ALL with one for each occurrence, the newest `max` of them."""

    LATEST = "latest"
    SKIP = "skip"
    ALL = "all"


_FIXED_MAX = {MisfireKind.LATEST: 1, MisfireKind.SKIP: 0}


@dataclass(frozen=True, slots=True, kw_only=True, init=False)
class Misfire:
    """The policy for missed occurrences, valid by construction: ScheduleError names `schedule.misfire`.

    `max` bounds how many are caught up with: 1 to 1000 for ALL, 100 where none is given, else 1 or 0.
    """

    kind: MisfireKind
    max: int

    def __init__(self, *, kind: MisfireKind | str = MisfireKind.LATEST, max: int | None = None) -> None:
        kind = _kind(kind)
        object.__setattr__(self, "kind", kind)  # the dataclass is frozen
        object.__setattr__(self, "max", _max(kind, max))

    @classmethod
    def parse(cls, source: object) -> Misfire:
        """From text, or a mapping {type, max}; None is `latest`. Raises ScheduleError."""
        if source is None:
            return cls()
        if isinstance(source, Misfire):
            return source
        if isinstance(source, Mapping):
            return _from_mapping(dict(source))
        match = _TEXT.fullmatch(source.strip().lower()) if isinstance(source, str) and len(source) <= 60 else None
        if match is None:
            raise ScheduleError(f"{excerpt(source)} is no misfire policy; {_EXAMPLES}", field=FIELD)
        return cls(kind=match[1], max=None if match[2] is None else int(match[2]))

    def __str__(self) -> str:
        if self.kind is MisfireKind.ALL and self.max != DEFAULT_MAX:
            return f"all(max={self.max})"
        return self.kind.value


def _from_mapping(source: dict[object, object]) -> Misfire:
    kind = source.pop("type", None) or source.pop("kind", None)
    maximum = source.pop("max", None)
    if source:
        raise ScheduleError(f"unknown key {excerpt(next(iter(source)))}; known keys: type, max", field=FIELD)
    if isinstance(maximum, float) and maximum.is_integer():  # other languages store every number as one
        maximum = int(maximum)
    if not isinstance(kind, str):
        raise ScheduleError(f"a type is missing; {_EXAMPLES}", field=FIELD)
    return Misfire(kind=kind.strip().lower(), max=_whole(maximum))


def _kind(name: str) -> MisfireKind:
    try:
        return MisfireKind(name)
    except ValueError:
        hint = did_you_mean(name[:60], [each.value for each in MisfireKind]) if isinstance(name, str) else ""
        raise ScheduleError(f"unknown policy {excerpt(name)}{hint or f'; {_EXAMPLES}'}", field=FIELD) from None


def _max(kind: MisfireKind, maximum: object) -> int:
    maximum, fixed = _whole(maximum), _FIXED_MAX.get(kind)
    if fixed is not None:
        if maximum not in (None, fixed):
            raise ScheduleError(f"only 'all' takes a max, not {kind.value!r}", field=FIELD)
        return fixed
    maximum = DEFAULT_MAX if maximum is None else maximum
    if not 1 <= maximum <= LARGEST_MAX:
        raise ScheduleError(f"max: {excerpt(maximum)} is not between 1 and {LARGEST_MAX}", field=FIELD)
    return maximum


def _whole(maximum: object) -> int | None:
    if maximum is not None and (not isinstance(maximum, int) or isinstance(maximum, bool)):
        raise ScheduleError(f"max: {excerpt(maximum)} is not a whole number", field=FIELD)
    return maximum
