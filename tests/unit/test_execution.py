"""Calling one handler, inline and in a thread: every way in which it can end, and what is said of it."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import structlog

from jobserver.definition import JobDefaults, JobDefinition
from jobserver.errors import DataError, FatalError, JobCancelled, LockLost, RetryableError
from jobserver.execution import InlineExecutor, Outcome, OutcomeKind, ThreadExecutor
from jobserver.execution.blocking import Blockage, LoopWatch
from jobserver.execution.outcome import MAX_MESSAGE, MAX_STACK, failed
from jobserver.execution.run_log import UNKEPT
from jobserver.job import CancelFlag, Job, JobContext
from jobserver.schedule import Schedule

pytestmark = pytest.mark.timeout(20)

COMPLETED, FAILED, CANCELLED, INTERRUPTED, _SKIPPED = OutcomeKind


class Line:
    """A run as its job sees it, with nothing behind it but lists."""

    name, run_id = "job", "7:1"
    alive_until = float("inf")
    sink = UNKEPT

    def __init__(self) -> None:
        self.data: Any = {"n": 1}
        self.cancelled = CancelFlag()
        self.reports: list[tuple[float, float, str | None]] = []
        self.touches = 0
        self.refusal: Exception | None = None
        self.context = JobContext(
            name=self.name,
            job_id=7,
            run_id=self.run_id,
            attempt=1,
            fence=1,
            idempotency_key="7",
            scheduled_at=datetime(2026, 1, 1, tzinfo=UTC),
            server="here",
            cancelled=self.cancelled,
        )

    def database(self) -> Any:
        return "the database"

    async def touch(self) -> None:
        if self.refusal:
            raise self.refusal
        self.touches += 1

    async def report(self, total: float, current: float, message: str | None) -> None:
        if self.refusal:
            raise self.refusal
        self.reports.append((total, current, message))


def definition(run: Callable[..., Any]) -> JobDefinition:
    job_class: type[Job] = type("TheJob", (Job,), {"run": run})
    return JobDefinition(
        name="job",
        path=__file__,
        checksum="c",
        job_class=job_class,
        is_async=inspect.iscoroutinefunction(run),
        wants=tuple(inspect.signature(run).parameters)[1:],
        defaults=JobDefaults(schedule=Schedule.parse("manual")),
    )


async def call(run: Callable[..., Any], line: Line | None = None) -> Outcome:
    """As a server would: `async def` inline, `def` in a thread."""
    return await executor(definition(run)).call(definition(run), line or Line())


def executor(plan: JobDefinition) -> InlineExecutor | ThreadExecutor:
    return InlineExecutor() if plan.is_async else ThreadExecutor()


Body = Callable[[Any], Any]


def inline(body: Body) -> Callable[..., Any]:
    async def run(self: Job, done: Any) -> Any:
        return body(done)

    return run


def threaded(body: Body) -> Callable[..., Any]:
    def run(self: Job, done: Any) -> Any:
        return body(done)

    return run


both_ways = pytest.mark.parametrize("way", [inline, threaded])


@pytest.fixture
def records() -> Iterator[list[Any]]:
    """What was logged."""
    with structlog.testing.capture_logs() as captured:
        yield captured


@both_ways
@pytest.mark.parametrize("result", [{"rows": 3}, 0, False, "", [], {}, None], ids=repr)
async def test_what_run_returns_is_the_result(way: Callable[..., Any], result: Any) -> None:
    outcome = await call(way(lambda done: result))
    assert (outcome.kind, outcome.result, outcome.error) == (COMPLETED, result, None)
    assert type(outcome.result) is type(result)
    assert (outcome.message, outcome.stack) == ("", "")


@both_ways
async def test_done_decides_and_what_comes_later_is_logged_and_ignored(
    way: Callable[..., Any], records: list[Any]
) -> None:
    def body(done: Any) -> Any:
        done(None, "first")
        done(None, "second")
        done(ValueError("third"))
        return "fourth"

    outcome = await call(way(body))
    assert (outcome.kind, outcome.result) == (COMPLETED, "first")
    assert [record["event"] for record in records] == [
        "done was called again and ignored",
        "done was called again and ignored",
        "run ended after done had decided, its end is ignored",
    ]
    assert all(record["run"] == "7:1" for record in records)


@both_ways
async def test_done_decides_although_run_raises_afterwards(way: Callable[..., Any], records: list[Any]) -> None:
    def body(done: Any) -> Any:
        done(None, "first")
        raise ValueError("too late")

    outcome = await call(way(body))
    assert (outcome.kind, outcome.result) == (COMPLETED, "first")
    assert records[0]["ignored"] == "too late"


@both_ways
async def test_done_decides_although_what_run_returns_cannot_even_be_shown(
    way: Callable[..., Any], records: list[Any]
) -> None:
    def body(done: Any) -> Any:
        done(None, "first")
        return Unprintable()

    assert (await call(way(body))).result == "first"
    assert len(records) == 1


@both_ways
async def test_done_without_anything_completes_without_a_result(way: Callable[..., Any], records: list[Any]) -> None:
    outcome = await call(way(lambda done: done()))
    assert (outcome.kind, outcome.result) == (COMPLETED, None)
    assert records == []


@both_ways
@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (ValueError("no"), FAILED, "no"),
        ("in words", FAILED, "in words"),
        (RetryableError("later"), FAILED, "later"),
        (JobCancelled("not needed"), CANCELLED, "not needed"),
    ],
    ids=repr,
)
async def test_done_with_an_error_fails_the_run(
    way: Callable[..., Any], error: Any, kind: OutcomeKind, message: str
) -> None:
    outcome = await call(way(lambda done: done(error)))
    assert (outcome.kind, outcome.message, outcome.stack) == (kind, message, "")


async def test_done_called_after_run_has_returned_changes_nothing() -> None:
    kept = []

    async def run(self: Job, done: Any) -> str:
        kept.append(done)
        return "returned"

    outcome = await call(run)
    kept[0](ValueError("too late"))
    assert (outcome.kind, outcome.result) == (COMPLETED, "returned")


class Wordless(Exception):
    """An error whose author wrote nothing."""


class Unprintable(Exception):
    """An error, or a result, that fails when it is asked what it says."""

    def __str__(self) -> str:
        raise RuntimeError("no words")

    __repr__ = __str__


@both_ways
@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (ValueError("broken"), FAILED, "broken"),
        (RetryableError("again"), FAILED, "again"),
        (FatalError("never"), FAILED, "never"),
        (JobCancelled("stop"), CANCELLED, "stop"),
        (LockLost("job", 7), FAILED, "job 7 lost its lock: its lock token is no longer in the document"),
        (Wordless(), FAILED, "Wordless"),
        (SystemExit(3), FAILED, "ended with exit code 3"),
        (SystemExit("no input"), FAILED, "no input"),
        (KeyboardInterrupt(), FAILED, "KeyboardInterrupt()"),
        (GeneratorExit(), FAILED, "GeneratorExit"),
        (asyncio.CancelledError("its own"), FAILED, "its own"),
        (Unprintable(), FAILED, "Unprintable"),
        (ExceptionGroup("several", [ValueError("one")]), FAILED, "several (1 sub-exception)"),
        (ValueError("lone \ud800 half"), FAILED, "lone \\ud800 half"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
async def test_whatever_run_raises_ends_that_run_alone(
    way: Callable[..., Any], error: BaseException, kind: OutcomeKind, message: str
) -> None:
    def body(done: Any) -> Any:
        raise error

    outcome = await call(way(body))
    assert (outcome.kind, outcome.error, outcome.message) == (kind, error, message)
    outcome.stack.encode()


@both_ways
@pytest.mark.parametrize("code", [None, 0, False])
async def test_exit_code_0_is_completed(way: Callable[..., Any], code: Any) -> None:
    def body(done: Any) -> Any:
        raise SystemExit(code)

    outcome = await call(way(body))
    assert (outcome.kind, outcome.error, outcome.message) == (COMPLETED, None, "")


@both_ways
async def test_exit_code_100_is_cancelled(way: Callable[..., Any]) -> None:
    def body(done: Any) -> Any:
        raise SystemExit(100)

    outcome = await call(way(body))
    assert (outcome.kind, outcome.message) == (CANCELLED, "ended with exit code 100")


@pytest.mark.parametrize("executor", [InlineExecutor, ThreadExecutor])
async def test_what_a_run_posts_reaches_who_listens_and_two_words_decide_it(executor: Callable[..., Any]) -> None:
    heard: list[Any] = []

    def run(self: Job, context: Any) -> None:
        for message in ({"rows": 3}, "done", "cancelled"):
            context.post(message)

    async def run_async(self: Job, context: Any) -> None:
        run(self, context)

    posts = definition(run_async if executor is InlineExecutor else run)
    outcome = await executor(lambda run, message: heard.append((run.run_id, message))).call(posts, Line())
    assert heard == [("7:1", {"rows": 3})]
    assert (outcome.kind, outcome.result) == (COMPLETED, None)


@both_ways
async def test_a_traceback_begins_in_the_file_of_the_job(way: Callable[..., Any]) -> None:
    def body(done: Any) -> Any:
        raise ValueError("broken")

    lines = (await call(way(body))).stack.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert __file__ in lines[1]
    assert lines[-1] == "ValueError: broken"


@both_ways
async def test_messages_and_tracebacks_of_any_length_are_cut_in_the_middle(way: Callable[..., Any]) -> None:
    def body(done: Any) -> Any:
        raise ValueError("a" * 100_000 + "z" * 100_000)

    outcome = await call(way(body))
    assert outcome.message.startswith("a" * 1000)
    assert outcome.message.endswith("z" * 1000)
    assert "196000 characters left out" in outcome.message
    assert len(outcome.message) < MAX_MESSAGE + 100
    assert len(outcome.stack) < MAX_STACK + 100


def test_an_error_that_was_never_raised_has_no_traceback() -> None:
    assert failed(ValueError("handed to done")).stack == ""


async def test_a_constructor_that_raises_fails_the_run() -> None:
    def fail(self: Any) -> None:
        raise ValueError("not even begun")

    for run in (inline(lambda done: None), threaded(lambda done: None)):
        plan = definition(run)
        plan.job_class.__init__ = fail  # type: ignore[method-assign]
        outcome = await executor(plan).call(plan, Line())
        assert (outcome.kind, outcome.message) == (FAILED, "not even begun")


async def test_run_gets_what_it_asks_for_by_name_in_any_order() -> None:
    seen: dict[str, Any] = {}

    async def run(self: Any, context: Any, data: Any, log: Any, db: Any) -> None:
        seen.update(context=context, data=data, db=db, same_log=self.logger is log)
        seen.update(params=self.params, name=self.job_name, same_context=self.context is context)

    line = Line()
    assert (await call(run, line)).kind is COMPLETED
    assert seen == {
        "context": line.context,
        "data": {"n": 1},
        "db": "the database",
        "same_log": True,
        "params": {"n": 1},
        "name": "job",
        "same_context": True,
    }


async def test_progress_and_touch_reach_the_lock_from_a_coroutine_and_from_a_thread() -> None:
    async def run(self: Job, progress: Any) -> None:
        await progress(10, 1)
        await progress(10, 2, "two")
        await self.touch()

    def run_blocking(self: Job, progress: Any) -> None:
        progress(10, 1)
        progress(10, 2, "two")
        self.touch()

    for each in (run, run_blocking):
        line = Line()
        assert (await call(each, line)).message == ""
        assert line.reports == [(10, 1, None), (10, 2, "two")]
        assert line.touches == 1


@pytest.mark.parametrize(
    "arguments",
    [
        (-1, 0),
        (1, -1),
        ("1", 1),
        (1, None),
        (True, 1),
        (float("nan"), 1),
        (1, float("inf")),
        (2**63, 1),
        (10**400, 1),
        (1, 10**5000),
        (1, 1, 7),
        (1, 1, b"x"),
        (object(), 1),
        (Unprintable(), 1),
    ],
    ids=lambda arguments: ascii(type(arguments[0])),
)
async def test_progress_that_is_none_is_refused_and_changes_nothing(arguments: tuple[Any, ...]) -> None:
    async def run(self: Job, progress: Any) -> None:
        await progress(*arguments)

    def run_blocking(self: Job, progress: Any) -> None:
        progress(*arguments)

    for each in (run, run_blocking):
        line = Line()
        outcome = await call(each, line)
        assert isinstance(outcome.error, DataError)
        assert len(outcome.message) < 300
        assert line.reports == []


async def test_any_text_can_be_stored_with_progress() -> None:
    async def run(self: Job, progress: Any) -> None:
        await progress(1, 1, "half \ud800")
        await progress(1, 1, "x" * 100_000)

    line = Line()
    assert (await call(run, line)).kind is COMPLETED
    (_, _, half), (_, _, long) = line.reports
    assert half == "half \\ud800"
    assert long is not None
    assert len(long) < 1_100


async def test_a_lost_lock_is_raised_where_the_job_reports() -> None:
    async def run(self: Job, progress: Any) -> None:
        await progress(1, 1)

    def run_blocking(self: Job, progress: Any) -> None:
        self.touch()

    for each in (run, run_blocking):
        line = Line()
        line.refusal = LockLost("job", 7)
        assert (await call(each, line)).error is line.refusal


async def test_a_coroutine_that_is_cancelled_from_outside_is_interrupted_after_its_clean_up() -> None:
    began, cleaned = asyncio.Event(), []

    async def run(self: Job) -> None:
        try:
            began.set()
            await asyncio.Event().wait()
        finally:
            cleaned.append(True)

    task = asyncio.create_task(call(run))
    await began.wait()
    task.cancel("the server shuts down")
    outcome = await task
    assert (outcome.kind, outcome.message, cleaned) == (INTERRUPTED, "the server shuts down", [True])


async def test_a_coroutine_that_is_cancelled_may_still_have_the_last_word() -> None:
    began = asyncio.Event()

    async def run(self: Job) -> str:
        try:
            began.set()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "just in time"
        return "never"

    task = asyncio.create_task(call(run))
    await began.wait()
    task.cancel()
    assert (await task).result == "just in time"


async def test_a_task_of_the_jobs_own_that_was_cancelled_fails_the_run_and_does_not_interrupt_it() -> None:
    async def run(self: Job) -> None:
        mine = asyncio.ensure_future(asyncio.Event().wait())
        mine.cancel()
        await mine

    assert (await call(run)).kind is FAILED


class Blocking:
    """A job in a thread that says when it has begun and goes on when it is let."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.begun = asyncio.Event()
        self.go = threading.Event()

    def wait(self) -> None:
        self.loop.call_soon_threadsafe(self.begun.set)
        assert self.go.wait(10)


