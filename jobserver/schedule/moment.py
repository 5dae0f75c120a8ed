"""The moment of `once`: a datetime, ISO text, or epoch milliseconds."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from jobserver.errors import ScheduleError
from jobserver.excerpt import excerpt
from jobserver.schedule.interval import whole_milliseconds
from jobserver.schedule.zone import Zone

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_YEARS = range(1970, 9000)
# Epoch seconds of any moment up to the year 5138 are below this; taken for milliseconds they would lie before 1973.
_SURELY_SECONDS = 100_000_000_000
_MOST_MILLISECONDS = 220_000_000_000_000

_ISO_START = re.compile(r"\d{4}-\d", re.ASCII)
_ISO = re.compile(r"\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?(?:Z|[+-]\d{2}:?\d{2})?)?", re.ASCII)
_EXAMPLES = "write '2026-01-31T10:00:00Z', epoch milliseconds or a datetime"


def is_moment_text(text: str) -> bool:
    """Whether the text sets out to be a date."""
    return _ISO_START.match(text) is not None


def settled_moment(value: object, zone: Zone) -> datetime:
    """The moment, aware UTC, in whole milliseconds; a value without offset is the zone's wall-clock time.

    ScheduleError for what is no moment between 1970 and 8999.
    """
    if isinstance(value, datetime):
        return whole_milliseconds(_placed(value, zone, value))
    if isinstance(value, str):
        return whole_milliseconds(_placed(_iso(value), zone, value))
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _from_epoch(value)
    raise ScheduleError(f"{excerpt(value)} is not a moment; {_EXAMPLES}")


def _placed(moment: datetime, zone: Zone, written: object) -> datetime:
    if moment.year not in _YEARS:
        raise ScheduleError(f"the year {moment.year} is not between {_YEARS.start} and {_YEARS.stop - 1}")
    if moment.utcoffset() is not None:
        return moment.astimezone(UTC)
    return zone.first_moment(moment.replace(tzinfo=None))


def _iso(text: str) -> datetime:
    folded = text.strip().upper() if len(text) <= 60 else ""
    try:
        if _ISO.fullmatch(folded):
            return datetime.fromisoformat(folded)
    except ValueError as error:
        raise ScheduleError(f"{excerpt(text)} is not a moment: {error}; {_EXAMPLES}") from None
    raise ScheduleError(f"{excerpt(text)} is not a moment; {_EXAMPLES}")


def _from_epoch(number: float) -> datetime:
    if 0 <= number < _SURELY_SECONDS:
        raise ScheduleError(f"{excerpt(number)} looks like epoch seconds; write milliseconds: 1000 times as much")
    if not 0 <= number < _MOST_MILLISECONDS:  # true for nan and infinity too
        raise ScheduleError(f"{excerpt(number)} is out of range for epoch milliseconds; {_EXAMPLES}")
    return _EPOCH + timedelta(milliseconds=int(number))
