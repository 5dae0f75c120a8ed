"""What other schedulers accept, refuse and get wrong, row by row: what is to become of each here.

`later` 4.2.0 reads words for Ghost and Bree, human-interval and date.js read lengths and moments for Pulse and Agenda.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from jobserver.errors import ConfigError, ScheduleError
from jobserver.lengths import parse_length
from jobserver.schedule import Schedule, ScheduleKind

START = datetime(2026, 1, 14, 10, 7, 33, tzinfo=UTC)  # a Wednesday


def first(text: str, count: int = 2) -> str:
    fires = Schedule.parse(text).upcoming(count, after=START, anchor=START)
    return " ".join(f"{fire:%m-%dT%H:%M:%S}" for fire in fires)


@pytest.mark.parametrize(
    "unit",
    [
        "s",
        "sec",
        "second",
        "seconds",
        "m",
        "min",
        "mins",
        "minute",
        "minutes",
        "h",
        "hour",
        "hours",
        "day",
        "days",
        "weeks",
    ],
)
def test_every_so_many_units_are_elapsed_time_where_later_aligns_them_with_the_calendar(unit: str) -> None:
    length = parse_length(f"7 {unit}", field="schedule")
    assert Schedule.parse(f"every 7 {unit}") == Schedule.parse(length)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("every 5 minutes", "01-14T10:12:33 01-14T10:17:33"),  # later: :10 :15 :20
        ("every 45 minutes", "01-14T10:52:33 01-14T11:37:33"),  # later: :00 and :45 only
        ("every 90 minutes", "01-14T11:37:33 01-14T13:07:33"),  # later: hourly
        ("every 36 hours", "01-15T22:07:33 01-17T10:07:33"),  # later: daily
        ("every 7 days", "01-21T10:07:33 01-28T10:07:33"),  # later: on the 1st, 8th, 15th, 22nd and 29th
        ("every 1 minute", "01-14T10:08:33 01-14T10:09:33"),
        ("every hour", "01-14T11:07:33 01-14T12:07:33"),  # Bree: daily
        ("every day", "01-15T10:07:33 01-16T10:07:33"),  # Bree: monthly
        ("every monday", "01-19T00:00:00 01-26T00:00:00"),
        ("every five minutes", "01-14T10:12:33 01-14T10:17:33"),
        ("every 1.5 hours", "01-14T11:37:33 01-14T13:07:33"),
        ("at 5:00, 10:00", "01-15T05:00:00 01-15T10:00:00"),
        ("at 12:00 am", "01-15T00:00:00 01-16T00:00:00"),
        ("at 12:00 pm", "01-14T12:00:00 01-15T12:00:00"),
        ("at 5:00 and at 10:00", "01-15T05:00:00 01-15T10:00:00"),
        ("at 10:15 am every weekday", "01-14T10:15:00 01-15T10:15:00"),
        ("every weekend", "01-17T00:00:00 01-18T00:00:00"),
        ("on monday at 9:00 am", "01-19T09:00:00 01-26T09:00:00"),
        ("on mon,wed", "01-19T00:00:00 01-21T00:00:00"),
        ("on wed,mon", "01-19T00:00:00 01-21T00:00:00"),  # later: only sorted from Sunday on
        ("on tues,thur-sat", "01-15T00:00:00 01-16T00:00:00"),
        ("of jan", "01-01T00:00:00 01-01T00:00:00"),
        ("in 2027", "01-01T00:00:00"),
        ("on the last day of the month", "01-31T00:00:00 02-28T00:00:00"),
        ("at 5:00 pm on the last day of the month", "01-31T17:00:00 02-28T17:00:00"),
        ("on the first day of the month", "02-01T00:00:00 03-01T00:00:00"),
        ("on the 15th day of the month", "01-15T00:00:00 02-15T00:00:00"),
        ("on the 1st and 15th day of the month", "01-15T00:00:00 02-01T00:00:00"),
        ("on the 2nd day instance on mon", "02-09T00:00:00 03-09T00:00:00"),
        ("every last day of the month", "01-31T00:00:00 02-28T00:00:00"),
        ("on the last friday", "01-30T00:00:00 02-27T00:00:00"),
        ("on the first monday of the month", "02-02T00:00:00 03-02T00:00:00"),
        ("every 15 minutes starting on the 4th minute", "01-14T10:19:00 01-14T10:34:00"),
        ("every 1 hour on the 1st min", "01-14T11:01:00 01-14T12:01:00"),
        ("every 12 hours also at 11:00", "01-14T11:00:00 01-14T12:00:00"),
        ("every 5 minutes after 11:11pm", "01-14T23:15:00 01-14T23:20:00"),
        ("every 5 minutes before 5:00", "01-15T00:00:00 01-15T00:05:00"),
        ("at 9:00 except on thursday", "01-16T09:00:00 01-17T09:00:00"),
        ("every hour between the 8th and 17th hour", "01-14T11:00:00 01-14T12:00:00"),
        ("hourly", "01-14T11:00:00 01-14T12:00:00"),
        ("5 minutes", "01-14T10:12:33 01-14T10:17:33"),
        ("4h", "01-14T14:07:33 01-14T18:07:33"),
        ("3 days and 4 hours", "01-17T14:07:33 01-20T18:07:33"),
        ("*/5 * * * *", "01-14T10:10:00 01-14T10:15:00"),  # Ghost: six fields only
        ("0 1/5 * * * *", "01-14T10:11:00 01-14T10:16:00"),  # croniter: seconds last
        ("*/5 * * * * *", "01-14T10:07:35 01-14T10:07:40"),
    ],
)
def test_what_is_clear_is_accepted_and_exact(text: str, expected: str) -> None:
    assert first(text) == expected


@pytest.mark.parametrize("text", ["5:00pm", "5:00 PM", "17:00", "5 pm", "5pm", "17:00:00", "5:00 pm"])
def test_every_spelling_of_a_time_of_day(text: str) -> None:
    assert first(f"at {text}", 1) == first(f"@ {text}", 1) == "01-14T17:00:00"


@pytest.mark.parametrize("name", ["hourly", "daily", "weekly", "monthly", "yearly"])
def test_a_cadence_is_what_cron_has_an_alias_for(name: str) -> None:
    words, cron = Schedule.parse(name, "Europe/Berlin"), Schedule.parse(f"@{name}", "Europe/Berlin")
    assert words.upcoming(20, after=START) == cron.upcoming(20, after=START)


@pytest.mark.parametrize(
    "text",
    [
        *("every 0 minutes", "at 25:00", "at 00:30 am every day", "once in 2 hours", "in 5 minutes", "", "banana"),
        *("every 2 months", "every 3 years", "after 11:11pm"),  # later: 1st of the month, 1 January, every second
        *("in 5 hours", "10 minutes from now", "tomorrow at noon", "2 weeks from wednesday"),  # a moment, for date.js
        *("31st of September", "at 31st of September", "*/70 * * * *", "0 0 31 2 *", "0 0 30 2 *", "R * * * *"),
        *("H * * * *", "0 0 15W * *", "0 0 * * 5L", "december 24 at 25:00"),
    ],
)
def test_what_is_unclear_or_impossible_is_refused_and_never_turned_into_now(text: str) -> None:
    with pytest.raises(ScheduleError):
        Schedule.parse(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        *(("one minute", 60), ("twenty-five seconds", 25), ("1.5 minutes", 90), ("minute", 60), ("a minute", 60)),
        *(("3 days, 4 hours and 36 seconds", 273_636), ("5 mins", 300), ("5m", 300), ("4h", 14_400), ("10 sec", 10)),
        *(("an hour", 3600), ("half hour", 1800), ("two and a half hours", 9000)),
    ],
)
def test_a_length_is_what_it_says_where_human_interval_says_nan_or_nothing(text: str, seconds: int) -> None:
    assert parse_length(text, field="processEvery") == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "every 5 minutes", "-2 minutes", "2 months", "1 year"])
def test_a_length_that_has_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_length(text, field="processEvery")


def test_december_24_is_a_day_of_every_year_and_not_of_2001() -> None:
    assert first("december 24") == "12-24T00:00:00 12-24T00:00:00"
    assert Schedule.parse("december 24").kind is ScheduleKind.CRON


@pytest.mark.parametrize(
    ("expression", "zone", "after", "expected"),
    [
        ("30 2 * * *", "America/New_York", "2026-03-08T06:00Z", "08/03:00-0400 09/02:30-0400"),
        ("30 1 * * *", "America/New_York", "2026-11-01T04:00Z", "01/01:30-0400 02/01:30-0500"),
        (
            "*/30 * * * *",
            "America/New_York",
            "2026-11-01T04:30Z",
            "01/01:00-0400 01/01:30-0400 01/01:00-0500 01/01:30-0500 01/02:00-0500 01/02:30-0500",
        ),
        ("0 */2 * * *", "America/New_York", "2026-03-08T06:00Z", "08/04:00-0400 08/06:00-0400 08/08:00-0400"),
        ("0 1-3 * * *", "America/New_York", "2026-11-01T04:00Z", "01/01:00-0400 01/02:00-0500 01/03:00-0500"),
        ("15 2 * * *", "Australia/Lord_Howe", "2026-10-03T15:00Z", "04/02:30+1100 05/02:15+1100"),
        ("30 1 * * *", "America/New_York", "2026-03-08T07:00Z", "09/01:30-0400 10/01:30-0400"),
    ],
)
def test_the_changes_of_clocks_that_libraries_stumble_over(
    expression: str, zone: str, after: str, expected: str
) -> None:
    fires = Schedule.parse(expression, zone).upcoming(expected.count("/"), after=datetime.fromisoformat(after))
    assert " ".join(f"{fire.astimezone(ZoneInfo(zone)):%d/%H:%M%z}" for fire in fires) == expected