async def test_a_thread_that_is_told_sees_it_and_may_still_have_the_last_word() -> None:
    blocking = Blocking()

    def run(self: Job, context: JobContext) -> str:
        blocking.loop.call_soon_threadsafe(blocking.begun.set)
        assert context.cancelled.wait(10)
        return "told"

    line, threads = Line(), ThreadExecutor()
    task = asyncio.create_task(threads.call(definition(run), line))
    await blocking.begun.wait()
    line.cancelled.set()
    threads.tell(line)
    assert (await task).result == "told"


@pytest.mark.parametrize("last", ["progress", "touch"])
async def test_a_thread_that_was_told_learns_it_from_its_next_sign_of_life(last: str) -> None:
    blocking = Blocking()

    def run(self: Job, progress: Any) -> None:
        blocking.wait()
        progress(1, 1) if last == "progress" else self.touch()

    line = Line()
    task = asyncio.create_task(call(run, line))
    await blocking.begun.wait()
    line.cancelled.set()
    blocking.go.set()
    outcome = await task
    assert (outcome.kind, type(outcome.error)) == (OutcomeKind.CANCELLED, JobCancelled)
    assert (line.reports, line.touches) == ([], 0)


async def test_a_thread_that_does_not_listen_is_interrupted_where_it_is_and_cleans_up() -> None:
    loop, begun, cleaned = asyncio.get_running_loop(), asyncio.Event(), []

    def run(self: Job) -> None:
        try:
            loop.call_soon_threadsafe(begun.set)
            while True:
                with contextlib.suppress(Exception):  # as a job may well do
                    time.sleep(0.001)
        finally:
            cleaned.append(True)

    line, threads = Line(), ThreadExecutor()
    task = asyncio.create_task(threads.call(definition(run), line))
    await begun.wait()
    threads.interrupt(line)
    outcome = await task
    assert (outcome.kind, cleaned) == (INTERRUPTED, [True])
    assert "in run\n" in outcome.stack


