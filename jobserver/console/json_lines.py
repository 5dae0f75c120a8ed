"""One JSON object per log record, for programs that collect logs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from jobserver.words import plain, printable_json

_FIRST = ("timestamp", "level", "event")


def json_line(record: Mapping[str, Any], *, facts: Mapping[str, Any]) -> str:
    """The record on one line: moment, level and event first, then the facts that every line carries."""
    ordered = {key: record[key] for key in _FIRST if key in record} | dict(facts) | dict(record)
    try:
        return printable_json(json.dumps(plain(ordered), ensure_ascii=False, allow_nan=False))
    except Exception as error:  # a field's own str() may do anything
        return json.dumps({key: str(record.get(key)) for key in _FIRST} | {"unprintable": type(error).__name__})
