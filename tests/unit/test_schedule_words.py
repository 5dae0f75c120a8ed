"""Schedules in words: what they mean, and what is refused with what was understood and what would do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from jobserver.errors import ScheduleError
from jobserver.schedule import Schedule, ScheduleKind
from jobserver.schedule.words.refusal import FORMS

START = datetime(2026, 1, 14, 10, 7, 33, tzinfo=UTC)  # a Wednesday


@pytest.mark.parametrize(
    ("text", "length"),
    [
        *(("every 5 minutes", 300), ("every 1 minute", 60), ("every 45 minutes", 2700), ("every 90 min", 5400)),
        *(("every 30 s", 30), ("every 10 sec", 10), ("every 2 seconds", 2), ("every 5 mins", 300), ("every 3 m", 180)),
        *(("every 2 hours", 7200), ("every 4 h", 14_400), ("every 36 hours", 129_600), ("every 7 days", 604_800)),
        *(("every 2 weeks", 1_209_600), ("every minute", 60), ("every hour", 3600), ("every second", 1)),
        *(("every day", 86_400), ("every week", 604_800), ("each hour", 3600), ("Every  Five\tMinutes", 300)),
        *(("every 1.5 hours", 5400), ("every half hour", 1800), ("every half an hour", 1800), ("every 2h30m", 9000)),
        *(("every 1 hour and a half", 5400), ("every 2 hours and 30 minutes", 9000), ("every other day", 172_800)),
        *(
            ("once every 2 hours", 7200),
            ("once a day", 86_400),
            ("once an hour", 3600),
            ("every twenty-five days", 2_160_000),
        ),
    ],
)
def test_every_so_long_is_an_exact_interval(text: str, length: int) -> None:
    schedule = Schedule.parse(text, "Europe/Berlin")
    assert schedule == Schedule.parse(timedelta(seconds=length))
    assert schedule.kind is ScheduleKind.INTERVAL
    assert Schedule.parse({"type": "schedule", "value": text}) == schedule
    assert schedule.upcoming(2, after=START, anchor=START) == [START + n * timedelta(seconds=length) for n in (1, 2)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("at 5:00 pm", "14/17:00 15/17:00"),
        ("at 5:00pm", "14/17:00 15/17:00"),
        ("at 5:00 PM", "14/17:00 15/17:00"),
        ("at 5:00 p.m.", "14/17:00 15/17:00"),
        ("at 17:00", "14/17:00 15/17:00"),
        ("at 5:00, 10:00", "15/05:00 15/10:00 16/05:00"),
        ("at 12:00 am", "15/00:00 16/00:00"),
        ("at 12:00 pm", "14/12:00 15/12:00"),
        ("at 5 pm", "14/17:00 15/17:00"),
        ("at 5pm", "14/17:00 15/17:00"),
        ("at 05:00:00", "15/05:00 16/05:00"),
        ("@ 10:15 am", "14/10:15 15/10:15"),
        ("@10:15 am", "14/10:15 15/10:15"),
        ("at midnight", "15/00:00 16/00:00"),
        ("at noon", "14/12:00 15/12:00"),
        ("noon", "14/12:00 15/12:00"),
        ("at 5:00 and at 10:00", "15/05:00 15/10:00 16/05:00"),
        ("at 8:00 am, noon and 5:30 pm", "14/12:00 14/17:30 15/08:00"),
        ("every day at 9:00", "15/09:00 16/09:00"),
        ("9:00 every day", "15/09:00 16/09:00"),
        ("daily at 9:00", "15/09:00 16/09:00"),
        ("once a day at 9:00", "15/09:00 16/09:00"),
        ("hourly", "14/11:00 14/12:00"),
        ("hourly on the 5th minute", "14/11:05 14/12:05"),
        ("daily", "15/00:00 16/00:00"),
        ("every 15 minutes starting on the 4th minute", "14/10:19 14/10:34 14/10:49 14/11:04"),
        ("every 15 minutes starting on the 0 min", "14/10:15 14/10:30"),
        ("every 2 hours starting at the 1st hour", "14/11:00 14/13:00"),
        ("every 1 hour on the 1st min", "14/11:01 14/12:01"),
        ("on the 30th minute", "14/10:30 14/11:30"),
        ("on the 1st, 3rd and 5th min", "14/11:01 14/11:03 14/11:05"),
        ("on the 8th hour", "15/08:00 16/08:00"),
        ("on the 1st min of the 5th hour", "15/05:01 16/05:01"),
        ("at the 20th minute of the hour", "14/10:20 14/11:20"),
        ("every 5 minutes after 11:11pm", "14/23:15 14/23:20"),
        ("every 30 minutes after 22:00", "14/22:00 14/22:30"),
        ("every 2 hours after the 19th hour", "14/20:00 14/22:00 15/20:00"),
        ("every 2 hours before 5:00 am", "15/00:00 15/02:00 15/04:00 16/00:00"),
        ("every 2 hours before 4:00", "15/00:00 15/02:00 16/00:00"),
        ("every 4 hours between 8:00 and 16:00", "14/12:00 14/16:00 15/08:00"),
        ("every 4 hours from 8:00 to 16:00", "14/12:00 14/16:00 15/08:00"),
        ("every hour between 22:00 and 1:00", "14/22:00 14/23:00 15/00:00 15/01:00 15/22:00"),
        ("every hour between the 8th and 11th hour", "14/11:00 15/08:00"),
        ("every 90 minutes on thursdays", "15/00:00 15/01:30 15/03:00"),
        ("every 2 hours also at 12:30", "14/12:00 14/12:30 14/14:00"),
        ("at 9:00 also at 10:00 on fridays", "15/09:00 16/09:00 16/10:00 17/09:00"),
        ("every 4 hours except at noon", "14/16:00 14/20:00 15/00:00"),
        ("every 4 hours except between 12:00 and 20:00", "15/00:00 15/04:00 15/08:00 16/00:00"),
        ("every 4 hours except on the 12th, 16th and 20th hour", "15/00:00 15/04:00 15/08:00 16/00:00"),
        ("every 12 hours except on thursday at noon", "14/12:00 15/00:00 16/00:00 16/12:00"),
        ("at 9:00 except on fridays and on the 15th", "17/09:00 18/09:00"),
        ("at 9:00 except on fridays except on the 15th", "17/09:00 18/09:00"),
        ("at 9:00 except weekends in january", "15/09:00 16/09:00 19/09:00"),
    ],
)
def test_times_of_day(text: str, expected: str) -> None:
    fires = Schedule.parse(text).upcoming(expected.count("/"), after=START)
    assert " ".join(f"{fire:%d/%H:%M}" for fire in fires) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("at 10:15 am every weekday", "Jan14 Jan15 Jan16 Jan19"),
        ("every weekend", "Jan17 Jan18 Jan24"),
        ("on the weekend", "Jan17 Jan18 Jan24"),
        ("weekdays at 9:00", "Jan15 Jan16 Jan19"),
        ("on monday at 9:00 am", "Jan19 Jan26"),
        ("every monday", "Jan19 Jan26"),
        ("every monday at 9:00", "Jan19 Jan26"),
        ("on mondays", "Jan19 Jan26"),
        ("mondays at 9:00", "Jan19 Jan26"),
        ("on mon,wed", "Jan19 Jan21 Jan26"),
        ("on wed and mon", "Jan19 Jan21 Jan26"),
        ("on mon and on wed", "Jan19 Jan21 Jan26"),
        ("on tues,thur-sat", "Jan15 Jan16 Jan17 Jan20"),
        ("on friday through monday", "Jan16 Jan17 Jan18 Jan19 Jan23"),
        ("at 9:00 from monday to friday", "Jan15 Jan16 Jan19"),
        ("weekly", "Jan18 Jan25"),
        ("weekly on monday at 9:00", "Jan19 Jan26"),
        ("every week on monday", "Jan19 Jan26"),
        ("of jan", "Jan01 Jan01"),
        ("every january", "Jan01 Jan01"),
        ("of jan-mar", "Feb01 Mar01 Jan01"),
        ("at 9:00 of feb", "Feb01 Feb02 Feb03"),
        ("at 9:00 in december", "Dec01 Dec02"),
        ("on mondays in june", "Jun01 Jun08"),
        ("on the last day of the month", "Jan31 Feb28 Mar31"),
        ("at 5:00 pm on the last day of the month", "Jan31 Feb28 Mar31"),
        ("every last day of the month", "Jan31 Feb28 Mar31"),
        ("on the first day of the month", "Feb01 Mar01"),
        ("on the 15th day of the month", "Jan15 Feb15"),
        ("on the 15th", "Jan15 Feb15"),
        ("on the 15th of each month", "Jan15 Feb15"),
        ("on the 1st and 15th day of the month", "Jan15 Feb01 Feb15"),
        ("on the 1st and on the last day of the month", "Jan31 Feb01 Feb28"),
        ("on the 14th-16th at 8:00", "Jan15 Jan16 Feb14"),
        ("on the 31st", "Jan31 Mar31 May31"),
        ("every month on the 15th at 9:00", "Jan15 Feb15"),
        ("monthly", "Feb01 Mar01"),
        ("monthly on the last day", "Jan31 Feb28"),
        ("on the 2nd day instance on mon", "Feb09 Mar09"),
        ("on the first monday of the month", "Feb02 Mar02"),
        ("on the first monday of the month at 10:00", "Feb02 Mar02"),
        ("on the last friday", "Jan30 Feb27"),
        ("on the first and third tuesday", "Jan20 Feb03 Feb17"),
        ("on the last friday of march", "Mar27 Mar26"),
        ("every 2nd monday of the month", "Feb09 Mar09"),
        ("every friday the 13th", "Feb13 Mar13 Nov13"),
        ("yearly", "Jan01 Jan01"),
        ("every year on december 24 at noon", "Dec24 Dec24"),
        ("on december 24 at noon", "Dec24 Dec24"),
        ("on the 24th of december", "Dec24 Dec24"),
        ("on 24 and 25 december", "Dec24 Dec25"),
        ("on the 100th day of the year", "Apr10 Apr10 Apr09"),
        ("on the last day of the year", "Dec31 Dec31"),
        ("on the 1st week of the year", "Jan04 Jan03 Jan01 Dec31"),
        ("at noon on fridays on the 53rd week of the year", "Jan01 Dec31"),
        ("on the 2nd week of the month", "Feb08 Mar08 Apr05"),
        ("on the 1st week of the month", "Feb01 Mar01 Apr01"),
        ("at noon on the 1st week of the month", "Feb01 Feb02 Feb03 Feb04 Feb05 Feb06 Feb07 Mar01"),
        ("at noon except in january and in february", "Mar01 Mar02"),
        ("on the 1st month", "Jan01 Jan01"),
        ("on monday and at 9:00", "Jan19 Jan26"),
        ("on mondays, in february", "Feb02 Feb09"),
        ("monthly on the first monday", "Feb02 Mar02"),
        ("yearly on the last sunday of march", "Mar29 Mar28"),
        ("yearly in march", "Mar01 Mar01"),
        ("yearly on the 60th day of the year", "Mar01 Mar01"),
        ("weekly on monday and friday", "Jan16 Jan19"),
        ("every year on the first monday of may", "May04 May03"),
    ],
)
def test_days(text: str, expected: str) -> None:
    fires = Schedule.parse(text).upcoming(expected.count(" ") + 1, after=START)
    assert " ".join(f"{fire:%b%d}" for fire in fires) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("in 2027", "2027-01-01 00:00"),
        ("at 9:00 on december 30-31 in 2027", "2027-12-30 09:00, 2027-12-31 09:00"),
        ("on january 1st at 9:00 in 2027, 2030-2031", "2027-01-01 09:00, 2030-01-01 09:00, 2031-01-01 09:00"),
        ("on the 29th of february in 2150-2154", "2152-02-29 00:00"),
    ],
)
def test_named_years_end_a_schedule(text: str, expected: str) -> None:
    assert ", ".join(f"{fire:%Y-%m-%d %H:%M}" for fire in Schedule.parse(text).upcoming(9, after=START)) == expected


def test_a_year_that_is_over_never_fires_again() -> None:
    assert Schedule.parse("at 9:00 in 2020").next_after(START) is None


@pytest.mark.parametrize(
    ("text", "fixed"),
    [
        ("at 2:30", True),
        ("every day at 2:30", True),
        ("on the 2nd hour", True),
        ("every 15 minutes on sundays", False),
        ("hourly on the 30th minute", False),
        ("on the 30th minute", False),
    ],
)
def test_fixed_times_and_frequencies_meet_a_gap_as_in_cron(text: str, fixed: bool) -> None:
    schedule = Schedule.parse(text, "Europe/Berlin")
    first = schedule.next_after(datetime(2026, 3, 29, 0, 59, tzinfo=UTC))
    gap_ends = datetime(2026, 3, 29, 1, tzinfo=UTC)
    assert first == (gap_ends if fixed or text.startswith("every 15") else gap_ends + timedelta(minutes=30))
    in_overlap = schedule.upcoming(9, after=datetime(2026, 10, 24, 23, 59, tzinfo=UTC))
    walls = [fire + timedelta(hours=2 if fire < datetime(2026, 10, 25, 1, tzinfo=UTC) else 1) for fire in in_overlap]
    repeated = [f"{wall:%H:%M}" for wall in walls if (wall.day, wall.hour) == (25, 2)]
    assert len(set(repeated)) * (1 if fixed else 2) == len(repeated)


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("at 25:00", "understood 'at', then: 25:00 is not a time of day"),
        ("at 24:00", "24:00 is not a time of day"),
        ("at 5:60", "5:60 is not a time of day"),
        ("at 00:30 am", "00:30 am does not exist"),
        ("at 13:00 pm", "13:00 pm does not exist"),
        ("at 9", "9 may be morning or evening; write 9:00 or 9 am"),
        (
            "every monday at 9:00 Europe/Berlin",
            "'europe/berlin' is no part of the text: a time zone stands beside it, as timezone or --zone; "
            "write for example 'every monday at 9:00'",
        ),
        ("every day at 9:00 UTC", "a time zone stands beside it"),
        ("daily at 17", "17 alone is not a time of day; write 17:00;"),
        ("at 0", "0 alone is not a time of day; write 0:00;"),
        ("at 1.5", "1.5 is not a time of day; write for example 9:00 or 5 pm;"),
        ("hourly at 45", "45 is not a time of day; write for example 9:00 or 5 pm;"),
        ("at 5:00 and 6:00 pm", "only some of these times say am or pm"),
        ("every 2 hours between 8:00 and 5 pm", "only some of these times say am or pm"),
        ("every 0 minutes", "every 0 is no length of time"),
        ("every 0.5 seconds", "500 milliseconds is not between 1 second"),
        ("every -5 minutes", "understood 'every', then: '-5' has no meaning here"),
        ("every 5", "a unit belongs here"),
        ("every", "something is missing"),
        ("every month", "a month has no fixed length"),
        ("every 2 months", "a month has no fixed length"),
        ("every 2 months on the 1st", "a month has no fixed length"),
        ("every year", "a year has no fixed length"),
        ("every 9999999 weeks", "is not between 1 second and 3650 days"),
        ("every 99999999999 weeks", "has no meaning here"),
        ("every 7 minutes on monday", "7 minutes does not go evenly into a day"),
        ("every 2 days at 9:00", "counts from a day that is not named"),
        ("every 2 weeks on monday", "counts from a day that is not named"),
        ("every 2nd monday", "write for example 'on the 2nd monday of the month'"),
        ("every second monday", "every so many, or the one of each month"),
        ("every 3rd hour", "every so many, or the one of each month"),
        ("every 5 minutes at 9:00", "at what time, and how often within a day too"),
        ("every 15 minutes starting on the 20th minute", "cannot start so late"),
        ("every 15 minutes starting at 9:00", "from when it counts is said by startDate"),
        ("after 11:11pm", "but not how often; write for example 'every 5 minutes after 22:00'"),
        ("between 8:00 and 17:00", "but not how often"),
        ("every hour before 0:00", "nothing of a day is before midnight"),
        ("every hour on mondays between 22:00 and 2:00", "times over midnight belong to two days"),
        ("every hour after 20:00 before 19:00", "no time of day is left"),
        ("once in 2 hours", "a single moment is written as one"),
        ("in 5 minutes", "it counts from now, and a schedule has no now; write for example 'every 5 minutes'"),
        ("in 5 hours", "write for example 'every 5 hours'"),
        ("on 2026-03-01", "one date is a moment, not a schedule; write for example '2026-03-01 09:00'"),
        ("on the 5th day of the week", "a week begins on Sunday for some"),
        ("on the first weekday of the month", "which weekday is first differs"),
        ("on the 1st week", "a week of what?"),
        ("on the 32nd", "there is no day of a month 32; 1-31"),
        ("on the 6th monday", "there is no such weekday of a month 6; 1-5"),
        ("on the 60th minute", "there is no minute 60; 0-59"),
        ("on the 367th day of the year", "there is no day of a year 367; 1-366"),
        ("on the last hour", "the last hour needs a number"),
        ("on the 2nd to last day of the month", "a range goes from one number up to another"),
        ("on the 5th-2nd", "a range goes from one number up to another"),
        ("on the 31st of february", "never fires"),
        ("on the 31st of september", "never fires"),
        ("at 9:00 on mondays except on mondays", "never fires"),
        ("at 9:00 except at 9:00", "nothing is left"),
        ("every hour except every 2 hours", "an exception names days or times"),
        ("every hour except", "after 'except' come days or times"),
        ("in 1969", "the year 1969 is not between 1970 and 8999"),
        ("on monday at 9:00 and on friday at 10:00", "put 'also' between two schedules"),
        ("at 9:00 at 10:00", "times are named twice"),
        (
            "every mondy at 9:00",
            "unknown word 'mondy'; did you mean 'monday'?; write for example 'every monday at 9:00'",
        ),
        ("on monday at 9:00 please", "understood 'on monday at 9:00', then: unknown word 'please'"),
        ("on the day instance on mon", "days belong here"),
        ("on the 2nd day instance", "day instances of which weekday?"),
        ("on december", "the day of the month belongs here"),
        ("every weekday at 9:00 ☃", "has no meaning here"),
        ("every 5 minutes," + " on mondays" * 30, "longer than 250 characters"),
        ("on mondays and on the 1st at 9:00", "either weekdays or days of the month, or both at once?"),
        ("in january and on mondays", "either months or weekdays, or both at once?"),
        ("every hour and on mondays", "either frequency or weekdays, or both at once?"),
        ("every day except sunday at 9:00", "times belong before 'except'"),
        ("every day except at 9:00", "times belong before 'except'"),
        ("monthly on mondays", "'monthly' is not how often these days come"),
        ("every month on mondays", "'every month' is not how often these days come"),
        ("weekly on the 15th", "'weekly' is not how often these days come"),
        ("yearly on the 15th", "'yearly' is not how often these days come"),
        ("yearly on mondays in may", "'yearly' is not how often these days come"),
        ("every tusday at 8:15", "write for example 'every tuesday at 8:15'"),
        ("every hour" + "".join(f" except on mon at {hour}:00" for hour in range(6)), "too many exceptions"),
        ("next monday", "is not a schedule"),
        ("tomorrow at noon", "is not a schedule"),
        ("also at 9:00", "'also' has no meaning here"),
    ],
)
def test_what_has_no_exact_meaning_is_refused_with_the_reason_and_a_form_that_has(text: str, advice: str) -> None:
    with pytest.raises(ScheduleError) as caught:
        Schedule.parse(text)
    assert advice in caught.value.message
    assert len(caught.value.message) < 500
    with pytest.raises(ScheduleError):
        Schedule.parse({"type": "schedule", "value": text})


def test_every_form_that_a_refusal_offers_is_a_schedule() -> None:
    for form in FORMS:
        assert Schedule.parse(form).upcoming(1, after=START, anchor=START), form


def test_words_are_kept_as_they_are_written_in_one_spelling() -> None:
    schedule = Schedule.parse("  Every  WEEKDAY at 9:00 ", "Europe/Berlin")
    assert schedule.key == "text:every weekday at 9:00@Europe/Berlin"
    assert schedule.to_document() == {
        "type": "schedule",
        "value": "every weekday at 9:00",
        "timezone": "Europe/Berlin",
    }
    assert Schedule.parse(schedule.to_document()) == schedule


def test_an_exact_interval_has_no_use_for_a_dst_policy() -> None:
    with pytest.raises(ScheduleError, match="an interval follows real time"):
        Schedule.parse("every 5 minutes", dst="skip")
    assert Schedule.parse("every 5 minutes on mondays", dst="skip").dst == "skip"
