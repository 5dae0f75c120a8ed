"""What a run in a process of its own may use: memory, processor time, niceness, and the folder it works in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import timedelta
from pathlib import Path
from typing import Any

from jobserver.errors import ConfigError, did_you_mean
from jobserver.excerpt import excerpt
from jobserver.lengths import Length, parse_length

SMALLEST_MEMORY, LARGEST_MEMORY = 32 * 1024**2, 2**50  # bytes; an interpreter alone takes some 20 MB
SHORTEST_CPU, LONGEST_CPU = timedelta(seconds=1), timedelta(days=365)
LEAST_NICE, MOST_NICE = 0, 19  # below 0 is the administrator's

_SIZES = {"b": 1, "kb": 1000, "mb": 1000**2, "gb": 1000**3, "kib": 1024, "mib": 1024**2, "gib": 1024**3, "bytes": 1}
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """None is no limit; `memory` in bytes or text such as "512 MB", `cpu` a length of processor time."""

    memory: int | str | None = None
    cpu: Length | None = None
    nice: int = 0
    folder: str | Path | None = None

    def __post_init__(self) -> None:
        read = {
            "memory": None if self.memory is None else parse_size(self.memory, field="limits.memory"),
            "cpu": None if self.cpu is None else _cpu(self.cpu),
            "nice": _nice(self.nice),
            "folder": None if self.folder is None else _folder(self.folder),
        }
        for name, value in read.items():
            object.__setattr__(self, name, value)

    @classmethod
    def parse(cls, source: Limits | Mapping[str, Any] | None, *, field: str = "limits") -> Limits:
        """Limits, or a mapping with their names. Raises ConfigError that names the part."""
        if source is None:
            return NONE
        if isinstance(source, Limits):
            return source
        known = [each.name for each in fields(cls)]
        if not isinstance(source, Mapping):
            raise ConfigError(field, f"{excerpt(source)} is not a mapping of {', '.join(known)}")
        for name in source:
            if name not in known:
                hint = did_you_mean(name, known) if isinstance(name, str) else ""
                raise ConfigError(field, f"unknown limit {name!r}{hint}; known: {', '.join(known)}")
        return cls(**source)


def parse_size(value: object, *, field: str, at_least: int = SMALLEST_MEMORY, at_most: int = LARGEST_MEMORY) -> int:
    """Bytes out of a number or text such as "512 MB" or "1.5 GiB". Raises ConfigError."""
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match is not None and (match[2].lower() or "b") in _SIZES:
        size = float(match[1]) * _SIZES[match[2].lower() or "b"]
    elif isinstance(value, int) and not isinstance(value, bool):
        size = value
    else:
        raise ConfigError(field, f"{excerpt(value)} is not a size; write bytes, or text such as '512 MB' or '1.5 GiB'")
    if not at_least <= size <= at_most:
        raise ConfigError(
            field, f"{excerpt(value)} is not between {describe_size(at_least)} and {describe_size(at_most)}"
        )
    return int(size)


def describe_size(count: int) -> str:
    """Bytes in the largest unit that leaves a whole number, the way `parse_size` reads them."""
    for unit, length in (("PiB", 2**50), ("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= length and count % length == 0:
            return f"{count // length} {unit}"
    return f"{count} bytes"


def _cpu(value: Length) -> timedelta:
    return parse_length(value, field="limits.cpu", at_least=SHORTEST_CPU, at_most=LONGEST_CPU)


def _nice(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not LEAST_NICE <= value <= MOST_NICE:
        raise ConfigError("limits.nice", f"{excerpt(value)} is not a whole number from {LEAST_NICE} to {MOST_NICE}")
    return value


def _folder(value: object) -> str:
    if not isinstance(value, str | Path) or not str(value) or "\0" in str(value):
        raise ConfigError("limits.folder", f"{excerpt(value)} is not the name of a folder")
    return str(value)


NONE = Limits()
