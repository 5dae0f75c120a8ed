"""What there is to set, with its defaults and bounds; the shape is that of config.yaml."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from jobserver.definition import MOST_SLOTS
from jobserver.errors import ConfigError, did_you_mean
from jobserver.excerpt import excerpt
from jobserver.lengths import parse_length
from jobserver.limits import parse_size
from jobserver.settings.uri import without_credentials
from jobserver.task import RETENTION

Sort = tuple[tuple[str, int], ...]

MILLISECOND = timedelta(milliseconds=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
KIB, MIB = 1024, 1024**2
BUCKETS = ("gridfs", "folder")

_SORTABLE = {"priority": "priority", "nextRunAt": "nextRunAt", "next_run_at": "nextRunAt"}
_DIRECTIONS = {"1": 1, "-1": -1, "asc": 1, "desc": -1}
_OWN_COLLECTIONS = ("jobConfigs", "jobConfigHistory", "jobRuns", "jobServers")


def _length(at_least: timedelta, at_most: timedelta) -> BeforeValidator:
    def read(value: object) -> timedelta:
        try:
            return parse_length(value, field="", at_least=at_least, at_most=at_most)
        except ConfigError as error:
            raise ValueError(error.message) from None

    return BeforeValidator(read)


def _whole(at_least: int, at_most: int) -> BeforeValidator:
    return BeforeValidator(lambda value: _whole_number(value, at_least, at_most))


def _whole_number(value: object, at_least: int, at_most: int) -> int:
    try:
        # Text is what an environment variable gives; a bool is an int to Python, and a mistake to everybody else.
        number = None if isinstance(value, bool) else int(str(value), 10)
    except ValueError:
        number = None
    if number is None:
        raise ValueError(f"{excerpt(value)} is not a whole number between {at_least} and {at_most}")
    if not at_least <= number <= at_most:
        raise ValueError(f"{excerpt(value)} is not between {at_least} and {at_most}")
    return number


def _size(at_least: int, at_most: int) -> BeforeValidator:
    def read(value: object) -> int:
        try:
            number = int(value) if isinstance(value, str) and value.strip().isdecimal() else value
            return parse_size(number, field="", at_least=at_least, at_most=at_most)
        except ConfigError as error:
            raise ValueError(error.message) from None

    return BeforeValidator(read)


def _bucket(value: object) -> str:
    text = _text(value)
    if text not in BUCKETS and "://" not in text:
        hint = did_you_mean(text, BUCKETS)
        raise ValueError(f"{excerpt(text)} is no bucket{hint}; write gridfs, folder, or a URL such as s3://bucket/logs")
    return text


def _slots(value: object) -> int | None:
    """A whole number, or nothing for no limit."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    return _whole_number(value, 1, MOST_SLOTS)


def _memory(value: object) -> int | None:
    """Bytes, or nothing for no limit."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    try:
        return parse_size(value, field="")
    except ConfigError as error:
        raise ValueError(error.message) from None


def _flag(value: object) -> bool:
    words = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
    word = str(value).lower()
    if not isinstance(value, bool | str | int) or word not in words:
        raise ValueError(f"{excerpt(value)} is neither true nor false")
    return words[word]


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{excerpt(value)} is not a text")
    return value.strip()


def _folder(value: object) -> Path:
    if isinstance(value, Path):
        return value
    if "\0" in (text := _text(value)):
        raise ValueError(f"{excerpt(value)} is not the name of a folder")
    return Path(text)


def _uri(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise ValueError("a MongoDB URI is a text such as mongodb://host:27017")
    uri = value.strip()
    if not uri.startswith(("mongodb://", "mongodb+srv://")):
        shown = "the value" if "@" in uri else excerpt(uri)
        raise ValueError(f"{shown} is not a MongoDB URI: write mongodb://host:27017 or mongodb+srv://…")
    return uri


def _database_name(value: object) -> str:
    name = _text(value)
    if len(name.encode()) > 63 or any(sign in name for sign in '/\\. "$*<>:|?\0'):
        raise ValueError(f"{excerpt(name)} is not a database name: up to 63 letters, digits, '_' and '-'")
    return name


def _collection_name(value: object) -> str:
    name = _text(value)
    if len(name.encode()) > 120 or name.startswith("system.") or "$" in name or "\0" in name:
        raise ValueError(
            f"{excerpt(name)} is not a collection name: up to 120 characters, no '$', no leading 'system.'"
        )
    if name in _OWN_COLLECTIONS:
        raise ValueError(f"{excerpt(name)} is the name of another collection of jobserver's own")
    return name


def _names(value: object) -> tuple[str, ...]:
    """A list, or text with commas as an environment variable gives it."""
    entries: Iterable[object] | None = None
    if isinstance(value, str):
        entries = [entry for entry in value.split(",") if entry.strip()]
    elif isinstance(value, list | tuple):
        entries = value
    if entries is None:
        raise ValueError(f"{excerpt(value)} is not a list of names")
    return tuple(_text(entry) for entry in entries)


def _sort(value: object) -> Sort:
    """{field: 1 or -1, …} in the order that counts; pairs and JSON text do too."""
    hint = "write {priority: -1, nextRunAt: 1}"
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            raise ValueError(f"{excerpt(value)} is not a sort order; {hint}") from None
    try:
        pairs = dict(value.items() if isinstance(value, Mapping) else value)  # type: ignore[call-overload]
    except (TypeError, ValueError):
        raise ValueError(f"{excerpt(value)} is not a sort order; {hint}") from None
    if not pairs:
        raise ValueError(f"an empty sort order; {hint}")
    return tuple((_sort_field(field), _direction(direction)) for field, direction in pairs.items())


def _sort_field(field: object) -> str:
    if not isinstance(field, str) or field not in _SORTABLE:
        guess = did_you_mean(field, _SORTABLE) if isinstance(field, str) else ""
        raise ValueError(f"jobs cannot be sorted by {excerpt(field)}{guess}; known: priority, nextRunAt")
    return _SORTABLE[field]


def _direction(value: object) -> int:
    word = str(value).lower()
    if isinstance(value, bool) or word not in _DIRECTIONS:
        raise ValueError(f"{excerpt(value)} is not a direction: 1 (lowest first) or -1 (highest first)")
    return _DIRECTIONS[word]


Flag = Annotated[bool, BeforeValidator(_flag)]
Limit = Annotated[int, _whole(0, 100_000)]
Concurrency = Annotated[int, _whole(1, 10_000)]
Folder = Annotated[Path, BeforeValidator(_folder)]
Retention = Annotated[timedelta, _length(timedelta(seconds=1), 3650 * DAY)]


class Section(BaseModel):
    """One mapping of config.yaml; never changes once it is read."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=False)