async def test_an_interruption_never_reaches_a_thread_whose_run_has_ended() -> None:
    def run(self: Job) -> str:
        return "done"

    line, threads = Line(), ThreadExecutor()
    for _ in range(200):
        task = asyncio.create_task(threads.call(definition(run), line))
        await turn()
        threads.interrupt(line)
        outcome = await asyncio.wait_for(task, 10)
        assert outcome.kind in (COMPLETED, INTERRUPTED)


def test_a_thread_that_ends_after_its_loop_says_nothing() -> None:
    go = threading.Event()

    async def give_up() -> None:
        begun = asyncio.Event()
        loop = asyncio.get_running_loop()

        def run(self: Job) -> None:
            loop.call_soon_threadsafe(begun.set)
            assert go.wait(10)

        task = asyncio.create_task(call(run))
        await begun.wait()
        task.cancel()
        await asyncio.wait({task})

    asyncio.run(give_up())
    go.set()
    for thread in threading.enumerate():
        if thread.name == "run 7:1":
            thread.join(10)


@pytest.mark.parametrize("way", [InlineExecutor, ThreadExecutor])
async def test_a_step_for_a_run_that_is_not_under_way_does_nothing(way: Callable[[], Any]) -> None:
    executor = way()
    for step in (executor.tell, executor.interrupt, executor.stop):
        step(Line())


