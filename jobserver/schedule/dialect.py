"""One cron dialect, whatever version of croniter reads it.

Some forms mean different things to different versions, or to croniter and to cron. They are rewritten into what all of
them read alike:

    59/15     "from 59 on in steps of 15" is 59; croniter 7 takes the 59-59/15 it stands for as the whole hour
    mon-mon   a range of one; croniter 7 takes it for the whole week
    fri-mon   a range over the end of the field; croniter 2 refuses it
    */1       is `*`, and so is ?; croniter takes a day of month */1 for 31 named days: `0 0 */1 * mon` would be daily

What would be a surprise under any reading (H and R, a step longer than its field, `*` in a list) is refused.
"""

from __future__ import annotations

import re

from jobserver.schedule.field import DAY_OF_MONTH, DAY_OF_WEEK, Field

_STEP = re.compile(r".*/(\d+)", re.ASCII)
_START_STEP = re.compile(r"(\w+)/(\d+)", re.ASCII)
_RANGE = re.compile(r"(\w+)-(\w+)(?:/(\d+))?", re.ASCII)
_HASHED = re.compile(r"[hr](?:\(.*)?(?:/.*)?", re.ASCII)
_NEAREST_WEEKDAY = re.compile(r"\d+w|l?w\d*", re.ASCII)
_LAST_WEEKDAY = re.compile(r"(\d|[a-z]{3})l", re.ASCII)


def settled(text: str, field: Field) -> str:
    """The lower-case text of one field, as every version reads it; ScheduleError for what has no one meaning."""
    if text == "?" and field in (DAY_OF_MONTH, DAY_OF_WEEK):
        return "*"
    items = text.split(",")
    if len(items) > 1 and not {"*", "*/1"}.isdisjoint(items):
        raise field.refusal(text, "`*` already means every value: nothing can stand beside it")
    picked = sum("#" in item or item.startswith("l") for item in items)
    if field is DAY_OF_WEEK and 0 < picked < len(items):
        raise field.refusal(text, "plain days cannot stand beside mon#2 or L5")
    return ",".join(_settled_item(item, text, field) for item in items)


def _settled_item(item: str, text: str, field: Field) -> str:
    if reason := _why_refused(item, field):
        raise field.refusal(text, reason)
    if item == "*/1":
        return "*"
    if match := _START_STEP.fullmatch(item):
        start = _number(match[1], field)
        return item if start is None else _upward(start, field.high, match[2])
    if match := _RANGE.fullmatch(item):
        return _settled_range(match, text, field)
    return item


def _why_refused(item: str, field: Field) -> str | None:
    if _HASHED.fullmatch(item):
        return "H and R stand for a time that nobody can foresee; write a number"
    if field is DAY_OF_MONTH and _NEAREST_WEEKDAY.fullmatch(item):
        return "W (the nearest weekday) is not supported"
    if field is DAY_OF_WEEK and (match := _LAST_WEEKDAY.fullmatch(item)):
        return f"the last such day of the month is written L{field.names.get(match[1], match[1])}"
    if "#" in item and "-" in item:
        return "a range cannot have a #; write mon#2,tue#2"
    if (match := _STEP.fullmatch(item)) and int(match[1][:9]) > field.size:
        return (
            f"a step of {match[1][:9]} is longer than the field, so it would only ever fire at its start; "
            "an interval such as '90 minutes' keeps its length"
        )
    return None


def _settled_range(match: re.Match[str], text: str, field: Field) -> str:
    first, last, step = match.groups()
    low, high = _number(first, field), _number(last, field)
    if low is None or high is None:
        return match[0]
    if not field.low <= high <= field.high:  # croniter 7 takes 5-0 for all months from May on
        raise field.refusal(text, field.takes)
    if field is DAY_OF_WEEK and high == 0 and (low > 0 or (last == "7" and first != "7")):
        high = 7  # fri-sun and 0-7 go up to the Sunday that ends the week
    if low <= high:
        return _upward(low, high, step)
    if step:
        raise field.refusal(text, "a range over the end of the field cannot have a step; write two ranges")
    return f"{_upward(low, field.high)},{_upward(field.low, high)}"


def _number(word: str, field: Field) -> int | None:
    number = field.names.get(word)
    if number is None and word.isdigit():
        number = int(word)
    return 0 if number == 7 and field is DAY_OF_WEEK else number


def _upward(low: int, high: int, step: str | None = None) -> str:
    return str(low) if low == high else f"{low}-{high}" + (f"/{step}" if step else "")
