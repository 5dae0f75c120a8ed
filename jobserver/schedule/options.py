"""What stands beside the value of a schedule: `dst`, `misfire`, `jitter`, `startDate`, `endDate`, `exclude`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from jobserver.errors import ConfigError, ScheduleError, did_you_mean
from jobserver.excerpt import excerpt
from jobserver.lengths import parse_length, to_milliseconds
from jobserver.schedule.daylight import DstPolicy
from jobserver.schedule.exclusion import Exclusion
from jobserver.schedule.misfire import Misfire
from jobserver.schedule.moment import settled_moment
from jobserver.schedule.source import ScheduleKind
from jobserver.schedule.zone import Zone

LONGEST_JITTER = timedelta(days=7)
NO_JITTER = timedelta(0)
LATEST = Misfire()
NOTHING_EXCLUDED = Exclusion()

_DATE_ALONE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_REPEATING = (ScheduleKind.CRON, ScheduleKind.INTERVAL)
_WHERE_IT_MAKES_SENSE = {
    "dst": (ScheduleKind.CRON,),
    "misfire": (*_REPEATING, ScheduleKind.ONCE),
    "jitter": (*_REPEATING, ScheduleKind.ONCE),
    "startDate": _REPEATING,
    "endDate": _REPEATING,
    "exclude": _REPEATING,
}
_WHY_NOT = {
    ScheduleKind.INTERVAL: "an interval follows real time, which has no gaps",
    ScheduleKind.ONCE: "a schedule of one moment has no use for it",
    ScheduleKind.NOW: "'now' runs once, at once",
    ScheduleKind.MANUAL: "'manual' never runs by itself",
}


class Options(NamedTuple):
    """The judged options; the defaults are those of a schedule that says nothing."""

    dst: DstPolicy | None = None
    misfire: Misfire = LATEST
    jitter: timedelta = NO_JITTER
    start: datetime | None = None
    end: datetime | None = None
    exclude: Exclusion = NOTHING_EXCLUDED

    def to_document(self) -> dict[str, Any]:
        """The keys of a stored schedule, as far as they differ from the defaults."""
        document: dict[str, Any] = {}
        if self.dst is not None:
            document["dst"] = self.dst.value
        if self.misfire != LATEST:
            document["misfire"] = str(self.misfire)
        if self.jitter:
            document["jitter"] = to_milliseconds(self.jitter)
        if self.start is not None:
            document["startDate"] = self.start
        if self.end is not None:
            document["endDate"] = self.end
        if self.exclude:
            document["exclude"] = self.exclude.to_texts()
        return document


NO_OPTIONS = Options()


def settled_options(raw: Mapping[str, object], kind: ScheduleKind, zone: Zone) -> Options:
    """The options that a document's keys say; ScheduleError names the key that is wrong or has no meaning there."""
    if not any(value is not None for value in raw.values()):
        return NO_OPTIONS
    options = Options(
        dst=_dst(raw.get("dst")),
        misfire=Misfire.parse(raw.get("misfire")),
        jitter=_jitter(raw.get("jitter")),
        start=_moment(raw.get("startDate"), "startDate", zone),
        end=_end(raw.get("endDate"), zone),
        exclude=Exclusion.parse(raw.get("exclude"), field="schedule.exclude"),
    )
    _require_sense(options, kind)
    if options.start is not None and options.end is not None and options.end < options.start:
        raise ScheduleError("it ends before its startDate", field="schedule.endDate")
    return options


def _require_sense(options: Options, kind: ScheduleKind) -> None:
    for key in options.to_document():
        if kind not in _WHERE_IT_MAKES_SENSE[key]:
            raise ScheduleError(f"makes no sense here: {_WHY_NOT[kind]}; remove it", field=f"schedule.{key}")


def _dst(value: object) -> DstPolicy | None:
    if value is None:
        return None
    names = ("default", *(policy.value for policy in DstPolicy))
    name = value.strip().lower() if isinstance(value, str) and len(value) <= 60 else ""
    if name not in names:
        hint = did_you_mean(name, names)
        raise ScheduleError(f"unknown policy {excerpt(value)}{hint}; known: {', '.join(names)}", field="schedule.dst")
    return None if name == "default" else DstPolicy(name)


def _jitter(value: object) -> timedelta:
    if value is None:
        return NO_JITTER
    try:
        return parse_length(value, field="schedule.jitter", at_most=LONGEST_JITTER)
    except ConfigError as error:
        raise ScheduleError(error.message, field=error.field) from None


def _moment(value: object, key: str, zone: Zone) -> datetime | None:
    if value is None:
        return None
    try:
        return settled_moment(value, zone)
    except ScheduleError as error:
        raise ScheduleError(error.message, field=f"schedule.{key}") from None


def _end(value: object, zone: Zone) -> datetime | None:
    """The last moment at which it may run: a date without a time of day is the end of that day."""
    end = _moment(value, "endDate", zone)
    if end is None or not isinstance(value, str) or not _DATE_ALONE.fullmatch(value.strip()):
        return end
    next_day = datetime.fromisoformat(value.strip()) + timedelta(days=1)
    return settled_moment(next_day, zone) - timedelta(milliseconds=1)