async def turn() -> None:
    """Let every callback that is ready run."""
    for _ in range(5):
        await asyncio.sleep(0)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


async def test_records_carry_the_job_and_the_run_whatever_their_fields_are_called(records: list[Any]) -> None:
    fields: dict[Any, Any] = {"self": 1, "event": 2, "job": 3, "run": 4, "message": 5, 7: 6, "level": 8}
    fields["method_name"] = 9  # as structlog calls a parameter of its own

    async def run(self: Job, log: Any) -> None:
        self.logger.i("hello", fields)
        log.e("bad")

    await call(run)
    assert [(each["event"], each["job"], each["run"]) for each in records] == [
        ("hello", "job", "7:1"),
        ("bad", "job", "7:1"),
    ]
    assert {key: records[0][key] for key in ("self_", "event_", "job_", "run_", "message", "7", "method_name_")} == {
        **{"self_": 1, "event_": 2, "job_": 3, "run_": 4, "message": 5, "7": 6, "method_name_": 9},
    }


async def test_each_level_of_the_log_has_a_long_and_a_short_name(records: list[Any]) -> None:
    async def run(self: Job, log: Any) -> None:
        for name in ("d", "debug", "i", "info", "w", "warning", "e", "error"):
            getattr(log, name)(name)

    await call(run)
    assert [(each["event"], each["log_level"]) for each in records] == [
        *(("d", "debug"), ("debug", "debug"), ("i", "info"), ("info", "info")),
        *(("w", "warning"), ("warning", "warning"), ("e", "error"), ("error", "error")),
    ]


