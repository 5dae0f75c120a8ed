"""How a run ended → what becomes of its document: the rules, without a database."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from bson import Decimal128, ObjectId
from bson.datetime_ms import DatetimeMS

from jobserver.definition import JobDefaults, JobDefinition, JobSettings
from jobserver.errors import DataError, FatalError, JobCancelled, LockLost, RetryableError
from jobserver.execution import Outcome, OutcomeKind
from jobserver.execution.outcome import completed, failed, interrupted
from jobserver.job import Job
from jobserver.retry import Retry
from jobserver.runner.pulse.foreign import own_recurrence, own_retry
from jobserver.runner.pulse.jobs import KnownJob
from jobserver.runner.pulse.run import Run, Stop, idempotency_key
from jobserver.runner.pulse.verdict import MAX_RESULT_BYTES, judge
from jobserver.schedule import Schedule
from jobserver.store.claims import as_claimed
from jobserver.store.documents import ABSENT, Settlement
from jobserver.store.states import Transition

NOW = datetime(2026, 5, 1, 12, 0, 30, tzinfo=UTC)
DUE = datetime(2026, 5, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
RECURRING = {"type": "single", "scheduleKey": "k"}
MANUAL = Schedule.parse("manual")
EVERY_MINUTE = Schedule.parse("* * * * *")
MINUTES_RETRY = Retry(attempts=3, delay=MINUTE, backoff="fixed")


def no_luck() -> float:
    raise AssertionError("asked for a random number where there is no jitter")


def a_run(
    document: Mapping[str, Any] | None = None,
    *,
    schedule: Schedule = MANUAL,
    retry: Retry = Retry.OFF,
    attempt: int = 1,
    clock: Callable[[], float] = lambda: 0.0,
) -> Run:
    """A run of a document that was claimed half a minute ago."""
    claimed = {"_id": 7, "name": "job", "lockToken": "t", "fence": 3, "attempt": attempt, "lastRunAt": DUE}
    settings = JobSettings(
        schedule=schedule,
        enabled=True,
        retry=retry,
        priority=0,
        concurrency=1,
        global_concurrency=None,
        lock_lifetime=MINUTE,
    )
    definition = JobDefinition(
        name="job",
        path="job.py",
        checksum="c",
        job_class=Job,
        is_async=True,
        wants=(),
        defaults=JobDefaults(schedule=schedule),
    )
    nothing: Any = None
    job = as_claimed({**claimed, "scheduledFor": DUE, **(document or {})})
    return Run(job, KnownJob(definition, settings), store=nothing, databases=nothing, server="here", monotonic=clock)


def verdict(run: Run, outcome: Outcome, *, now: datetime = NOW) -> Settlement:
    return judge(run, outcome, now=lambda: now, random=no_luck)


def test_a_result_completes_the_document() -> None:
    told = verdict(a_run(), completed({"rows": 3}))
    assert (told.transition, told.result, told.next_run_at, told.error) == (
        Transition.COMPLETE,
        {"rows": 3},
        None,
        None,
    )


@pytest.mark.parametrize("result", [0, False, "", [], {}], ids=repr)
def test_a_falsy_result_is_a_result(result: Any) -> None:
    assert verdict(a_run(), completed(result)).result == result


def test_no_result_is_absent() -> None:
    assert verdict(a_run(), completed(None)).result is ABSENT


@pytest.mark.parametrize(
    ("result", "says"),
    [
        ({"rows": [1, {2}]}, "result.rows[1]"),
        ({"when": date(2026, 1, 1)}, "result.when"),
        (object(), "result cannot be stored"),
        ("x" * (MAX_RESULT_BYTES + 1), "result takes 1,048,"),
        ("lone \ud800", "result cannot be stored"),
        (2**64, "result cannot be stored"),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 40 else "",
)
def test_a_result_that_cannot_be_stored_fails_the_run_for_good_with_that_reason(result: Any, says: str) -> None:
    told = verdict(a_run(retry=MINUTES_RETRY), completed(result))
    assert told.transition is Transition.FAIL
    assert told.error is not None
    assert told.error.message.startswith(says)


def test_a_result_nested_too_deep_fails_the_run() -> None:
    result: Any = []
    for _ in range(150):
        result = [result]
    assert verdict(a_run(), completed({"deep": [result] * 20})).transition is Transition.FAIL


class Moody(Mapping[str, Any]):
    """Looks like data and fails when it is read."""

    def __getitem__(self, key: str) -> Any:
        raise RuntimeError("not today")

    def __iter__(self) -> Iterator[str]:
        raise RuntimeError("not today")

    def __len__(self) -> int:
        return 1


def test_a_result_that_fails_when_it_is_read_fails_the_run() -> None:
    told = verdict(a_run(), completed({"mood": Moody()}))
    assert told.transition is Transition.FAIL
    assert told.error is not None
    assert told.error.message.startswith("result.mood")


def test_what_the_job_cancels_is_cancelled_with_its_reason() -> None:
    told = verdict(a_run(retry=MINUTES_RETRY), failed(JobCancelled("not needed")))
    assert (told.transition, told.reason, told.error) == (Transition.CANCEL, "not needed", None)


@pytest.mark.parametrize(
    ("error", "retry", "attempt", "wait"),
    [
        (ValueError("x"), Retry.OFF, 1, None),
        (ValueError("x"), MINUTES_RETRY, 1, MINUTE),
        (ValueError("x"), MINUTES_RETRY, 3, MINUTE),
        (ValueError("x"), MINUTES_RETRY, 4, None),
        (ValueError("x"), Retry(attempts=3, delay=MINUTE, factor=2), 3, 4 * MINUTE),
        (SystemExit(1), MINUTES_RETRY, 1, MINUTE),
        (FatalError("x"), MINUTES_RETRY, 1, None),
        (DataError("x"), MINUTES_RETRY, 1, None),
        (RetryableError("x"), Retry.OFF, 1, 5 * MINUTE),
        (RetryableError("x"), Retry.OFF, 3, 5 * MINUTE),
        (RetryableError("x"), Retry.OFF, 4, None),
        (RetryableError("x"), MINUTES_RETRY, 2, MINUTE),
        (RetryableError("x"), MINUTES_RETRY, 4, None),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, (BaseException, Retry)) else str(value),
)
def test_an_error_is_tried_again_as_its_kind_and_the_policy_say(
    error: BaseException, retry: Retry, attempt: int, wait: timedelta | None
) -> None:
    told = verdict(a_run(retry=retry, attempt=attempt), failed(error))
    assert told.transition is (Transition.FAIL if wait is None else Transition.RETRY)
    assert told.retry_in == wait
    assert told.error is not None
    assert told.error.message


def test_a_run_that_was_interrupted_without_a_reason_of_ours_has_failed() -> None:
    told = verdict(a_run(), interrupted())
    assert told.transition is Transition.FAIL
    assert told.error is not None
    assert told.error.message == "interrupted"


@pytest.mark.parametrize("stop", [Stop.SHUTDOWN, Stop.LOCK_LOST])
@pytest.mark.parametrize("outcome", [interrupted(), failed(ValueError("x")), failed(JobCancelled("x"))], ids=str)
def test_a_run_that_was_stopped_goes_back_without_counting(stop: Stop, outcome: Outcome) -> None:
    run = a_run(RECURRING, schedule=EVERY_MINUTE, retry=MINUTES_RETRY)
    run.mark(stop, "we stop")
    told = verdict(run, outcome)
    assert (told.transition, told.error, told.next_run_at) == (Transition.RELEASE, None, None)


def test_a_run_that_was_stuck_counts_as_a_crash() -> None:
    run = a_run()
    run.mark(Stop.STUCK, "no progress")
    run.mark(Stop.SHUTDOWN, "later")
    told = verdict(run, interrupted())
    assert (told.transition, told.reason) == (Transition.REAP, "no progress")
    assert told.error is not None
    assert told.error.message == "no progress"


@pytest.mark.parametrize("outcome", [interrupted(), failed(ValueError("x")), completed("at last")], ids=str)
def test_a_run_that_somebody_cancelled_is_cancelled_whatever_it_says_at_last(outcome: Outcome) -> None:
    run = a_run(RECURRING, schedule=EVERY_MINUTE, retry=MINUTES_RETRY)
    run.mark(Stop.CANCELLED, "cancelled by a client")
    told = verdict(run, outcome)
    assert (told.transition, told.reason, told.next_run_at) == (
        Transition.CANCEL,
        "cancelled by a client",
        DUE + MINUTE,
    )


@pytest.mark.parametrize("outcome", [interrupted(), failed(ValueError("x")), completed("at last")], ids=str)
def test_a_run_over_its_time_has_failed_and_is_retried_like_any_failure(outcome: Outcome) -> None:
    run = a_run(retry=MINUTES_RETRY)
    run.mark(Stop.OVERTIME, "it took too long")
    told = verdict(run, outcome)
    assert (told.transition, told.retry_in) == (Transition.RETRY, MINUTE)
    assert told.error is not None
    assert told.error.message == "it took too long"


def test_a_process_that_ended_with_its_lock_counts_as_a_crash_like_any_stuck_run() -> None:
    told = verdict(a_run(retry=MINUTES_RETRY), interrupted(LockLost("job", 7, "no sign of life")))
    assert (told.transition, told.reason) == (Transition.REAP, "no sign of life")


def test_a_lost_lock_is_the_last_word_on_why_a_run_was_stopped() -> None:
    run = a_run()
    run.mark(Stop.CANCELLED, "cancelled by a client")
    run.mark(Stop.LOCK_LOST, "its document is gone")
    run.mark(Stop.OVERTIME, "later")
    assert verdict(run, interrupted()).transition is Transition.RELEASE


@pytest.mark.parametrize("stop", [Stop.LOCK_LOST, Stop.STUCK, Stop.SHUTDOWN])
def test_a_run_that_came_to_its_result_all_the_same_is_completed(stop: Stop) -> None:
    run = a_run()
    run.mark(stop, "we stop")
    assert run.cancelled
    assert verdict(run, completed("just in time")).transition is Transition.COMPLETE


@pytest.mark.parametrize(
    ("schedule", "upcoming"),
    [
        ("* * * * *", DUE + MINUTE),
        ("0 * * * *", DUE + 60 * MINUTE),
        ("manual", None),
        ("now", None),
        ("2026-05-01T12:00Z", None),
        ("2026-05-01T12:05Z", DUE + 5 * MINUTE),
    ],
)
@pytest.mark.parametrize("outcome", [completed(1), failed(FatalError("x")), failed(JobCancelled("x"))], ids=str)
def test_the_holder_goes_on_to_its_next_moment_however_the_run_ended(
    schedule: str, upcoming: datetime | None, outcome: Outcome
) -> None:
    assert verdict(a_run(RECURRING, schedule=Schedule.parse(schedule)), outcome).next_run_at == upcoming


def test_an_interval_counts_from_its_anchor_and_not_from_when_it_ran() -> None:
    anchored = {**RECURRING, "anchorAt": DUE - timedelta(seconds=7)}
    every = Schedule.parse("20 seconds")
    assert verdict(a_run(anchored, schedule=every), completed(1)).next_run_at == NOW + timedelta(seconds=3)
    for anchor in (None, "yesterday", DatetimeMS(2**60)):
        run = a_run({**RECURRING, "anchorAt": anchor}, schedule=every)
        assert verdict(run, completed(1)).next_run_at == NOW + timedelta(seconds=10)


def test_the_moment_that_has_just_run_does_not_come_again_although_the_clock_here_lags() -> None:
    run = a_run(RECURRING, schedule=EVERY_MINUTE)
    assert verdict(run, completed(1), now=DUE - timedelta(seconds=2)).next_run_at == DUE + MINUTE


def test_what_was_missed_meanwhile_is_named_once() -> None:
    run = a_run(RECURRING, schedule=EVERY_MINUTE)
    late = NOW + 5 * MINUTE
    told = verdict(run, completed(1), now=late)
    assert told.next_run_at == DUE + 6 * MINUTE
    assert [skipped.at for skipped in told.skipped] == [DUE + number * MINUTE for number in range(1, 6)]
    assert verdict(run, completed(1)).skipped == ()


def test_no_occurrence_is_left_out_where_all_are_caught_up_with_and_a_retry_comes_before_the_next() -> None:
    every = Schedule.parse("* * * * *", misfire="all")
    retry = Retry(attempts=3, delay=timedelta(seconds=40))
    told = verdict(a_run(RECURRING, schedule=every), completed(1), now=NOW + 5 * MINUTE)
    assert (told.next_run_at, told.skipped) == (DUE + MINUTE, ())
    told = verdict(a_run(RECURRING, schedule=every, retry=retry), failed(ValueError("x")), now=NOW + 5 * MINUTE)
    assert told.transition is Transition.RETRY


def test_jitter_moves_the_document_and_remembers_the_occurrence() -> None:
    run = a_run(RECURRING, schedule=Schedule.parse("* * * * *", jitter="30 seconds"))
    told = judge(run, completed(1), now=lambda: NOW, random=lambda: 0.5)
    assert told.occurrence_at == DUE + MINUTE
    assert told.next_run_at == DUE + MINUTE + timedelta(seconds=15)


def test_a_retry_that_the_next_occurrence_would_overtake_is_none() -> None:
    soon = a_run(RECURRING, schedule=EVERY_MINUTE, retry=Retry(attempts=3, delay=timedelta(seconds=20)))
    assert verdict(soon, failed(ValueError("x"))).transition is Transition.RETRY
    late = a_run(RECURRING, schedule=EVERY_MINUTE, retry=Retry(attempts=3, delay=timedelta(seconds=40)))
    told = verdict(late, failed(ValueError("x")))
    assert (told.transition, told.next_run_at) == (Transition.FAIL, DUE + MINUTE)


def test_the_duration_is_counted_on_a_clock_that_nobody_sets() -> None:
    moments = iter([10.0, 12.5])
    assert verdict(a_run(clock=lambda: next(moments)), completed(1)).duration == timedelta(seconds=2.5)


def test_a_run_is_stuck_a_lock_lifetime_after_its_last_sign_of_life() -> None:
    now = [100.0]
    run = a_run(clock=lambda: now[0])
    now[0] += 60
    assert not run.is_stuck()
    now[0] += 0.1
    assert run.is_stuck()


def test_every_attempt_at_one_occurrence_has_the_same_key() -> None:
    first, second = (a_run(RECURRING, attempt=attempt).job for attempt in (1, 2))
    later = a_run({**RECURRING, "scheduledFor": DUE + MINUTE}).job
    assert idempotency_key(first) == idempotency_key(second) != idempotency_key(later)
    single = a_run({"type": "normal", "_id": ObjectId("6" * 24)}).job
    assert idempotency_key(single) == "6" * 24


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"attempts": 3}, [1, 2, 4]),
        ({"attempts": 2, "backoff": {"type": "exponential", "delay": 500}}, [0.5, 1]),
        ({"attempts": 2, "backoff": {"type": "fixed", "delay": 500}}, [0.5, 0.5]),
        ({"attempts": 2, "backoff": {"type": "linear", "delay": 500}}, [0.5, 1]),
        ({"attempts": 2, "backoff": "soon"}, [1, 2]),
        ({"attempts": 2, "backoff": None}, [1, 2]),
        ({"attempts": 2, "backoff": {}}, [1, 2]),
        ({}, None),
        ({"attempts": 0}, None),
        ({"attempts": -1}, None),
        ({"attempts": True}, None),
        ({"attempts": "3"}, None),
        ({"attempts": 10**6}, None),
        ({"attempts": 3, "backoff": {"type": "wild"}}, None),
        ({"attempts": 3, "backoff": {"delay": -1}}, None),
        ({"attempts": 3, "backoff": {"delay": float("nan")}}, None),
        ({"attempts": 3, "backoff": {"delay": Decimal128("1")}}, None),
    ],
    ids=str,
)
def test_a_pulse_document_brings_its_own_retries(document: dict[str, Any], expected: list[float] | None) -> None:
    policy = own_retry(document)
    if expected is None:
        assert policy is None
        return
    assert policy is not None
    waits = [policy.delay_before(retry, random=no_luck) for retry in range(1, len(expected) + 1)]
    assert waits == [timedelta(seconds=wait) for wait in expected]
    assert policy.delay_before(len(expected) + 1, random=no_luck) is None


def test_the_retries_of_a_document_go_before_those_of_its_job() -> None:
    told = verdict(a_run({"attempts": 1, "backoff": {"delay": 250}}, retry=MINUTES_RETRY), failed(ValueError("x")))
    assert told.retry_in == timedelta(milliseconds=250)
    unreadable = verdict(a_run({"attempts": "many"}, retry=MINUTES_RETRY), failed(ValueError("x")))
    assert unreadable.retry_in == MINUTE


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"repeatInterval": "*/10 * * * *"}, DUE + 10 * MINUTE),
        ({"repeatInterval": "0 9 * * *", "repeatTimezone": "Asia/Tokyo"}, datetime(2026, 5, 2, tzinfo=UTC)),
        ({"repeatInterval": "0 9 * * *", "repeatTimezone": ""}, datetime(2026, 5, 2, 9, tzinfo=UTC)),
        ({"repeatInterval": "0 9 * * *", "repeatTimezone": 7}, datetime(2026, 5, 2, 9, tzinfo=UTC)),
        ({"repeatInterval": "3 minutes"}, DUE + 3 * MINUTE),
        ({"repeatInterval": 180_000}, DUE + 3 * MINUTE),
        ({"repeatInterval": 180_000.0}, DUE + 3 * MINUTE),
        ({}, None),
        ({"repeatInterval": None}, None),
        ({"repeatInterval": "whenever"}, None),
        ({"repeatInterval": True}, None),
        ({"repeatInterval": float("nan")}, None),
        ({"repeatInterval": -1}, None),
        ({"repeatInterval": ["* * * * *"]}, None),
        ({"repeatInterval": {"every": 1}}, None),
        ({"repeatInterval": "* * * * *", "repeatTimezone": "Nowhere/Land"}, None),
        ({"repeatInterval": "* * * * *", "scheduleKey": "ours"}, None),
    ],
    ids=str,
)
def test_a_pulse_document_brings_its_own_recurrence(document: dict[str, Any], expected: datetime | None) -> None:
    schedule = own_recurrence(document)
    assert (schedule and schedule.next_after(NOW, anchor=DUE)) == expected
    if expected is not None:
        told = verdict(a_run({"type": "normal", **document}, schedule=EVERY_MINUTE), completed(1))
        assert told.next_run_at == expected
        assert told.skipped == ()


@pytest.mark.parametrize("kind", list(OutcomeKind))
def test_no_document_that_a_hand_could_write_keeps_a_run_from_its_verdict(kind: OutcomeKind) -> None:
    strange: list[Any] = [None, "x", -1, 2**62, 0.5, float("nan"), [], {}, NOW, DatetimeMS(2**62), Decimal128("9")]
    fields = ("scheduledFor", "anchorAt", "repeatInterval", "repeatTimezone", "attempts", "backoff", "type", "data")
    error = None if kind is OutcomeKind.COMPLETED else ValueError("x")
    for field in fields:
        for value in strange:
            run = a_run({**RECURRING, field: value}, schedule=EVERY_MINUTE, retry=MINUTES_RETRY)
            assert verdict(run, Outcome(kind, None, error)).job is run.job
            assert run.context.name == "job"
