"""What somebody wrote for a schedule, taken apart: kind, value, time zone, options. Nothing is judged here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple

from jobserver.errors import ScheduleError, did_you_mean
from jobserver.excerpt import excerpt
from jobserver.lengths import in_figures
from jobserver.schedule.expression import LONGEST_EXPRESSION
from jobserver.schedule.moment import is_moment_text
from jobserver.schedule.words import FIRST_WORDS, are_words


class ScheduleKind(StrEnum):
    """The `type` of a schedule document; CRON is cron or words, whatever names times of day."""

    CRON = "schedule"
    ONCE = "once"
    NOW = "now"
    MANUAL = "manual"
    INTERVAL = "interval"


class Source(NamedTuple):
    """A schedule taken apart; `value_field` and `zone_field` are what an error calls them."""

    kind: ScheduleKind
    value: object
    timezone: object
    value_field: str = "schedule"
    zone_field: str = "schedule"
    options: Mapping[str, object] = {}


OPTION_KEYS = ("dst", "misfire", "jitter", "startDate", "endDate", "exclude")
_KEYS = ("type", "value", "timezone", *OPTION_KEYS)
_TYPES = {kind.value: kind for kind in ScheduleKind} | {"cron": ScheduleKind.CRON}

_CRON_START = re.compile(r"@|\*|(?:[\d*?,/-]+|[hr]\S*)\s+(?:[\d*?,/-]|[hr](?:[\s(/]|$))", re.ASCII)
_LENGTH_START = re.compile(r"\d+(?:\.\d+)?\s*[a-z]|p(?:t|\d)", re.ASCII)
_EXAMPLES = (
    "write cron ('*/5 * * * *'), words ('every weekday at 9:00'), an interval ('5 minutes'), "
    "a moment ('2026-01-31T10:00Z'), 'now' or 'manual'"
)


def take_apart(source: object, timezone: object) -> Source:
    """Kind, value and zone of a source; `timezone` is for a source that names none. ScheduleError if it has no kind."""
    if isinstance(source, Mapping):
        return _from_document(source, timezone)
    if isinstance(source, str):
        return _from_text(source, timezone)
    if isinstance(source, datetime):
        return Source(ScheduleKind.ONCE, source, timezone)
    if isinstance(source, timedelta | int | float) and not isinstance(source, bool):
        return Source(ScheduleKind.INTERVAL, source, timezone)
    raise ScheduleError(f"{excerpt(source)} is not a schedule; {_EXAMPLES}")


def kind_named(name: object, *, field: str) -> ScheduleKind:
    """The kind of a document's `type`; "cron" is accepted for "schedule"."""
    if not isinstance(name, str):
        raise ScheduleError(f"{excerpt(name)} is not a type of schedule; known: {', '.join(_TYPES)}", field=field)
    name = str(name)  # BSON's code is a kind of text that no table can look up
    if name not in _TYPES:
        hint = did_you_mean(name[:60].lower(), _TYPES)
        raise ScheduleError(f"unknown type {excerpt(name)}{hint}; known: {', '.join(_TYPES)}", field=field)
    return _TYPES[name]


def _from_document(document: Mapping[Any, Any], timezone: object) -> Source:
    for key in document:
        if key not in _KEYS:
            hint = did_you_mean(key[:60], _KEYS) if isinstance(key, str) else ""
            raise ScheduleError(f"unknown key {excerpt(key)}{hint}; known keys: {', '.join(_KEYS)}")
    if "type" not in document:
        raise ScheduleError(f"a type is missing; known: {', '.join(_TYPES)}", field="schedule.type")
    kind = kind_named(document["type"], field="schedule.type")
    zone = document.get("timezone")
    options = {key: document[key] for key in OPTION_KEYS if document.get(key) is not None}
    return Source(
        kind, document.get("value"), timezone if zone is None else zone, "schedule.value", "schedule.timezone", options
    )


def _from_text(text: str, timezone: object) -> Source:
    if len(text) > LONGEST_EXPRESSION:
        raise ScheduleError(f"{excerpt(text)} is longer than {LONGEST_EXPRESSION} characters")
    folded = text.strip().lower()
    if folded in (ScheduleKind.MANUAL, ScheduleKind.NOW):
        return Source(ScheduleKind(folded), None, timezone)
    if is_moment_text(folded):
        return Source(ScheduleKind.ONCE, text, timezone)
    if are_words(folded) or _CRON_START.match(folded):
        return Source(ScheduleKind.CRON, text, timezone)
    if _LENGTH_START.match(in_figures(folded)):
        return Source(ScheduleKind.INTERVAL, text, timezone)
    raise ScheduleError(f"{excerpt(text)} is not a schedule{_hint(folded)}; {_EXAMPLES}")


def _hint(folded: str) -> str:
    if folded.isdigit():
        return ": a bare number in quotes may mean a moment or a length"
    first_word = folded.split(" ", maxsplit=1)[0][:30]
    return did_you_mean(folded[:60], ("manual", "now")) or did_you_mean(first_word, FIRST_WORDS)
