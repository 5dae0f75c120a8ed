"""The virtual clock kit over months and changes of clocks: exactly the runs that the schedules name."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from jobserver import Job, Schedule
from jobserver.testing import VirtualJobs, VirtualRun

NEW_YORK = ZoneInfo("America/New_York")
START = datetime(2026, 1, 1, tzinfo=UTC)
QUARTER = timedelta(days=90)


class _Counted(Job):
    async def run(self) -> None: ...


def a_job(name: str, schedule: Any, timezone: str = "America/New_York", **options: Any) -> type[Job]:
    return type("Counted", (_Counted,), {"name": name, "schedule": Schedule.parse(schedule, timezone, **options)})


def on(day: str, *jobs: type[Job]) -> list[VirtualRun]:
    """What runs on that day of New York, by its own clocks."""
    midnight = datetime.fromisoformat(day).replace(tzinfo=NEW_YORK)
    next_midnight = midnight + timedelta(days=1)  # by the wall: 23 or 25 hours on a day of change
    with VirtualJobs(jobs, start=midnight - timedelta(days=2)) as timeline:
        timeline.advance_to(next_midnight - timedelta(seconds=1))
        return [run for run in timeline.runs() if run.scheduled_at >= midnight]


def clocks(runs: list[VirtualRun]) -> list[str]:
    return [f"{run.started_at.astimezone(NEW_YORK):%H:%M %Z}" for run in runs]


@pytest.mark.parametrize(
    ("schedule", "dst", "ran"),
    [
        ("30 2 * * *", None, ["03:00 EDT"]),
        ("30 2 * * *", "skip", []),
        ("30 2 * * *", "first", ["03:30 EDT"]),
        ("30 1 * * *", None, ["01:30 EST"]),
        ("*/30 1-3 * * *", None, ["01:00 EST", "01:30 EST", "03:00 EDT", "03:30 EDT"]),
    ],
)
def test_in_spring_a_time_that_does_not_exist_runs_once_right_after_the_gap(
    schedule: str, dst: str | None, ran: list[str]
) -> None:
    assert clocks(on("2026-03-08", a_job("job", schedule, dst=dst))) == ran


@pytest.mark.parametrize(
    ("schedule", "dst", "ran"),
    [
        ("30 1 * * *", None, ["01:30 EDT"]),
        ("30 1 * * *", "both", ["01:30 EDT", "01:30 EST"]),
        ("30 2 * * *", None, ["02:30 EST"]),
        ("*/30 1-2 * * *", None, ["01:00 EDT", "01:30 EDT", "01:00 EST", "01:30 EST", "02:00 EST", "02:30 EST"]),
    ],
)
def test_in_autumn_a_time_that_comes_twice_runs_once_and_what_runs_every_so_often_in_both(
    schedule: str, dst: str | None, ran: list[str]
) -> None:
    assert clocks(on("2026-11-01", a_job("job", schedule, dst=dst))) == ran


@pytest.mark.parametrize(("day", "runs"), [("2026-03-08", 46), ("2026-11-01", 50), ("2026-06-01", 48)])
def test_every_half_hour_follows_real_time(day: str, runs: int) -> None:
    ran = on(day, a_job("job", "*/30 * * * *"))
    assert len(ran) == runs
    gaps = {after.started_at - before.started_at for before, after in pairwise(ran)}
    assert gaps == {timedelta(minutes=30)}


def test_three_months_of_twenty_jobs_are_exactly_what_their_schedules_name() -> None:
    zones = ("America/New_York", "Europe/Berlin", "Australia/Lord_Howe", "UTC")
    schedules = [
        *(a_job(f"daily-{hour}-{zone}", f"{15 * hour} {hour} * * *", zone) for hour in range(4) for zone in zones),
        a_job("hourly", "0 * * * *"),
        a_job("weekdays", "every weekday at 9:00", exclude="2026-02-16"),
        a_job("45 minutes", timedelta(minutes=45)),
        a_job("month's end", "on the last day of the month at 17:00", "Europe/Berlin"),
    ]
    with VirtualJobs(schedules, start=START) as jobs:
        jobs.advance(QUARTER)
        assert len(schedules) == 20
        for each in schedules:
            schedule = Schedule.parse(each().get_schedule() or "")
            expected = list(schedule.occurrences(after=START, until=START + QUARTER, anchor=START))
            assert [run.scheduled_at for run in jobs.runs(f"{each.name}")] == expected
            assert [run.started_at for run in jobs.runs(f"{each.name}")] == expected
        assert {run.status.value for run in jobs.runs()} == {"completed"}
        began = [run.started_at for run in jobs.runs()]
        assert began == sorted(began)


def test_a_server_that_is_away_over_the_change_of_clocks_catches_up_once() -> None:
    with VirtualJobs([a_job("job", "30 2 * * *")], start=datetime(2026, 3, 7, 12, tzinfo=NEW_YORK)) as jobs:
        jobs.down("2 days")
        jobs.advance(0)
        assert [(run.status.value, f"{run.scheduled_at.astimezone(NEW_YORK):%d %H:%M}") for run in jobs.runs()] == [
            ("skipped", "08 03:00"),
            ("completed", "09 02:30"),
        ]
