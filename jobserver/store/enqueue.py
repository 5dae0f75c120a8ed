"""The documents that a client inserts, and what stops one that MongoDB could not store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import bson
from bson import ObjectId
from bson.raw_bson import RawBSONDocument

from jobserver.definition import MOST_SLOTS
from jobserver.errors import DataError
from jobserver.excerpt import excerpt
from jobserver.job import Priority
from jobserver.lengths import LONGEST_LENGTH, describe_length
from jobserver.store.codec import CODEC
from jobserver.store.expressions import Document
from jobserver.store.states import Status

MAX_DATA_BYTES = 256 * 1024
MAX_DEPTH = 100  # levels of nesting that MongoDB stores
SHALLOW = 7 * MAX_DEPTH  # bytes: each level takes a type, a key, a length and an end
_NESTING = (dict, list, tuple, Mapping)
MAX_NAME_LENGTH = 200


@dataclass(slots=True, kw_only=True)
class Request:
    """One occurrence that somebody asks for: now, at a moment, or after a delay. Not frozen: that costs, at 10,000."""

    name: str
    data: Any = None
    at: datetime | None = None
    delay: timedelta | None = None
    priority: int | None = None
    unique_key: str | None = None
    slots: int | None = None
    requested_by: str | None = None
    timing: Mapping[str, Any] | None = None  # of a task: instead of the fields that say when it is due

    def is_like(self, other: Request) -> bool:
        """Whether the two differ in nothing but their data."""
        return (
            self.name is other.name
            and self.at is other.at
            and self.delay is other.delay
            and self.priority is other.priority
            and self.unique_key is other.unique_key
            and self.slots is other.slots
            and self.requested_by is other.requested_by
            and self.timing is other.timing
        )


def job_document(request: Request, *, now: datetime, priority: int) -> Document:
    """The document for `pulseJobs`, `_id` included, so that inserting it twice is noticed. Raises DataError."""
    check_name(request.name)
    due = due_at(request, now=now)
    document: Document = {
        "_id": ObjectId(),
        "name": request.name,
        "type": "normal",
        "data": data_of(request),
        "priority": priority if request.priority is None else checked_priority(request.priority),
        "status": Status.SCHEDULED if due > now else Status.QUEUED,
        "nextRunAt": due,
        "createdAt": now,
    }
    if request.timing is not None:
        del document["nextRunAt"]
        document |= request.timing
    if request.unique_key is not None:
        document["uniqueKey"] = _encodable(str(request.unique_key), "unique_key")
    if request.slots is not None:
        document["slots"] = checked_slots(request.slots)
    if request.requested_by is not None:
        document["requestedBy"] = request.requested_by
    return document


def data_of(request: Request) -> Any:
    """What is stored as `data`; nothing is an empty mapping."""
    return {} if request.data is None else request.data


def due_at(request: Request, *, now: datetime) -> datetime:
    """The moment it becomes due. Raises DataError when both `at` and `delay` are given, or either makes no sense."""
    if request.at is not None and request.delay is not None:
        raise DataError("give either at= or delay=, not both")
    if request.delay is not None:
        return now + _checked_delay(request.delay)
    if request.at is None:
        return now
    if not isinstance(request.at, datetime):
        raise DataError(f"at={request.at!r} is not a datetime")
    return request.at if request.at.tzinfo else request.at.replace(tzinfo=UTC)


def _checked_delay(delay: timedelta) -> timedelta:
    if not isinstance(delay, timedelta):
        raise DataError(f"delay={excerpt(delay)} is not a timedelta")
    if delay < timedelta():
        raise DataError(f"delay={delay} is negative; leave it out to run at once")
    if delay > LONGEST_LENGTH:
        raise DataError(f"delay={delay} is longer than {describe_length(LONGEST_LENGTH)}")
    return delay


def checked_priority(priority: int) -> int:
    """A priority from -20 to 20. Raises DataError."""
    if isinstance(priority, bool) or not isinstance(priority, int) or not -20 <= priority <= 20:
        names = ", ".join(f"{member.name}={member.value}" for member in Priority)
        raise DataError(f"priority={priority!r} is not a whole number from -20 to 20 ({names})")
    return int(priority)


def checked_slots(slots: int) -> int:
    """How many of a server's slots one run takes. Raises DataError."""
    if isinstance(slots, bool) or not isinstance(slots, int) or not 1 <= slots <= MOST_SLOTS:
        raise DataError(
            f"slots={excerpt(slots)} is not a whole number from 1 to {MOST_SLOTS}; leave it out for the job's"
        )
    return int(slots)


