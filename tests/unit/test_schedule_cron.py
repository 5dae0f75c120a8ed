"""Cron expressions: which times they name, one meaning on every version of croniter, and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from jobserver.errors import ScheduleError
from jobserver.schedule import Schedule

START = datetime(2026, 1, 14, 10, 7, 33, tzinfo=UTC)  # a Wednesday


def fires(expression: str, count: int, form: str) -> str:
    moments = Schedule.parse(expression).upcoming(count, after=START)
    return " ".join(moment.strftime(form) for moment in moments)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("*/5 * * * *", "10:10 10:15 10:20"),
        ("*/45 * * * *", "10:45 11:00 11:45"),
        ("59/15 * * * *", "10:59 11:59 12:59"),
        ("10/20 * * * *", "10:10 10:30 10:50"),
        ("5-15/5 * * * *", "10:10 10:15 11:05"),
        ("7-7 * * * *", "11:07 12:07 13:07"),
        ("8,9 * * * *", "10:08 10:09 11:08"),
        ("58-1 * * * *", "10:58 10:59 11:00"),
        ("0 22-1 * * *", "22:00 23:00 00:00"),
        ("0 */9 * * *", "18:00 00:00 09:00"),
        ("30 9-17/4 * * *", "13:30 17:30 09:30"),
        ("0 20/2 * * *", "20:00 22:00 20:00"),
        ("@hourly", "11:00 12:00 13:00"),
    ],
)
def test_minutes_and_hours(expression: str, expected: str) -> None:
    assert fires(expression, 3, "%H:%M") == expected


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("0 1/5 * * * *", "10:11:00 10:16:00 10:21:00"),
        ("*/20 * * * * *", "10:07:40 10:08:00 10:08:20"),
        ("5 8 10 * * *", "10:08:05 10:08:05 10:08:05"),
        ("59/30 * * * * *", "10:07:59 10:08:59 10:09:59"),
        ("50-55/5 */30 * * * *", "10:30:50 10:30:55 11:00:50"),
    ],
)
def test_six_fields_have_seconds_first(expression: str, expected: str) -> None:
    assert fires(expression, 3, "%H:%M:%S") == expected


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("0 0 * * mon", "Mon19 Mon26 Mon02 Mon09"),
        ("0 0 * * 0", "Sun18 Sun25 Sun01 Sun08"),
        ("0 0 * * 7", "Sun18 Sun25 Sun01 Sun08"),
        ("0 0 0 * * 7", "Sun18 Sun25 Sun01 Sun08"),
        ("0 0 * * mon-mon", "Mon19 Mon26 Mon02 Mon09"),
        ("0 0 * * 7-7", "Sun18 Sun25 Sun01 Sun08"),
        ("0 0 * * sun-tue", "Sun18 Mon19 Tue20 Sun25"),
        ("0 0 * * 7-2", "Sun18 Mon19 Tue20 Sun25"),
        ("0 0 * * fri-mon", "Fri16 Sat17 Sun18 Mon19"),
        ("0 0 * * fri-sun", "Fri16 Sat17 Sun18 Fri23"),
        ("0 0 * * 0-7", "Thu15 Fri16 Sat17 Sun18"),
        ("0 0 * * 1-7/3", "Thu15 Sun18 Mon19 Thu22"),
        ("0 0 * * 6/1", "Sat17 Sat24 Sat31 Sat07"),
        ("0 0 * * 1/2", "Fri16 Mon19 Wed21 Fri23"),
        ("0 0 * * mon#2", "Mon09 Mon09 Mon13 Mon11"),
        ("0 0 * * 5#5", "Fri30 Fri29 Fri31 Fri30"),
        ("0 0 * * L5", "Fri30 Fri27 Fri27 Fri24"),
        ("0 0 * * l0", "Sun25 Sun22 Sun29 Sun26"),
        ("0 0 * * mon#1,L5", "Fri30 Mon02 Fri27 Mon02"),
        ("0 0 ? * wed", "Wed21 Wed28 Wed04 Wed11"),
        ("0 0 L * *", "Sat31 Sat28 Tue31 Thu30"),
        ("0 0 l,15 * ?", "Thu15 Sat31 Sun15 Sat28"),
        ("0 0 1,31 * *", "Sat31 Sun01 Sun01 Tue31"),
        ("0 0 13 * fri", "Fri16 Fri23 Fri30 Fri06"),  # either will do
        ("0 0 */1 * mon", "Mon19 Mon26 Mon02 Mon09"),
        ("0 0 20 * */1", "Tue20 Fri20 Fri20 Mon20"),
        ("0 0 */2 * 0-6", "Thu15 Fri16 Sat17 Sun18"),
        ("0 0 15/10 * *", "Thu15 Sun25 Sun15 Wed25"),
        ("0 0 28-2 * *", "Wed28 Thu29 Fri30 Sat31"),
        ("@weekly", "Sun18 Sun25 Sun01 Sun08"),
    ],
)
def test_days(expression: str, expected: str) -> None:
    assert fires(expression, 4, "%a%d") == expected


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("0 0 29 2 *", "2028-02-29 2032-02-29 2036-02-29"),
        ("0 0 31 * *", "2026-01-31 2026-03-31 2026-05-31"),
        ("0 0 * 2 mon#5", "2044-02-29 2072-02-29 2112-02-29"),
        ("0 0 1 jan *", "2027-01-01 2028-01-01 2029-01-01"),
        ("0 0 1 dec/3 *", "2026-12-01 2027-12-01 2028-12-01"),
        ("0 0 1 nov-jan *", "2026-11-01 2026-12-01 2027-01-01"),
        ("0 0 1 JAN-JAN *", "2027-01-01 2028-01-01 2029-01-01"),
        ("0 0 1 2/4 *", "2026-02-01 2026-06-01 2026-10-01"),
        ("@yearly", "2027-01-01 2028-01-01 2029-01-01"),
        ("@monthly", "2026-02-01 2026-03-01 2026-04-01"),
    ],
)
def test_months_and_leap_years(expression: str, expected: str) -> None:
    assert fires(expression, 3, "%Y-%m-%d") == expected


def test_the_next_fire_is_strictly_after_the_moment() -> None:
    schedule = Schedule.parse("*/5 * * * *")
    tick = datetime(2026, 1, 14, 10, 10, tzinfo=UTC)
    assert schedule.next_after(tick - timedelta(microseconds=1)) == tick
    assert schedule.next_after(tick) == tick + timedelta(minutes=5)
    assert schedule.next_after(tick + timedelta(microseconds=1)) == tick + timedelta(minutes=5)


@pytest.mark.parametrize(
    ("expression", "advice"),
    [
        ("60 * * * *", "minute '60': takes 0-59"),
        ("60 * * * * *", "second '60': takes 0-59"),
        ("* 24 * * *", "hour '24': takes 0-23"),
        ("0 0 0 * *", "day of month '0': takes 1-31"),
        ("0 0 0 0 * *", "day of month '0': takes 1-31"),
        ("0 0 * 0 *", "month '0': takes 1-12"),
        ("0 0 1 2-0 *", "month '2-0': takes 1-12"),
        ("0 0 * 13 *", "month '13': takes 1-12"),
        ("0 0 * * 8", "day of week '8': takes 0-6"),
        ("0 0 * * monday", "did you mean 'mon'?"),
        ("0 0 mon * *", "day of month 'mon': takes 1-31"),
        ("0 0 * * mon#6", "day of week 'mon#6': takes"),
        ("0 0 * * mon#0", "day of week 'mon#0': takes"),
        ("0 0 * * mon-fri#2", "a range cannot have a #"),
        ("0 0 * * mon#1,tue", "plain days cannot stand beside"),
        ("0 0 1 * mon#1", "cannot stand beside a day of month"),
        ("0 0 * * 5L", "is written L5"),
        ("0 0 * * friL", "is written L5"),
        ("0 0 15W * *", "W (the nearest weekday) is not supported"),
        ("0 0 LW * *", "W (the nearest weekday) is not supported"),
        ("H * * * *", "a time that nobody can foresee"),
        ("0 H(0-7) * * *", "a time that nobody can foresee"),
        ("R/15 * * * *", "a time that nobody can foresee"),
        ("? * * * *", "minute '?': takes"),
        ("*/0 * * * *", "minute '*/0': takes"),
        ("*/90 * * * *", "a step of 90 is longer than the field"),
        ("0 */25 * * *", "a step of 25 is longer than the field"),
        ("*,5 * * * *", "`*` already means every value"),
        ("22-2/2 * * * *", "cannot have a step"),
        ("5,,6 * * * *", "minute '5,,6': takes"),
        ("-5 * * * *", "minute '-5': takes"),
        ("1.5 * * * *", "minute '1.5': takes"),
        ("٣ * * * *", "characters that no cron expression has"),
        ("* * * *", "has 4 fields; cron has five"),
        ("*", "has 1 field; cron has five"),
        ("* * * * * * *", "has 7 fields; cron has five"),
        ("@dayly", "did you mean '@daily'?"),
        ("@never", "known: @hourly, @daily"),
        ("0 0 30 2 *", "never fires"),
        ("0 0 31 2,4,6,9,11 *", "never fires"),
        ("0 0 31 nov *", "never fires"),
    ],
)
def test_what_has_no_one_meaning_is_refused_with_the_field_and_what_it_takes(expression: str, advice: str) -> None:
    with pytest.raises(ScheduleError) as caught:
        Schedule.parse({"type": "schedule", "value": expression})
    assert advice in caught.value.message


def test_a_step_as_long_as_its_field_is_exact_and_so_accepted() -> None:
    assert fires("*/60 * * * *", 2, "%H:%M") == "11:00 12:00"
    assert fires("0 */24 * * *", 2, "%d") == "15 16"


def test_what_fires_only_in_a_gap_that_real_time_leaves_out_never_fires() -> None:
    with pytest.raises(ScheduleError, match="no such date and time in Europe/Berlin"):
        Schedule.parse("*/5 2 * 3 L7", "Europe/Berlin")
    assert Schedule.parse("30 2 * 3 L7", "Europe/Berlin").next_after(START) == datetime(2026, 3, 29, 1, tzinfo=UTC)


def test_spelling_makes_no_difference() -> None:
    assert Schedule.parse(" 0\t9  * JAN  Mon ") == Schedule.parse("0 9 * jan mon")
    assert Schedule.parse("@Daily") == Schedule.parse("0 0 * * *")
