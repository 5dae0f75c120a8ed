"""How a run ended → what becomes of its document: pure rules, no I/O."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import assert_never

from jobserver.errors import DataError, FatalError, JobCancelled, LockLost, OutOfTime, RetryableError, ScheduleError
from jobserver.execution import Outcome, OutcomeKind
from jobserver.execution.outcome import failed
from jobserver.retry import Retry
from jobserver.runner.pulse.foreign import own_retry
from jobserver.runner.pulse.misfire import catches_up, following, overlapped
from jobserver.runner.pulse.recurrence import Recurrence, recurrence
from jobserver.runner.pulse.run import Run, Stop
from jobserver.store.documents import ABSENT, ClaimedJob, ErrorRecord, Settlement
from jobserver.store.enqueue import as_stored
from jobserver.store.states import Transition

MAX_RESULT_BYTES = 1024 * 1024
GIVEN_BACK = (Stop.LOCK_LOST, Stop.STUCK, Stop.SHUTDOWN)


def judge(run: Run, outcome: Outcome, *, now: Callable[[], datetime], random: Callable[[], float]) -> Settlement:
    """The settlement of a run that still holds its lock."""
    settlement = _judge(run, outcome, now=now, random=random)
    settlement.steps = run.steps
    return settlement


def _judge(run: Run, outcome: Outcome, *, now: Callable[[], datetime], random: Callable[[], float]) -> Settlement:
    if run.stop is None and outcome.kind is OutcomeKind.INTERRUPTED and isinstance(outcome.error, LockLost):
        run.mark(Stop.STUCK, outcome.error.reason)  # its process was ended with its lock, before anybody here looked
    outcome = _told(run, outcome)
    if run.stop in GIVEN_BACK and outcome.kind is not OutcomeKind.COMPLETED:
        return _given_back(run)
    outcome = _storable(outcome)
    follows = _followed(run)
    if follows is None:
        return _settlement(run, outcome, None, now=now, random=random)
    upcoming = following(follows, run.job.scheduled_at, now())
    settlement = _settlement(run, outcome, None if catches_up(follows) else upcoming, now=now, random=random)
    if settlement.transition is not Transition.RETRY:
        settlement.next_run_at = upcoming
        settlement.skipped = overlapped(follows, run.job.scheduled_at, upcoming)
        if upcoming is not None and follows.schedule.jitter:
            settlement.next_run_at = follows.schedule.jittered(upcoming, random())
            settlement.occurrence_at = upcoming
    return settlement


def _followed(run: Run) -> Recurrence | None:
    """Nothing where it cannot be read: the run was not begun, and fails for that reason."""
    try:
        return recurrence(run.job, run.known.settings.schedule)
    except ScheduleError:
        return None


def _settlement(
    run: Run,
    outcome: Outcome,
    retry_until: datetime | None,
    *,
    now: Callable[[], datetime],
    random: Callable[[], float],
) -> Settlement:
    match outcome.kind:
        case OutcomeKind.COMPLETED:
            result = ABSENT if outcome.result is None else outcome.result
            return Settlement(job=run.job, transition=Transition.COMPLETE, duration=run.elapsed(), result=result)
        case OutcomeKind.CANCELLED:
            return Settlement(job=run.job, transition=Transition.CANCEL, duration=run.elapsed(), reason=outcome.message)
        case OutcomeKind.SKIPPED:
            return Settlement(job=run.job, transition=Transition.SKIP, duration=timedelta(), reason=run.stop_reason)
        case OutcomeKind.FAILED | OutcomeKind.INTERRUPTED:
            return _failed(run, outcome, retry_until, now=now, random=random)
        case _:
            assert_never(outcome.kind)


def retry_delay(
    job: ClaimedJob, error: BaseException | None, policy: Retry, random: Callable[[], float]
) -> timedelta | None:
    """The wait before the next attempt; None when there is none."""
    if isinstance(error, FatalError | DataError | ScheduleError):
        return None
    policy = own_retry(job.document) or policy
    if isinstance(error, RetryableError):
        policy = policy.for_retryable_error()
    return policy.delay_before(job.attempt, random=random)


def _told(run: Run, outcome: Outcome) -> Outcome:
    """A run that somebody cancelled has that end, and one over its time has failed, whatever they say at last.

    Code that looks at `context.cancelled` returns when it sees it: that is no success.
    """
    where = outcome.error.__traceback__ if outcome.error is not None else None
    if run.stop is Stop.CANCELLED:
        return failed(JobCancelled(run.stop_reason).with_traceback(where))
    if run.stop is Stop.OVERTIME:
        return failed(OutOfTime(run.stop_reason).with_traceback(where))
    return outcome


def _given_back(run: Run) -> Settlement:
    """Given back without counting; a stuck run counts as a crash, or it would come back for ever."""
    stuck = run.stop is Stop.STUCK
    return Settlement(
        job=run.job,
        transition=Transition.REAP if stuck else Transition.RELEASE,
        duration=run.elapsed(),
        reason=run.stop_reason,
        error=ErrorRecord(message=run.stop_reason) if stuck else None,
        lock_lost=run.stop is Stop.LOCK_LOST,
    )


def _failed(
    run: Run,
    outcome: Outcome,
    retry_until: datetime | None,
    *,
    now: Callable[[], datetime],
    random: Callable[[], float],
) -> Settlement:
    error = ErrorRecord(message=outcome.message or "interrupted", stack=outcome.stack)
    delay = retry_delay(run.job, outcome.error, run.known.settings.retry, random)
    # The next regular occurrence takes the place of a retry that would come after it.
    if delay is None or (retry_until is not None and retry_until <= now() + delay):
        return Settlement(job=run.job, transition=Transition.FAIL, duration=run.elapsed(), error=error)
    return Settlement(job=run.job, transition=Transition.RETRY, duration=run.elapsed(), error=error, retry_in=delay)


def _storable(outcome: Outcome) -> Outcome:
    """A result that MongoDB cannot take fails the run with that reason: it must neither hang nor vanish.

    It is stored later, in one command with others: by then the job may have changed what it returned, so as it is now.
    """
    if outcome.kind is not OutcomeKind.COMPLETED or outcome.result is None:
        return outcome
    try:
        return replace(outcome, result=as_stored(outcome.result, what="result", limit=MAX_RESULT_BYTES))
    except DataError as error:
        return Outcome(OutcomeKind.FAILED, None, error)
