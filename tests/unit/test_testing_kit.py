"""The virtual clock kit without a database: what runs in virtual time, and how it is told."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from textwrap import dedent
from threading import get_ident
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

import pytest
from structlog.testing import capture_logs

from jobserver import FatalError, Job, JobCancelled, Retry, RetryableError, Schedule
from jobserver.errors import ConfigError, DataError, DefinitionError, UnknownJob
from jobserver.scanner.rejection import FileRejected
from jobserver.testing import AsyncTimeline, ProgressReport, SyncTimeline, VirtualJobs, VirtualRun

START = datetime(2026, 1, 1, tzinfo=UTC)
NAIVE = START.replace(tzinfo=None)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


def a_job(schedule: Any = "manual", *, name: str = "sync", **attributes: Any) -> type[Job]:
    """A job that returns the number of its run."""

    async def run(self: Job) -> int:
        return self.context.fence

    return type("Sync", (Job,), {"name": name, "schedule": schedule, "run": run, **attributes})


def raising(*errors: Exception | None) -> Any:
    """A `run` that raises these one after another; None is a run that goes well, and so are all later ones."""
    left: Iterator[Exception | None] = iter(errors)

    async def run(self: Job) -> str:
        error = next(left, None)
        if error is not None:
            raise error
        return "well"

    return run


def told(runs: list[VirtualRun]) -> list[tuple[str, int, timedelta]]:
    """Status, attempt and begin of each, counted from the start."""
    return [(run.status.value, run.attempt, run.started_at - START) for run in runs]


def since_start(runs: list[VirtualRun]) -> list[timedelta]:
    return [run.scheduled_at - START for run in runs]


# moving time on


def test_what_comes_due_runs_at_its_moment_and_the_last_moment_is_included() -> None:
    with VirtualJobs([a_job("0 * * * *")], start=START) as jobs:
        jobs.advance(3 * HOUR)
        assert [run.scheduled_at for run in jobs.runs()] == [START + HOUR, START + 2 * HOUR, START + 3 * HOUR]
        assert [run.started_at for run in jobs.runs()] == [run.scheduled_at for run in jobs.runs()]
        assert [run.finished_at for run in jobs.runs()] == [run.scheduled_at for run in jobs.runs()]
        assert [run.result for run in jobs.runs()] == [1, 2, 3]
        assert jobs.now == START + 3 * HOUR
        assert jobs.next_run_at("sync") == START + 4 * HOUR


async def test_both_forms_show_the_same() -> None:
    async with VirtualJobs([a_job("0 * * * *")], start=START) as jobs:
        assert isinstance(jobs, AsyncTimeline)
        await jobs.advance("2 hours")
        await jobs.advance_to(START + 3 * HOUR)
        by_await = jobs.runs()

    def synchronous() -> list[VirtualRun]:
        with VirtualJobs([a_job("0 * * * *")], start=START) as jobs:
            assert isinstance(jobs, SyncTimeline)
            jobs.advance("2 hours")
            jobs.advance_to(START + 3 * HOUR)
            return jobs.runs()

    assert await asyncio.to_thread(synchronous) == by_await
    assert len(by_await) == 3


def test_a_job_is_called_where_the_same_job_is_called_on_a_server() -> None:
    called: dict[str, bool] = {}

    class Inline(Job):
        name, schedule = "inline", "now"

        async def run(self) -> None:
            called["inline"] = get_ident() == here

    class Threaded(Job):
        name, schedule = "threaded", "now"

        def run(self) -> None:
            called["threaded"] = get_ident() == here

    here = get_ident()
    with VirtualJobs([Inline, Threaded], start=START) as jobs:
        jobs.advance(0)
    assert called == {"inline": True, "threaded": False}


def test_runs_of_several_jobs_stand_in_the_order_of_virtual_time_and_of_priority() -> None:
    low = a_job("*/20 * * * *", name="low", priority=-10)
    high = a_job("*/30 * * * *", name="high", priority=10)
    with VirtualJobs([low, high], start=START) as jobs:
        jobs.advance(HOUR)
        assert [(run.name, run.started_at - START) for run in jobs.runs()] == [
            ("api:low", 20 * MINUTE),
            ("api:high", 30 * MINUTE),
            ("api:low", 40 * MINUTE),
            ("api:high", HOUR),
            ("api:low", HOUR),
        ]


def test_an_interval_counts_from_the_start() -> None:
    with VirtualJobs([a_job(timedelta(minutes=45))], start=START + timedelta(seconds=7)) as jobs:
        jobs.advance(2 * HOUR)
        assert since_start(jobs.runs()) == [timedelta(minutes=45, seconds=7), timedelta(minutes=90, seconds=7)]


def test_now_runs_once_at_the_start_and_manual_never() -> None:
    with VirtualJobs([a_job("now", name="hello"), a_job("manual")], start=START) as jobs:
        jobs.advance(90 * DAY)
        assert [(run.name, run.scheduled_at) for run in jobs.runs()] == [("api:hello", START)]


@pytest.mark.parametrize(
    ("moment", "begins"), [("2026-01-02T00:00Z", START + DAY), ("2025-12-31T00:00Z", START)], ids=["to come", "past"]
)
def test_once_runs_once_late_where_its_moment_is_past(moment: str, begins: datetime) -> None:
    with VirtualJobs([a_job(moment)], start=START) as jobs:
        jobs.advance(90 * DAY)
        assert [(run.scheduled_at, run.started_at) for run in jobs.runs()] == [(datetime.fromisoformat(moment), begins)]


def test_a_disabled_job_does_not_run_by_itself_but_when_somebody_asks() -> None:
    with VirtualJobs([a_job("0 * * * *", enabled=False)], start=START) as jobs:
        jobs.advance(DAY)
        assert jobs.runs() == []
        assert jobs.next_run_at("sync") is None
        assert jobs.run_now("sync").status == "completed"


def test_jitter_makes_a_run_late_and_leaves_its_occurrence() -> None:
    hourly = a_job(Schedule.parse("0 * * * *", jitter="10 minutes"))
    with VirtualJobs([hourly], start=START, random=Random(7).random) as jobs:
        jobs.advance(6 * HOUR)
        runs = jobs.runs()
        assert since_start(runs)[:5] == [HOUR, 2 * HOUR, 3 * HOUR, 4 * HOUR, 5 * HOUR]
        late = [run.started_at - run.scheduled_at for run in runs]
        assert all(timedelta() < each <= 10 * MINUTE for each in late)
        assert len(set(late)) == len(late)
    with VirtualJobs([hourly], start=START) as jobs:
        jobs.advance(HOUR)
        assert [run.started_at for run in jobs.runs()] == [START + HOUR]


def test_the_clock_shows_utc_and_whole_milliseconds_as_mongodb_keeps_them() -> None:
    start = datetime(2026, 1, 1, 1, 0, 0, 1_500, tzinfo=ZoneInfo("Europe/Berlin"))
    with VirtualJobs([a_job("now")], start=start) as jobs:
        jobs.advance(0)
        assert jobs.now == jobs.runs()[0].scheduled_at == START + timedelta(milliseconds=1)
        assert jobs.now.tzinfo is UTC


# asking for runs


def test_what_is_enqueued_runs_when_it_is_due_with_its_data() -> None:
    class Echo(Job):
        name, schedule = "echo", "manual"

        async def run(self, data: Any, context: Any) -> Any:
            return [data, context.name, context.attempt, context.scheduled_at]

    with VirtualJobs([Echo], start=START) as jobs:
        first = jobs.enqueue("echo", {"n": 1}, delay=HOUR)
        jobs.enqueue("echo", at=START + 30 * MINUTE)
        assert first != jobs.enqueue("api:echo", [2])
        jobs.advance(HOUR)
        assert [run.result for run in jobs.runs("echo")] == [
            [[2], "api:echo", 1, START],
            [{}, "api:echo", 1, START + 30 * MINUTE],
            [{"n": 1}, "api:echo", 1, START + HOUR],
        ]
        assert [run.data for run in jobs.runs()] == [[2], {}, {"n": 1}]
        assert jobs.runs()[-1].job_id == first


def test_of_what_is_due_the_higher_priority_begins_first_its_own_or_that_of_its_job() -> None:
    with VirtualJobs([a_job(name="low", priority=-10), a_job(name="normal")], start=START) as jobs:
        for name, priority in (("low", None), ("normal", None), ("low", 20)):
            jobs.enqueue(name, priority=priority)
        jobs.advance(0)
        assert [run.name for run in jobs.runs()] == ["api:low", "api:normal", "api:low"]


def test_while_one_of_a_unique_key_waits_there_is_no_second() -> None:
    with VirtualJobs([a_job()], start=START) as jobs:
        assert jobs.enqueue("sync", unique_key="k") == jobs.enqueue("sync", unique_key="k")
        jobs.advance(0)
        assert len(jobs.runs()) == 1
        jobs.enqueue("sync", unique_key="k")
        jobs.advance(0)
        assert len(jobs.runs()) == 2


def test_a_job_may_ask_for_the_next_one() -> None:
    timeline: list[SyncTimeline] = []

    class Chain(Job):
        name, schedule = "chain", "manual"

        async def run(self, data: Any) -> None:
            if data["left"]:
                timeline[0].enqueue("chain", {"left": data["left"] - 1}, delay=MINUTE)

    with VirtualJobs([Chain], start=START) as jobs:
        timeline.append(jobs)
        jobs.enqueue("chain", {"left": 3})
        jobs.advance(HOUR)
        assert since_start(jobs.runs()) == [timedelta(), MINUTE, 2 * MINUTE, 3 * MINUTE]


def test_run_now_returns_the_run_and_leaves_the_schedule_alone() -> None:
    with VirtualJobs([a_job("0 * * * *")], start=START, durations={"sync": "7 minutes"}) as jobs:
        run = jobs.run_now("sync")
        assert (run.status, run.started_at, run.finished_at) == ("completed", START, START + 7 * MINUTE)
        assert jobs.now == START + 7 * MINUTE
        assert jobs.next_run_at("sync") == START + HOUR


@pytest.mark.parametrize("limits", [{"concurrency": 2}, {"concurrency": 5, "global_concurrency": 2}], ids=str)
def test_no_more_runs_at_once_than_the_job_allows(limits: dict[str, int]) -> None:
    with VirtualJobs([a_job(**limits)], start=START, durations={"sync": "10 minutes"}) as jobs:
        for _ in range(5):
            jobs.enqueue("sync")
        jobs.advance(HOUR)
        assert [run.started_at - START for run in jobs.runs()] == [
            timedelta(), timedelta(), 10 * MINUTE, 10 * MINUTE, 20 * MINUTE
        ]  # fmt: skip


# how runs end


def test_retries_with_backoff_happen_in_virtual_time() -> None:
    flaky = a_job(retry=Retry(attempts=3, delay="60 seconds", factor=2), run=raising(*[ValueError("no")] * 9))
    with VirtualJobs([flaky], start=START) as jobs:
        jobs.enqueue("sync")
        jobs.advance(HOUR)
        assert told(jobs.runs()) == [
            ("failed", 1, timedelta()),
            ("failed", 2, timedelta(seconds=60)),
            ("failed", 3, timedelta(seconds=60 + 120)),
            ("failed", 4, timedelta(seconds=60 + 120 + 240)),
        ]
        assert [run.retry_at for run in jobs.runs()] == [*(run.started_at for run in jobs.runs()[1:]), None]
        assert {(run.error, run.result) for run in jobs.runs()} == {("no", None)}
        assert {run.scheduled_at for run in jobs.runs()} == {START}


def test_a_retry_that_goes_well_ends_the_retries_and_the_next_occurrence_has_all_of_them_again() -> None:
    run = raising(ValueError("a"), None, ValueError("b"), ValueError("c"), None)
    daily = a_job("0 12 * * *", retry=Retry(attempts=2, delay="1 minute", backoff="fixed"), run=run)
    with VirtualJobs([daily], start=START) as jobs:
        jobs.advance(2 * DAY)
        assert [(run.status, run.attempt, run.scheduled_at.day) for run in jobs.runs()] == [
            ("failed", 1, 1), ("completed", 2, 1), ("failed", 1, 2), ("failed", 2, 2), ("completed", 3, 2)
        ]  # fmt: skip


def test_the_next_occurrence_takes_the_place_of_a_retry_that_would_come_after_it() -> None:
    hourly = a_job("0 * * * *", retry=Retry(attempts=3, delay="2 hours"), run=raising(ValueError("no")))
    with VirtualJobs([hourly], start=START) as jobs:
        jobs.advance(2 * HOUR)
        assert told(jobs.runs()) == [("failed", 1, HOUR), ("completed", 1, 2 * HOUR)]


@pytest.mark.parametrize(
    ("error", "status", "attempts"),
    [
        (ValueError("no"), "failed", 1),
        (RetryableError("no"), "failed", 2),
        (FatalError("no"), "failed", 1),
        (JobCancelled("not needed"), "cancelled", 1),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_what_a_job_raises_decides_how_its_run_ends(error: Exception, status: str, attempts: int) -> None:
    with VirtualJobs([a_job(run=raising(error))], start=START) as jobs:
        run = jobs.run_now("sync")
        jobs.advance(HOUR)
        assert run.status == status
        assert (run.error or run.reason) == str(error)
        assert len(jobs.runs()) == attempts


def test_a_failure_carries_the_traceback_of_the_jobs_own_code() -> None:
    with VirtualJobs([a_job(run=raising(KeyError("amount")))], start=START) as jobs:
        run = jobs.run_now("sync")
        assert run.error == "KeyError: 'amount'"
        assert "raise error" in run.stack


def test_log_records_can_be_collected() -> None:
    class Speaks(Job):
        name, schedule = "speaks", "manual"

        def run(self, log: Any) -> None:
            log.info("halfway", {"rows": 3})  # noqa: PLE1205 - a job's log takes a mapping of fields

    with VirtualJobs([Speaks], start=START) as jobs, capture_logs() as records:
        jobs.run_now("speaks")
    (record,) = records
    assert (record["event"], record["rows"], record["job"]) == ("halfway", 3, "api:speaks")


def test_done_decides_as_on_a_server() -> None:
    class Callback(Job):
        name, schedule = "callback", "manual"

        def run(self, data: Any, done: Any) -> str:
            done(data.get("error"), "by done")
            return "by return"

    with VirtualJobs([Callback], start=START) as jobs:
        assert jobs.run_now("callback").result == "by done"
        assert jobs.run_now("callback", {"error": "no"}).error == "no"


def test_a_result_that_mongodb_could_not_store_fails_the_run_without_mongodb() -> None:
    with VirtualJobs([a_job(run=raising())], start=START) as jobs:
        assert jobs.run_now("sync").result == "well"

    class Stores(Job):
        name, schedule = "stores", "manual"

        async def run(self) -> Any:
            return {"rows": {1, 2}}

    with VirtualJobs([Stores], start=START) as jobs:
        assert "result.rows" in str(jobs.run_now("stores").error)


class Reports(Job):
    name, schedule = "reports", "manual"

    async def run(self, progress: Any) -> None:
        await self.touch()
        await progress(4, 1, "begun")
        await progress(4, 4)


class ReportsFromThread(Job):
    name, schedule = "reports", "manual"

    def run(self, progress: Any) -> None:
        self.touch()
        progress(4, 1, "begun")
        progress(4, 4)


@pytest.mark.parametrize("job", [Reports, ReportsFromThread], ids=["coroutine", "thread"])
def test_progress_is_kept_in_order(job: type[Job]) -> None:
    with VirtualJobs([job], start=START) as jobs:
        assert jobs.run_now("reports").progress == (
            ProgressReport(total=4, current=1, message="begun"),
            ProgressReport(total=4, current=4, message=None),
        )
        assert [report.percent for report in jobs.runs()[0].progress] == [25, 100]


def test_progress_that_is_none_fails_the_run_as_on_a_server() -> None:
    class Wrong(Job):
        name, schedule = "wrong", "manual"

        async def run(self, progress: Any) -> None:
            await progress(-1, 0)

    with VirtualJobs([Wrong], start=START) as jobs:
        run = jobs.run_now("wrong")
        assert (run.status, run.progress) == ("failed", ())


# virtual lengths


def test_an_occurrence_that_comes_due_during_a_run_is_skipped_and_recorded() -> None:
    with VirtualJobs([a_job("*/10 * * * *")], start=START, durations={"sync": "25 minutes"}) as jobs:
        jobs.advance(HOUR)
        assert told(jobs.runs()) == [
            ("completed", 1, 10 * MINUTE),
            ("skipped", 0, 35 * MINUTE),
            ("skipped", 0, 35 * MINUTE),
            ("running", 1, 40 * MINUTE),
        ]
        skipped = jobs.runs(status="skipped")
        assert since_start(skipped) == [20 * MINUTE, 30 * MINUTE]
        assert {run.reason for run in skipped} == {"the run before it was still under way"}


def test_all_catches_up_with_what_came_due_during_a_run() -> None:
    every = a_job(Schedule.parse("*/10 * * * *", misfire="all"))
    with VirtualJobs([every], start=START, durations={"sync": "25 minutes"}) as jobs:
        jobs.advance(10 * MINUTE)
        jobs.takes("sync", "1 minute")
        jobs.advance(35 * MINUTE)
        assert [(run.scheduled_at - START, run.started_at - START) for run in jobs.runs()] == [
            (10 * MINUTE, 10 * MINUTE),
            (20 * MINUTE, 35 * MINUTE),
            (30 * MINUTE, 36 * MINUTE),
            (40 * MINUTE, 40 * MINUTE),
        ]


def test_a_run_counts_when_its_length_is_over_and_backoff_counts_from_there() -> None:
    flaky = a_job(retry=Retry(attempts=1, delay="1 minute"), run=raising(ValueError("no")))
    with VirtualJobs([flaky], start=START, durations={"sync": "5 minutes"}) as jobs:
        jobs.enqueue("sync")
        jobs.advance("4 minutes")
        (run,) = jobs.runs()
        assert (run.status, run.finished_at, run.error) == ("running", None, None)
        jobs.advance(HOUR)
        assert told(jobs.runs()) == [("failed", 1, timedelta()), ("completed", 2, 6 * MINUTE)]


# away


@pytest.mark.parametrize(
    ("misfire", "ran", "skipped"),
    [
        ("latest", [12], [6, 7, 8, 9, 10, 11]),
        ("skip", [], [6, 7, 8, 9, 10, 11, 12]),
        ("all", [6, 7, 8, 9, 10, 11, 12], []),
        ("all(max=3)", [10, 11, 12], [6, 7, 8, 9]),
    ],
)
def test_misfire_says_what_becomes_of_what_was_missed(misfire: str, ran: list[int], skipped: list[int]) -> None:
    with VirtualJobs([a_job(Schedule.parse("0 * * * *", misfire=misfire))], start=START) as jobs:
        jobs.advance(5 * HOUR)
        jobs.down(7 * HOUR + 30 * MINUTE)
        before = jobs.runs()
        assert len(before) == 5  # nothing is judged before time is moved on
        jobs.advance(HOUR)
        later = jobs.runs()[len(before) :]
        assert [run.scheduled_at.hour for run in later if run.status == "completed"] == [*ran, 13]
        assert [run.scheduled_at.hour for run in later if run.status == "skipped"] == skipped
        assert all(run.attempt == (run.status == "completed") for run in later)
        assert {run.started_at for run in later if run.scheduled_at.hour < 13} == {START + 12 * HOUR + 30 * MINUTE}


def test_a_short_absence_is_within_the_grace() -> None:
    with VirtualJobs([a_job(Schedule.parse("0 * * * *", misfire="skip"))], start=START) as jobs:
        jobs.advance(59 * MINUTE + timedelta(seconds=30))
        jobs.down("1 minute")
        jobs.advance(0)
        assert told(jobs.runs()) == [("completed", 1, HOUR + timedelta(seconds=30))]


def test_a_retry_of_a_run_that_caught_up_is_for_the_same_occurrence() -> None:
    hourly = a_job("0 * * * *", retry=Retry(attempts=1, delay="1 minute"), run=raising(ValueError("no")))
    with VirtualJobs([hourly], start=START) as jobs:
        jobs.down(3 * HOUR)
        jobs.advance("5 minutes")
        assert since_start(jobs.runs()) == [HOUR, 2 * HOUR, 3 * HOUR, 3 * HOUR]
        assert told(jobs.runs())[2:] == [("failed", 1, 3 * HOUR), ("completed", 2, 3 * HOUR + MINUTE)]


def test_of_very_many_the_last_skipped_entry_stands_for_the_rest() -> None:
    with VirtualJobs([a_job("* * * * *")], start=START) as jobs:
        jobs.down(2 * DAY)
        jobs.advance(0)
        *_, last, ran = jobs.runs()
        assert (last.status, last.skipped_until) == ("skipped", ran.scheduled_at)
        assert ran.scheduled_at == START + 2 * DAY


def test_a_run_under_way_when_the_server_goes_begins_anew_and_its_attempt_does_not_count() -> None:
    with VirtualJobs([a_job()], start=START, durations={"sync": HOUR}) as jobs:
        jobs.enqueue("sync")
        jobs.advance(30 * MINUTE)
        jobs.down(2 * HOUR)
        assert jobs.runs() == []
        jobs.advance(2 * HOUR)
        assert told(jobs.runs()) == [("completed", 1, 2 * HOUR + 30 * MINUTE)]
        assert jobs.runs()[0].result == 2  # the second claim


# which jobs there are


def test_a_folder_of_job_files_is_loaded_with_the_names_that_a_server_gives(tmp_path: Path) -> None:
    folder = tmp_path / "plugins" / "billing" / "jobs"
    folder.mkdir(parents=True)
    (folder / "dunning.py").write_text(
        dedent("""
        from jobserver import Job

        class Dunning(Job):
            schedule = "@daily"

            async def run(self):
                return "sent"
        """)
    )
    (folder / "_texts.py").write_text("raise SystemExit")
    with VirtualJobs([a_job("@daily")], jobs_dir=folder, start=START) as jobs:
        jobs.advance(DAY)
        assert sorted(run.name for run in jobs.runs()) == ["api:sync", "billing:dunning"]
        assert jobs.runs("dunning") == jobs.runs("billing:dunning")


def test_a_short_name_that_two_jobs_have_names_neither() -> None:
    with VirtualJobs([a_job(name="a:sync"), a_job(name="b:sync")], start=START) as jobs:
        with pytest.raises(UnknownJob, match=r"did you mean '.:sync'"):
            jobs.runs("sync")
        assert jobs.run_now("b:sync").name == "b:sync"


def test_a_job_file_that_is_none_is_refused_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("import no_such_module")
    with pytest.raises(FileRejected, match="no_such_module"):
        VirtualJobs(jobs_dir=tmp_path, start=START)
    with pytest.raises(ConfigError, match="is not a folder"):
        VirtualJobs(jobs_dir=tmp_path / "jobz", start=START)


def test_a_config_document_overrides_the_class() -> None:
    configs = {"sync": {"schedule": {"type": "interval", "value": 3_600_000}, "retry": 1}}
    with VirtualJobs([a_job("@daily", run=raising(ValueError("no")))], start=START, configs=configs) as jobs:
        jobs.advance(HOUR + 5 * MINUTE)
        assert told(jobs.runs()) == [("failed", 1, HOUR), ("completed", 2, HOUR + 5 * MINUTE)]


def test_entered_again_time_starts_anew() -> None:
    virtual = VirtualJobs([a_job("0 * * * *")], start=START)
    for _ in range(2):
        with virtual as jobs:
            jobs.advance(HOUR)
            assert [run.result for run in jobs.runs()] == [1]


class NoRun(Job):
    schedule = "manual"


@pytest.mark.parametrize(
    ("make", "kind", "says"),
    [
        (lambda: VirtualJobs([NoRun], start=START), DefinitionError, "must define a method `run`"),
        (lambda: VirtualJobs([a_job("every mondy")], start=START), DefinitionError, "did you mean 'monday'"),
        (lambda: VirtualJobs([a_job(), a_job()], start=START), DefinitionError, "give each a `name` of its own"),
        (lambda: VirtualJobs([NoRun()], start=START), ConfigError, "pass the classes themselves"),  # type: ignore[list-item]
        (lambda: VirtualJobs([], start=NAIVE), ConfigError, "tzinfo=UTC"),
        (lambda: VirtualJobs([], start="2026-01-01"), ConfigError, "is not a datetime"),  # type: ignore[arg-type]
        (lambda: VirtualJobs([a_job()], start=START, durations={"snyc": 1}), UnknownJob, "did you mean 'sync'"),
        (lambda: VirtualJobs([a_job()], start=START, durations={"sync": "long"}), ConfigError, "durations.sync"),
        (lambda: VirtualJobs([a_job()], start=START, configs={"snyc": {}}), UnknownJob, "did you mean 'sync'"),
        (lambda: VirtualJobs([a_job()], start=START, configs={"sync": {"prioriti": 1}}), ConfigError, "'priority'"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_runs(make: Any, kind: type[Exception], says: str) -> None:
    with pytest.raises(kind) as caught:
        make()
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("ask", "kind", "says"),
    [
        (lambda jobs: jobs.advance(-HOUR), ConfigError, "virtual time only goes on"),
        (lambda jobs: jobs.advance("soon"), ConfigError, "advance"),
        (lambda jobs: jobs.advance_to(START - HOUR), ConfigError, "virtual time only goes on"),
        (lambda jobs: jobs.advance_to(NAIVE), ConfigError, "has no time zone"),
        (lambda jobs: jobs.down(-HOUR), ConfigError, "virtual time only goes on"),
        (lambda jobs: jobs.runs("snyc"), UnknownJob, "did you mean 'sync'"),
        (lambda jobs: jobs.runs(status="complete"), ConfigError, "did you mean 'completed'"),
        (lambda jobs: jobs.next_run_at("snyc"), UnknownJob, "did you mean 'sync'"),
        (lambda jobs: jobs.takes("snyc", HOUR), UnknownJob, "did you mean 'sync'"),
        (lambda jobs: jobs.enqueue("api:snyc"), UnknownJob, "did you mean 'api:sync'"),
        (lambda jobs: jobs.enqueue("sync", {"rows": {1}}), DataError, "data.rows"),
        (lambda jobs: jobs.enqueue("sync", delay=HOUR, at=START), DataError, "not both"),
        (lambda jobs: jobs.run_now("paused"), ConfigError, "its concurrency is 0"),
        (lambda jobs: jobs.db, ConfigError, "database='embedded'"),
    ],
)
def test_what_makes_no_sense_is_refused_and_changes_nothing(ask: Any, kind: type[Exception], says: str) -> None:
    with VirtualJobs([a_job("0 * * * *"), a_job(name="paused", concurrency=0)], start=START) as jobs:
        with pytest.raises(kind) as caught:
            ask(jobs)
        assert says in str(caught.value)
        assert (jobs.now, jobs.runs()) == (START, [])


async def test_plain_with_beside_a_running_loop_names_the_other_form() -> None:
    with pytest.raises(ConfigError, match="async with"), VirtualJobs([], start=START):
        pass


def test_a_job_that_asks_for_db_where_there_is_none_is_told_the_fix_and_does_not_fail() -> None:
    class Wants(Job):
        name, schedule = "wants", "@daily"

        async def run(self, db: Any) -> None: ...

    with VirtualJobs([Wants], start=START) as jobs:
        with pytest.raises(ConfigError, match=r"api:wants asks for `db`.*database='embedded'"):
            jobs.advance(DAY)
        assert jobs.runs() == []


def test_a_handle_of_the_tests_own_is_lent_as_it_is() -> None:
    class Wants(Job):
        name, schedule = "wants", "manual"

        def run(self, db: Any) -> Any:
            return db["answer"]

    with VirtualJobs([Wants], start=START, database={"answer": 42}) as jobs:
        assert jobs.run_now("wants").result == 42
        assert jobs.db == {"answer": 42}


def test_a_text_that_names_no_database_is_refused() -> None:
    with (
        pytest.raises(ConfigError, match="did you mean 'embedded'"),
        VirtualJobs([], start=START, database="embeded"),
    ):
        pass


async def test_a_job_cannot_move_time_on() -> None:
    refused: list[str] = []

    class Impatient(Job):
        name, schedule = "impatient", "now"
        timeline: ClassVar[AsyncTimeline]

        async def run(self) -> None:
            with pytest.raises(ConfigError) as caught:
                await self.timeline.advance(HOUR)
            refused.append(caught.value.message)

    async with VirtualJobs([Impatient], start=START) as jobs:
        Impatient.timeline = jobs
        await jobs.advance(0)
    assert refused == ["time is being moved on already; a job cannot do it, nor two at once"]


async def test_a_test_that_is_cancelled_ends_the_job_that_hangs() -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    class Hangs(Job):
        name, schedule = "hangs", "now"

        async def run(self) -> None:
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

    async with VirtualJobs([Hangs], start=START) as jobs:
        advancing = asyncio.create_task(jobs.advance(HOUR))
        await begun.wait()
        advancing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await advancing
        assert ended.is_set()


def test_without_a_database_no_driver_is_imported() -> None:
    program = dedent("""
        import sys
        from datetime import UTC, datetime
        from jobserver import Job
        from jobserver.testing import VirtualJobs

        class Hello(Job):
            name, schedule = "hello", "now"
            async def run(self, data, progress):
                await progress(1, 1)
                return {"said": "hello"}

        with VirtualJobs([Hello], start=datetime(2026, 1, 1, tzinfo=UTC)) as jobs:
            jobs.enqueue("hello", {"to": "all"})
            jobs.advance("1 day")
            assert len(jobs.runs(status="completed")) == 2
        assert not {"pymongo", "motor"} & set(sys.modules), sorted(sys.modules)
        """)
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


async def test_a_run_learns_when_the_job_last_went_well() -> None:
    seen: list[datetime | None] = []

    async def run(self: Job) -> None:
        seen.append(self.context.last_completed_at)
        if len(seen) == 2:
            raise RuntimeError("this time not")

    job = type("Sync", (Job,), {"name": "sync", "schedule": "0 6 * * *", "run": run})
    async with VirtualJobs([job], start=START) as jobs:
        await jobs.advance(3 * DAY)
    first = START + 6 * HOUR
    assert seen == [None, first, first]