def test_a_job_that_is_not_running_says_so() -> None:
    job = definition(inline(lambda done: None)).job_class()
    with pytest.raises(RuntimeError, match="not running"):
        _ = job.logger


class Clock:
    """Stands still until it is moved; counts how often the watch has looked at it, and the loop."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.looks = self.beats = 0

    def __call__(self) -> float:
        if threading.current_thread().name == "loop watch":
            self.looks += 1
        else:
            self.beats += 1
        return self.now


class Watched:
    """A loop under watch, and what was reported of it."""

    def __init__(self) -> None:
        self.clock, self.seen = Clock(), list[Blockage]()
        self.watch = LoopWatch(self.seen.append, monotonic=self.clock, blocked_after=timedelta(seconds=2))

    def __enter__(self) -> Watched:
        self.watch.start()
        self.watch.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.watch.stop()
        self.watch.stop()

    def block(self, *, looks: int) -> None:
        """Three seconds pass while the loop does not turn; the watch looks so often."""
        self.clock.now += 3
        enough = self.clock.looks + looks
        waiting = threading.Event()
        deadline = time.monotonic() + 10
        while self.clock.looks < enough:
            assert time.monotonic() < deadline
            waiting.wait(0.005)

    async def turn(self) -> None:
        """Let the loop turn, and the watch see it."""
        beats, looks = self.clock.beats, self.clock.looks
        await until(lambda: self.clock.beats > beats and self.clock.looks > looks + 1)


async def test_a_blocked_loop_is_reported_once_with_its_task_and_line() -> None:
    async def job(watched: Watched) -> None:
        watched.block(looks=4)

    with Watched() as watched:
        await asyncio.create_task(job(watched), name="api:slow 7:1")
    (blockage,) = watched.seen
    assert (blockage.task, blockage.seconds) == ("api:slow 7:1", 3.0)
    assert "watched.block(looks=4)" in blockage.stack
    assert "waiting.wait(0.005)" in blockage.stack
    assert "in wait" in blockage.where


async def test_the_next_blockage_is_reported_again() -> None:
    with Watched() as watched:
        watched.block(looks=3)
        await watched.turn()
        watched.block(looks=3)
    assert len(watched.seen) == 2


async def test_a_loop_that_turns_is_not_reported() -> None:
    with Watched() as watched:
        for _ in range(3):
            watched.clock.now += 1.5
            await watched.turn()
    assert watched.seen == []


async def test_a_watch_that_was_stopped_looks_no_more() -> None:
    with Watched() as watched:
        await watched.turn()
    await until(lambda: not [thread for thread in threading.enumerate() if thread.name == "loop watch"])