def check_name(name: Any) -> None:
    """Raise DataError unless this can be the name of a job."""
    if not isinstance(name, str) or not name.strip():
        raise DataError(f"a job's name is a text such as 'api:report', not {name!r}")
    if len(name) > MAX_NAME_LENGTH:
        raise DataError(f"a job's name has at most {MAX_NAME_LENGTH} characters, this one has {len(name)}")
    _encodable(name, "a job's name")


def check_storable(data: Any, *, what: str = "data", limit: int = MAX_DATA_BYTES) -> None:
    """Raise DataError naming the offending key when MongoDB could not store this, or it is over `limit` bytes."""
    if data is not None:
        _encoded(data, what, limit)


def as_stored(data: Any, *, what: str, limit: int) -> Any:
    """The value as MongoDB will give it back, out of reach of whoever still holds the original. Raises DataError."""
    encoded = _encoded(data, what, limit)
    return data if isinstance(data, RawBSONDocument) else bson.decode(encoded, codec_options=CODEC)[""]


def _encoded(data: Any, what: str, limit: int) -> bytes:
    try:
        encoded = bson.encode({"": data}, codec_options=CODEC)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # of the driver's own kinds, or whatever a foreign object raises when it is read
        path = _offending_key(data, what)
        raise DataError(f"{path} cannot be stored in MongoDB: {_plain(error)}") from error
    size = len(encoded)
    if size > SHALLOW and isinstance(data, _NESTING) and _is_too_deep(data):
        raise DataError(f"{what} cannot be stored in MongoDB: it is nested more than {MAX_DEPTH} levels deep")
    if size > limit:
        raise DataError(f"{what} takes {size:,} bytes, the limit is {limit:,}: store it elsewhere and pass a reference")
    return encoded


def _is_too_deep(data: Any) -> bool:
    level = [data]
    for _ in range(MAX_DEPTH):
        inside = (each.values() if isinstance(each, Mapping) else each for each in level)
        level = [child for children in inside for child in children if isinstance(child, _NESTING)]
        if not level:
            return False
    return True


def _offending_key(value: Any, path: str) -> str:
    """The innermost place whose value does not encode by itself."""
    for child_path, child in _children(value, path):
        try:
            bson.encode({"": child}, codec_options=CODEC)
        except RecursionError:
            return child_path
        except KeyboardInterrupt:
            raise
        except BaseException:
            return _offending_key(child, child_path)
    return path


def _children(value: Any, path: str) -> list[tuple[str, Any]]:
    if isinstance(value, (list, tuple)):
        return [(f"{path}[{index}]", child) for index, child in enumerate(value)]
    try:
        return [(f"{path}.{key}", child) for key, child in value.items()] if isinstance(value, Mapping) else []
    except KeyboardInterrupt:
        raise
    except BaseException:  # it does not even say what it holds
        return []


def _plain(error: BaseException) -> str:
    try:
        text, _, kind = str(error).partition(", encountered type: ")
    except BaseException:  # of a foreign object's own
        text, kind = "", ""
    return f"{text[:200]}{f' (a {kind})' if kind else ''}"


def _encodable(text: str, what: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DataError(f"{what} cannot be stored in MongoDB: {error}") from error
    return text