class MongoSettings(Section):
    """Where MongoDB is; without a URI `jobserver start` brings an embedded one."""

    uri: Annotated[str | None, BeforeValidator(_uri)] = Field(default=None, repr=False)
    database: Annotated[str, BeforeValidator(_database_name)] = "jobserver"

    @property
    def shown_uri(self) -> str | None:
        """The URI as it may be printed."""
        return None if self.uri is None else without_credentials(self.uri)


class ProjectSettings(Section):
    """Where job files are: relative folders are below `root`, the directory of config.yaml."""

    root: Folder = Field(default_factory=Path.cwd)
    jobs_dir: Folder = Path("jobs")
    plugins_dir: Folder = Path("plugins")
    disabled_plugins: Annotated[tuple[str, ...], BeforeValidator(_names)] = ()

    @property
    def data_dir(self) -> Path:
        """Where the embedded MongoDB keeps its data."""
        return self.root / ".jobserver"


class DbSettings(Section):
    """The jobs collection: the one that may be shared with the Pulse library."""

    collection: Annotated[str, BeforeValidator(_collection_name)] = "pulseJobs"


class PulseSettings(Section):
    """The runner on MongoDB; every limit holds per process, and a lock limit of 0 is none."""

    process_every: Annotated[timedelta, _length(10 * MILLISECOND, HOUR)] = timedelta(seconds=3)
    max_concurrency: Concurrency = 1
    default_concurrency: Concurrency = 1
    lock_limit: Limit = 1
    default_lock_limit: Limit = 1
    default_lock_lifetime: Annotated[timedelta, _length(timedelta(seconds=1), 30 * DAY)] = timedelta(minutes=55)
    sort: Annotated[Sort, BeforeValidator(_sort)] = (("priority", -1), ("nextRunAt", 1))
    retention: Retention = RETENTION
    failed_retention: Retention = 30 * DAY
    history_retention: Retention = 30 * DAY
    lease: Annotated[timedelta, _length(timedelta(seconds=1), timedelta(minutes=10))] = timedelta(seconds=30)
    available_slots: Annotated[int | None, BeforeValidator(_slots)] = None
    slots_patience: Annotated[timedelta, _length(timedelta(0), DAY)] = timedelta(seconds=10)
    cancel_grace: Annotated[timedelta, _length(100 * MILLISECOND, HOUR)] = timedelta(seconds=10)
    recycle_after_runs: Annotated[int, _whole(0, 1_000_000_000)] = 0
    recycle_memory: Annotated[int | None, BeforeValidator(_memory)] = None
    recycle_stuck: Annotated[int, _whole(0, 100_000)] = 10
    shutdown_grace: Annotated[timedelta, _length(timedelta(0), HOUR)] = timedelta(seconds=25)
    db: DbSettings = DbSettings()


class RunnerSettings(Section):
    """Which runner executes jobs, and how."""

    type: Annotated[str, BeforeValidator(_text)] = "pulse"
    config: PulseSettings = PulseSettings()


class ScannerSettings(Section):
    """How changes in job files are noticed: at once by watching, at the latest by a full scan."""

    watch_enabled: Flag = True
    scan_interval: Annotated[timedelta, _length(100 * MILLISECOND, DAY)] = timedelta(seconds=60)


class LogSettings(Section):
    """Where the log of each run is kept, for how long, and how much of it."""

    bucket: Annotated[str, BeforeValidator(_bucket)] = "gridfs"
    folder: Folder = Path("logs")
    spool: Folder = Path(".jobserver/logs")
    retention: Retention = 30 * DAY
    max_line: Annotated[int, _size(KIB, 8 * MIB)] = 16 * KIB
    max_run: Annotated[int, _size(KIB, 1024 * MIB)] = 32 * MIB
    max_bytes_per_second: Annotated[int, _size(KIB, 1024 * MIB)] = MIB
    max_records_per_second: Annotated[int, _whole(1, 1_000_000)] = 2_000


class Settings(Section):
    """Everything there is to set, frozen."""

    mongodb: MongoSettings = MongoSettings()
    project: ProjectSettings = Field(default_factory=ProjectSettings)
    runner: RunnerSettings = RunnerSettings()
    scanner: ScannerSettings = ScannerSettings()
    logs: LogSettings = LogSettings()


def section_of(model: type[Section], key: str) -> type[Section] | None:
    """The section that a key opens; None where the key holds a value."""
    annotation: Any = model.model_fields[key].annotation
    return annotation if isinstance(annotation, type) and issubclass(annotation, Section) else None
