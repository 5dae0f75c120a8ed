"""Runs in processes, called as a server calls them, with a run behind them that only takes notes."""

from __future__ import annotations

import asyncio
import os
import resource
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from textwrap import dedent
from typing import Any
from uuid import uuid4

import psutil
import pytest
from bson import Binary, Decimal128, Int64, ObjectId, Regex
from structlog.testing import capture_logs

from jobserver.definition import Code, JobDefaults, JobDefinition
from jobserver.errors import DataError, FatalError, JobCancelled, LockLost, RemoteError, RetryableError
from jobserver.execution import Outcome, OutcomeKind
from jobserver.execution.process.executor import ProcessExecutor
from jobserver.job import CancelFlag, Job, JobContext
from jobserver.runner.pulse.lease import Lease
from jobserver.schedule import Schedule
from jobserver.store.clock import boottime
from jobserver.store.wire import BsonCodec

COMPLETED, FAILED, CANCELLED, INTERRUPTED, _SKIPPED = OutcomeKind
SERVER = "here"
BOTH_KINDS = pytest.mark.parametrize("kind", ["def", "async def"])
START_METHODS = pytest.mark.parametrize("start_method", ["forkserver", "spawn"])


class Line:
    """The server's end of a run."""

    name, run_id = "api:job", "7:1"

    def __init__(self, data: Any = None, *, run_id: str = "7:1") -> None:
        self.run_id, self.data = run_id, {} if data is None else data
        self.cancelled = CancelFlag()
        self.reports: list[tuple[float, float, str | None]] = []
        self.touches = 0
        self.refusal: Exception | None = None
        self.alive_until = float("inf")
        self.heard = asyncio.Event()
        self.records: list[tuple[str, str, dict[str, Any]]] = []
        self.messages: list[Any] = []
        self.context = JobContext(
            name=self.name,
            job_id=ObjectId("6b01e0e222a9be92650fee4d"),
            run_id=run_id,
            attempt=2,
            fence=3,
            idempotency_key="7",
            scheduled_at=datetime(2026, 1, 1, tzinfo=UTC),
            server=SERVER,
            cancelled=self.cancelled,
        )

    def database(self) -> Any:
        raise AssertionError("a process has a client of its own")

    async def touch(self) -> None:
        self.heard.set()
        if self.refusal:
            raise self.refusal
        self.touches += 1

    async def report(self, total: float, current: float, message: str | None) -> None:
        await self.touch()
        self.reports.append((total, current, message))

    def said(self, level: str | None = None) -> list[str]:
        return [message for each, message, _ in self.records if level in (None, each)]

    async def says(self, message: str) -> None:
        """Until the run has said this."""
        async with asyncio.timeout(20):
            while message not in self.said():
                await asyncio.sleep(0.005)


class Bench:
    """An executor, and a folder of job files."""

    def __init__(self, folder: Path, *, grace: float = 5.0, uri: str = "", database: str = "") -> None:
        self.folder = folder
        self.lease = Lease(monotonic=boottime)
        self.lease.renewed(SERVER, sent_at=boottime())
        self.executor = ProcessExecutor(
            codec=BsonCodec(),
            address={"uri": uri, "database": database},
            lease=self.lease.shared_with,
            grace=timedelta(seconds=grace),
            sink=lambda run, level, message, fields, at: run.records.append((level, message, dict(fields))),  # type: ignore[attr-defined]
            on_message=lambda run, message: run.messages.append(message),  # type: ignore[attr-defined]
        )

    async def call(self, definition: JobDefinition, line: Line | None = None) -> Outcome:
        async with asyncio.timeout(30):
            return await self.executor.call(definition, line or Line())

    @asynccontextmanager
    async def calling(self, definition: JobDefinition, line: Line) -> AsyncIterator[asyncio.Task[Outcome]]:
        """A call that goes on; awaited at the end."""
        task = asyncio.create_task(self.call(definition, line))
        yield task
        await task

    def job(self, body: str, *, kind: str = "def", wants: tuple[str, ...] = (), before: str = "", **facts: Any) -> Any:
        """A class in a file, whose `run` has this body."""
        names = dict.fromkeys((*wants, "log", "context", "progress", "data", "done"))
        indented = "".join(f"        {line}\n" for line in dedent(body).strip().splitlines())
        source = (
            "import asyncio, os, signal, subprocess, sys, threading, time, logging\nfrom jobserver import *\n"
            f"{dedent(before)}\nclass TheJob(Job):\n    schedule = 'manual'\n"
            f"    {kind} run(self, {', '.join(names)}):\n{indented}"
        )
        return self.defined(source, "class", name="TheJob", wants=tuple(names), is_async=kind != "def", **facts)

    def defined(self, source: str, kind: Any, *, stem: str = "job", name: str = "", **facts: Any) -> JobDefinition:
        """Any code in a file."""
        path = self.folder / f"{stem}.py"
        path.write_text(source)
        code = Code(kind=kind, path=str(path), name=name, category="api", content=source.encode())
        defaults = {"is_async": False, "wants": (), "code": code}
        return JobDefinition(
            **{**defaults, **facts},
            name="api:job",
            path=str(path),
            checksum="c",
            job_class=Job,
            defaults=JobDefaults(schedule=Schedule.parse("manual")),
        )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


@asynccontextmanager
async def bench(folder: Path, **facts: Any) -> AsyncIterator[Bench]:
    """Afterwards nothing of it is left."""
    made = Bench(folder, **facts)
    try:
        yield made
    finally:
        await made.executor.close()
        made.lease.close()
    await only(0)


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def descendants() -> list[psutil.Process]:
    found = []
    for each in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # it has ended while we looked
            if "mongod" not in each.name():
                found.append(each)
    return found


async def only(count: int) -> None:
    """Until no more processes than these are left; a keeper ends a moment after it has told the end of its run."""
    async with asyncio.timeout(20):
        while len(descendants()) > count:
            await asyncio.sleep(0.005)


async def gone(pid: int) -> None:
    """Until no process has this number."""
    async with asyncio.timeout(20):
        while alive(pid):
            await asyncio.sleep(0.005)


def alive(pid: int) -> bool:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


async def test_data_and_result_of_every_stored_type_cross_unchanged(folder: Path) -> None:
    data = {
        "id": ObjectId(),
        "at": datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC),
        "price": Decimal128("1.10"),
        "big": Int64(2**60),
        "bytes": b"\0\xff",
        "uuid-like": Binary(b"x" * 16, 4),
        "pattern": Regex("a.*b", "i"),
        "text": "grüße \0 \N{SNOWMAN}",
        "nested": [{"a": [None, True, 1.5]}],
        "long": "x" * 3_000_000,
    }
    async with bench(folder) as here:
        echo = here.job("assert len(data.pop('long')) == 3_000_000\nreturn data")
        outcome = await here.call(echo, Line(data))
        assert outcome.kind is COMPLETED, outcome.message
        assert outcome.result == {key: value for key, value in data.items() if key != "long"}
        assert type(outcome.result["price"]) is Decimal128


async def test_a_run_knows_its_context(folder: Path) -> None:
    body = """
    same = context is self.context and data is self.params and log is self.logger
    return [same, context.attempt, context.fence, context.job_id, context.scheduled_at, context.server, self.job_name]
    """
    async with bench(folder) as here:
        line = Line({"n": 1})
        result = (await here.call(here.job(body), line)).result
        assert result == [True, 2, 3, line.context.job_id, line.context.scheduled_at, SERVER, "api:job"]


@BOTH_KINDS
async def test_progress_and_touch_end_when_the_server_has_answered(folder: Path, kind: str) -> None:
    wait = "await " if kind != "def" else ""
    async with bench(folder) as here:
        line = Line()
        job = here.job(f"{wait}progress(10, 3, 'x')\n{wait}self.touch()\n{wait}progress(10, 10)", kind=kind)
        assert (await here.call(job, line)).kind is COMPLETED
        assert (line.reports, line.touches) == ([(10, 3, "x"), (10, 10, None)], 3)


@BOTH_KINDS
async def test_a_run_that_has_lost_its_lock_is_told_where_it_reports(folder: Path, kind: str) -> None:
    wait = "await " if kind != "def" else ""
    async with bench(folder) as here:
        line = Line()
        line.refusal = LockLost("api:job", 7)
        job = here.job(f"try:\n    {wait}progress(1, 1)\nexcept LockLost as error:\n    return str(error)", kind=kind)
        assert (await here.call(job, line)).result == str(line.refusal)


async def test_threads_of_a_run_may_all_report(folder: Path) -> None:
    body = """
    threads = [threading.Thread(target=progress, args=(10, n)) for n in range(10)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    """
    async with bench(folder) as here:
        line = Line()
        assert (await here.call(here.job(body), line)).kind is COMPLETED
        assert sorted(current for _, current, _ in line.reports) == list(range(10))


@pytest.mark.parametrize(
    "family", [RetryableError, FatalError, DataError, JobCancelled], ids=lambda each: each.__name__
)
async def test_an_error_keeps_its_family_its_words_and_its_stack(folder: Path, family: type[Exception]) -> None:
    async with bench(folder) as here:
        body = f"from jobserver.errors import {family.__name__}\nclass Mine({family.__name__}): pass\nraise Mine('why')"
        outcome = await here.call(here.job(body))
        assert type(outcome.error) is family
        assert (outcome.message, outcome.stack.splitlines()[-1].endswith("Mine: why")) == ("why", True)


async def test_any_other_error_comes_as_words_with_the_name_of_its_class(folder: Path) -> None:
    async with bench(folder) as here:
        outcome = await here.call(here.job("raise ZeroDivisionError('x / 0')"))
        assert isinstance(outcome.error, RemoteError)
        assert (outcome.error.kind, outcome.message) == ("ZeroDivisionError", "x / 0")


async def test_messages_reach_who_listens_and_what_cannot_be_stored_is_refused(folder: Path) -> None:
    async with bench(folder) as here:
        line = Line()
        outcome = await here.call(here.job("context.post({'rows': 3})\ncontext.post('x')\ncontext.post({1, 2})"), line)
        assert line.messages == [{"rows": 3}, "x"]
        assert type(outcome.error) is DataError


async def test_prints_and_records_keep_their_order(folder: Path) -> None:
    body = """
    for n in range(50):
        print("print", n)
        log.i(f"log {n}", {"n": n})
        logging.warning("std %d", n)
        sys.stdout.write(f"write {n}\\n")
        sys.stdout.buffer.write(b"bytes %d\\n" % n)
    print("first\\nsecond", end="")
    print("error", file=sys.stderr)
    """
    async with bench(folder) as here:
        line = Line()
        assert (await here.call(here.job(body), line)).kind is COMPLETED
        expected = [
            text for n in range(50) for text in (f"print {n}", f"log {n}", f"std {n}", f"write {n}", f"bytes {n}")
        ]
        assert line.said() == [*expected, "first", "error", "second"]
        levels = {message.split()[0]: (level, fields) for level, message, fields in line.records}
        assert levels["log"] == ("info", {"n": 49})
        assert levels["std"][0] == "warning"
        assert levels["print"] == ("info", {"stream": "stdout"})
        assert levels["error"] == ("info", {"stream": "stderr"})


async def test_a_record_with_strange_fields_or_words_is_not_lost(folder: Path) -> None:
    body = """
    log.e("lone \\ud800 half", {"object": object, "big": 10**30, 7: {1: 2}, "self": "x", "long": "y" * 10**6})
    logging.error("%d", "no number")
    try:
        raise ValueError("seen")
    except ValueError:
        logging.exception("caught", extra={"n": 1})
    print("nul \\0 and \\ud800")
    log.i("x" * 10**6)
    """
    async with bench(folder) as here:
        line = Line()
        assert (await here.call(here.job(body), line)).kind is COMPLETED
        first, second, third, fourth, fifth = line.records
        assert first[:2] == ("error", "lone \\ud800 half")
        assert first[2]["big"] == str(10**30)
        assert "no number" in second[1]
        assert "ValueError: seen" in third[2]["exception"]
        assert fourth[1] == "nul \0 and \\ud800"
        assert "characters left out" in fifth[1]


async def test_a_record_with_keys_that_cannot_be_stored_is_not_lost(folder: Path) -> None:
    body = """
    log.i("keys", {"nul\\0key": 1, "half \\ud800": 2, "": 3, "$set": 4, "a.b": 5})
    logging.warning("extra", extra={"nul\\0key": 1})
    """
    async with bench(folder) as here:
        line = Line()
        assert (await here.call(here.job(body), line)).kind is COMPLETED
        first, second = line.records
        assert first[2] == {"nul\\0key": 1, "half \\ud800": 2, "": 3, "$set": 4, "a.b": 5}
        assert second[2]["nul\\0key"] == 1


async def test_a_record_with_more_fields_than_fit_says_how_many_are_left_out(folder: Path) -> None:
    async with bench(folder) as here:
        line = Line()
        outcome = await here.call(here.job("log.i('many', {str(n): 'x' * 2000 for n in range(10_000)})"), line)
        assert outcome.kind is COMPLETED
        ((_, message, fields),) = line.records
        assert message == "many"
        assert fields["0"] == "x" * 2000
        assert fields["…"] == f"{10_000 - len(fields) + 1} more left out"


async def test_what_programs_and_c_code_write_becomes_records(folder: Path) -> None:
    body = """
    os.write(1, b"raw\\n")
    subprocess.run(["sh", "-c", "echo from a program; echo its error >&2; printf unfinished"])
    subprocess.run([sys.executable, "-c", "print('inherited')"], stdout=sys.stdout)
    """
    async with bench(folder) as here:
        line = Line()
        assert (await here.call(here.job(body), line)).kind is COMPLETED
        assert sorted(line.said()) == sorted(["raw", "from a program", "its error", "unfinishedinherited"])
        assert {message: fields["stream"] for _, message, fields in line.records}["its error"] == "stderr"


async def test_what_copies_of_the_run_print_is_not_lost_and_their_end_is_not_the_end(folder: Path) -> None:
    body = """
    child = os.fork()
    if child == 0:
        print("copy")
        return "the copy's"
    os.waitpid(child, 0)
    return "the run's"
    """
    async with bench(folder) as here:
        line = Line()
        assert (await here.call(here.job(body), line)).result == "the run's"
        assert line.said() == ["copy"]


@pytest.mark.parametrize("way", ["print", "program", "log"])
async def test_a_flood_of_output_loses_lines_and_says_how_many(folder: Path, way: str) -> None:
    bodies = {
        "print": "for n in range(40_000): print('flood')",
        "log": "for n in range(40_000): log.i('flood')",
        "program": "subprocess.run(['sh', '-c', 'yes flood | head -n 400000'])",
    }
    async with bench(folder) as here:
        line = Line()
        assert (
            await here.call(here.job(bodies[way] + "\ntime.sleep(1.1)\nos.write(1, b'last\\n')\nprint('last')"), line)
        ).kind is COMPLETED
        dropped = sum(fields["count"] for level, _, fields in line.records if level == "warning")
        kept = line.said().count("flood")
        assert kept + dropped == (400_000 if way == "program" else 40_000)
        assert dropped > 0
        assert kept > 0


@BOTH_KINDS
@START_METHODS
async def test_a_run_that_is_told_may_clean_up_and_come_to_its_own_word(
    folder: Path, kind: str, start_method: str
) -> None:
    body = (
        "log.i('begun')\nassert context.cancelled.wait(20)\nlog.i('cleaned')\nraise JobCancelled('told')"
        if kind == "def"
        else "log.i('begun')\ntry:\n    await asyncio.sleep(60)\nfinally:\n    log.i('cleaned')"
    )
    async with bench(folder) as here:
        line, job = Line(), here.job(body, kind=kind, start_method=start_method)
        async with here.calling(job, line) as running:
            await line.says("begun")
            here.executor.tell(line)
        assert running.result().kind is (CANCELLED if kind == "def" else INTERRUPTED)
        assert line.said() == ["begun", "cleaned"]


async def test_a_run_that_was_told_is_refused_when_it_reports(folder: Path) -> None:
    async with bench(folder) as here:
        line = Line()
        job = here.job("log.i('begun')\nwhile True:\n    progress(1, 0)\n    time.sleep(0.01)")
        async with here.calling(job, line) as running:
            await line.says("begun")
            here.executor.tell(line)
        assert (running.result().kind, running.result().message) == (CANCELLED, "the run was told to stop")


@BOTH_KINDS
async def test_a_run_that_does_not_listen_is_interrupted_where_it_is(folder: Path, kind: str) -> None:
    wait = "time.sleep(0.01)" if kind == "def" else "await asyncio.sleep(0.01)"
    body = f"""
    log.i('begun')
    try:
        while True:
            {wait}
    except BaseException as error:
        log.i(type(error).__name__)
        raise
    """
    async with bench(folder) as here:
        line = Line()
        async with here.calling(here.job(body, kind=kind), line) as running:
            await line.says("begun")
            here.executor.interrupt(line)
        assert running.result().kind is INTERRUPTED
        assert line.said()[-1] == ("Interrupted" if kind == "def" else "CancelledError")


@BOTH_KINDS
async def test_a_run_that_nothing_reaches_is_killed(folder: Path, kind: str) -> None:
    body = """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    log.i('begun')
    while True:
        try:
            time.sleep(60)
        except BaseException:
            pass
    """
    async with bench(folder) as here:
        line = Line()
        async with here.calling(here.job(body, kind=kind), line) as running:
            await line.says("begun")
            here.executor.tell(line)
            here.executor.interrupt(line)
            here.executor.stop(line)
        assert running.result().kind is INTERRUPTED


@pytest.mark.parametrize("step", ["tell", "interrupt", "stop"])
async def test_a_run_that_is_stopped_before_it_has_a_process_never_begins(folder: Path, step: str) -> None:
    async with bench(folder) as here:
        line, job = Line(), here.job("print('begun')", before="import time\ntime.sleep(0.5)")
        async with here.calling(job, line) as running:
            while not descendants():
                await asyncio.sleep(0)
            getattr(here.executor, step)(line)
        assert running.result().kind is INTERRUPTED
        assert line.said() == []
        assert (await here.call(job, line)).kind is COMPLETED  # the process that imports was not for that run alone


async def test_steps_for_a_run_that_has_ended_do_nothing(folder: Path) -> None:
    async with bench(folder) as here:
        line = Line()
        await here.call(here.job("pass"), line)
        for step in (here.executor.tell, here.executor.interrupt, here.executor.stop):
            step(line)


GRANDCHILDREN = """
mark = data["mark"]
subprocess.Popen(["sleep", mark])
subprocess.Popen(["sleep", mark], start_new_session=True)
subprocess.Popen(["setsid", "-f", "sh", "-c", f"setsid -f sleep {mark}; exec sleep {mark}"]).wait()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.execvp("sleep", ["sleep", mark])
    os._exit(0)
while subprocess.run(["pgrep", "-f", "-c", f"^sleep {mark}"], stdout=subprocess.PIPE).stdout.strip() != b"5":
    pass
log.i("begun")
"""


def sleeping(mark: str) -> list[psutil.Process]:
    """Wherever they are: those whose parents have ended are nobody's descendants any more."""
    return [each for each in psutil.process_iter(["cmdline"]) if each.info["cmdline"] == ["sleep", mark]]


@pytest.mark.parametrize("end", ["return", "os._exit(0)", "os.kill(os.getpid(), 9)", "tell", "stop"])
async def test_whatever_a_run_has_started_ends_with_it(folder: Path, end: str) -> None:
    last = "context.cancelled.wait(60)" if end in ("tell", "stop") else end
    async with bench(folder) as here:
        line = Line({"mark": (mark := f"600.{uuid4().int % 10**9}")})
        async with here.calling(here.job(GRANDCHILDREN + last), line):
            await line.says("begun")
            if end in ("tell", "stop"):
                getattr(here.executor, end)(line)
        assert not sleeping(mark)
        await only(1)  # the zygote


async def test_a_run_whose_lock_is_over_is_killed_by_its_keeper(folder: Path) -> None:
    async with bench(folder) as here:
        line = Line()
        line.alive_until = boottime() + 1.0
        outcome = await here.call(here.job("time.sleep(60)"), line)
        assert (outcome.kind, type(outcome.error)) == (INTERRUPTED, LockLost)
        assert "lock lifetime" in outcome.message


async def test_a_sign_of_life_moves_the_end_of_the_lock(folder: Path) -> None:
    async with bench(folder) as here:
        job, line = here.job("self.touch()\ntime.sleep(data.get('for', 4))\nreturn 1"), Line()
        await here.call(job, Line({"for": 0}))  # imports its file
        line.alive_until = boottime() + 3.0

        async def touch() -> None:
            line.alive_until = float("inf")

        line.touch = touch  # type: ignore[method-assign]
        assert (await here.call(job, line)).result == 1


async def test_a_run_whose_servers_lease_is_over_is_killed_by_its_keeper(folder: Path) -> None:
    async with bench(folder) as here:
        line = Line()
        async with here.calling(here.job("log.i('begun')\ntime.sleep(60)"), line) as running:
            await line.says("begun")
            here.lease.renewed(SERVER, sent_at=boottime() - 29)
        assert (running.result().kind, type(running.result().error)) == (INTERRUPTED, LockLost)
        assert "lease" in running.result().message


async def test_a_run_claimed_under_a_past_registration_never_begins(folder: Path) -> None:
    async with bench(folder) as here:
        here.lease.renewed("there", sent_at=boottime())
        line = Line()
        assert (await here.call(here.job("print('begun')"), line)).kind is INTERRUPTED
        assert line.said() == []


async def test_a_new_registration_does_not_prolong_what_was_claimed_under_the_old_one(folder: Path) -> None:
    async with bench(folder) as here:
        here.lease.renewed(SERVER, sent_at=boottime() - 28)
        line = Line()
        async with here.calling(here.job("log.i('begun')\ntime.sleep(60)"), line) as running:
            await line.says("begun")
            here.lease.renewed("there", sent_at=boottime())
        assert (running.result().kind, type(running.result().error)) == (INTERRUPTED, LockLost)


async def test_a_cut_off_call_takes_the_process_with_it(folder: Path) -> None:
    async with bench(folder) as here:
        line = Line()
        task = asyncio.create_task(here.call(here.job("log.i(str(os.getpid()))\ntime.sleep(60)"), line))
        while not line.records:
            await asyncio.sleep(0.005)
        task.cancel()
        assert (await task).kind is INTERRUPTED
        await gone(int(line.said()[0]))


async def test_one_zygote_serves_all_runs_of_a_version_and_spawn_starts_each_anew(folder: Path) -> None:
    body, before = "return [os.getppid(), started, os.getpid()]", "started = os.getpid()"
    async with bench(folder) as here:
        forked = [(await here.call(here.job(body, before=before))).result for _ in range(3)]
        assert len({started for _, started, _ in forked}) == 1
        assert len({pid for _, _, pid in forked}) == len({keeper for keeper, _, _ in forked}) == 3
        spawned = [(await here.call(here.job(body, before=before, start_method="spawn"))).result for _ in range(3)]
        assert all(started == pid for _, started, pid in spawned)


async def test_a_run_keeps_the_version_that_it_was_defined_with(folder: Path) -> None:
    async with bench(folder) as here:
        old, new = here.job("log.i('begun')\ncontext.cancelled.wait(60)\nreturn 'old'"), here.job("return 'new'")
        line = Line()
        async with here.calling(old, line) as running:
            await line.says("begun")
            assert (await here.call(new, Line(run_id="8:1"))).result == "new"
            here.executor.tell(line)
        assert running.result().result == "old"
        await only(1)  # the zygote of the old version has gone


async def test_a_zygote_that_is_killed_is_replaced_and_its_runs_go_on(folder: Path) -> None:
    async with bench(folder) as here:
        line, job = Line(), here.job("log.i('begun')\nself.touch()\ncontext.cancelled.wait(60)\nreturn 1")
        async with here.calling(job, line) as running:
            await line.says("begun")
            (zygote,) = psutil.Process().children()
            zygote.kill()
            second = Line(run_id="8:1")
            async with here.calling(job, second) as other:
                await second.says("begun")
                here.executor.tell(second)
            here.executor.tell(line)
        assert running.result().result == other.result().result == 1


@pytest.mark.parametrize("start_method", ["forkserver", "spawn"])
async def test_a_run_is_below_its_server_to_its_end_so_that_it_is_reaped(folder: Path, start_method: str) -> None:
    async with bench(folder) as here:
        line, job = Line(), here.job("log.i(str(os.getpid()))\ncontext.cancelled.wait(60)", start_method=start_method)
        async with here.calling(job, line):
            while not line.records:
                await asyncio.sleep(0.005)
            await here.call(here.job("return 'a newer version'"), Line(run_id="8:1"))
            assert int(line.said()[0]) in [each.pid for each in descendants()]
            here.executor.tell(line)
        await only(1)


async def test_a_keeper_that_is_killed_takes_its_run_with_it(folder: Path) -> None:
    async with bench(folder) as here:
        line = Line()
        async with here.calling(here.job("log.i(str(os.getpid()))\ntime.sleep(60)"), line) as running:
            while not line.records:
                await asyncio.sleep(0.005)
            run = psutil.Process(int(line.said()[0]))
            keeper = run.parent()
            assert keeper is not None
            keeper.kill()
        assert running.result().kind is FAILED
        assert "kept it" in running.result().message
        await gone(run.pid)


STANDS = "if data:\n    return\nlog.i(str(os.getpid()))\ntime.sleep(60)"


async def stopped_with_keeper(line: Line) -> int:
    """The run and its keeper, and these alone, stand still from now on; the keeper's number."""
    async with asyncio.timeout(20):
        while not line.records:
            await asyncio.sleep(0.005)
    run = psutil.Process(int(line.said()[0]))
    keeper = run.parent()
    assert keeper is not None
    for each in (keeper, run):
        each.suspend()
    return keeper.pid


async def test_a_run_that_stood_still_past_its_lock_has_lost_that(folder: Path) -> None:
    async with bench(folder) as here:
        job, line = here.job(STANDS), Line()
        await here.call(job, Line("so that its file is imported"))
        line.alive_until = boottime() + 3.0
        async with here.calling(job, line) as running:
            await gone(await stopped_with_keeper(line))
        assert (running.result().kind, type(running.result().error)) == (INTERRUPTED, LockLost)
        assert "lock lifetime" in running.result().message


async def test_a_lease_that_is_renewed_too_late_is_a_new_one_for_a_run_that_stood_still(folder: Path) -> None:
    async with bench(folder) as here:
        job, line = here.job(STANDS), Line()
        await here.call(job, Line("so that its file is imported"))
        here.lease.renewed(SERVER, sent_at=boottime() - 26)
        async with here.calling(job, line) as running:
            keeper = await stopped_with_keeper(line)
            while alive(keeper):  # without the loop, which is not to hear of it before the lease is renewed
                time.sleep(0.005)
            here.lease.renewed(SERVER, sent_at=boottime())
        assert (running.result().kind, type(running.result().error)) == (INTERRUPTED, LockLost)
        assert "lease" in running.result().message
        assert (await here.call(job, Line("a new one"))).kind is COMPLETED


async def test_what_a_killed_keeper_leaves_behind_is_reaped(folder: Path) -> None:
    body = "subprocess.Popen(['sleep', '600'], start_new_session=True)\nlog.i(str(os.getpid()))\ntime.sleep(60)"
    async with bench(folder) as here:
        line = Line()
        async with here.calling(here.job(body), line) as running:
            while not line.records:
                await asyncio.sleep(0.005)
            keeper = psutil.Process(int(line.said()[0])).parent()
            assert keeper is not None
            keeper.kill()
        assert running.result().kind is FAILED
        await only(1)  # the zygote, and no dead ones below it


async def test_what_has_lost_its_first_thread_is_ended_with_the_run(folder: Path) -> None:
    source = "import ctypes, threading, time; threading.Thread(target=time.sleep, args=(600,)).start(); "
    source += "print('begun', flush=True); ctypes.CDLL(None).pthread_exit(None)"
    body = f"""
    child = subprocess.Popen([sys.executable, '-c', {source!r}], start_new_session=True, stdout=subprocess.PIPE)
    child.stdout.readline()
    while open(f"/proc/{{child.pid}}/stat").read().rpartition(")")[2].split()[0] != "Z":
        time.sleep(0.01)
    return child.pid
    """
    async with bench(folder) as here:
        child = (await here.call(here.job(body))).result
        await gone(child)
        await only(1)


async def test_a_file_that_starts_threads_is_imported_by_each_run_itself(folder: Path) -> None:
    before = """
    started = os.getpid()
    threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
    """
    async with bench(folder) as here:
        for _ in range(2):
            result = (
                await here.call(here.job("return [started == os.getpid(), threading.active_count()]", before=before))
            ).result
            assert result == [True, 3]


@START_METHODS
async def test_a_file_that_cannot_be_imported_fails_the_run_with_its_traceback(folder: Path, start_method: str) -> None:
    async with bench(folder) as here:
        job = here.job("pass", before="1 / 0", start_method=start_method)
        for _ in range(2):
            outcome = await here.call(job)
            assert outcome.kind is FAILED
            assert "division by zero" in outcome.message
            assert "1 / 0" in outcome.stack
            assert "run_process" not in outcome.stack


@pytest.mark.parametrize("death", ["os._exit(3)", "os.kill(os.getpid(), 9)"])
async def test_a_file_whose_import_ends_the_process_fails_the_run_with_its_last_words(folder: Path, death: str) -> None:
    async with bench(folder) as here:
        outcome = await here.call(here.job("pass", before=f"os.write(2, b'last words\\n')\n{death}"))
        assert outcome.kind is FAILED
        assert "has ended: last words" in outcome.message


async def test_a_script_is_run_from_top_to_bottom_as_main(folder: Path) -> None:
    source = """
import sys, beside
if __name__ == "__main__":
    print(beside.VALUE, sys.argv, __file__ == sys.argv[0])
    sys.modules["__main__"].beside.VALUE
"""
    (folder / "beside.py").write_text("VALUE = 7")
    async with bench(folder) as here:
        script, line = here.defined(source, "script"), Line()
        outcome = await here.call(script, line)
        assert (outcome.kind, outcome.result) == (COMPLETED, None), outcome.stack
        assert line.said() == [f"7 ['{script.path}'] True"]


@pytest.mark.parametrize(
    ("source", "kind", "words"),
    [
        ("raise SystemExit", COMPLETED, ""),
        ("import sys\nsys.exit(100)", CANCELLED, "ended with exit code 100"),
        ("import sys\nsys.exit(2)", FAILED, "ended with exit code 2"),
        ("1 / 0", FAILED, "division by zero"),
        ("nonsense here", FAILED, "invalid syntax"),
    ],
)
async def test_each_ending_of_a_script(folder: Path, source: str, kind: OutcomeKind, words: str) -> None:
    async with bench(folder) as here:
        outcome = await here.call(here.defined(source, "script"))
        assert outcome.kind is kind
        assert words in outcome.message
        assert "run_process" not in outcome.stack


async def test_a_script_that_is_told_gets_sigterm_at_once(folder: Path) -> None:
    source = "import time\nprint('begun')\ntry:\n    time.sleep(60)\nfinally:\n    print('cleaned')"
    async with bench(folder) as here:
        line = Line()
        async with here.calling(here.defined(source, "script"), line) as running:
            await line.says("begun")
            here.executor.tell(line)
        assert (running.result().kind, line.said()) == (INTERRUPTED, ["begun", "cleaned"])


@BOTH_KINDS
async def test_a_function_of_a_file_is_called_with_what_it_asks_for(folder: Path, kind: str) -> None:
    source = f"{kind} work(data, log):\n    log.i('called')\n    return data['n'] + 1"
    async with bench(folder) as here:
        line = Line({"n": 1})
        job = here.defined(source, "function", name="work", wants=("data", "log"), is_async=kind != "def")
        assert (await here.call(job, line)).result == 2
        assert line.said() == ["called"]


async def test_a_function_of_a_module_is_called(folder: Path) -> None:
    code = Code(kind="function", path="", name="getpid", module="os")
    async with bench(folder) as here:
        job = here.defined("", "function", code=code)
        assert isinstance((await here.call(job)).result, int)


async def test_a_file_without_known_content_is_loaded_as_it_is_now(folder: Path) -> None:
    async with bench(folder) as here:
        path = folder / "now.py"
        code = Code(kind="function", path=str(path), name="work", category="api")
        for result in ("one", "another"):
            path.write_text(f"def work():\n    return {result!r}")
            assert (await here.call(here.defined("", "function", code=code))).result == result


async def test_what_a_run_leaves_to_its_exit_is_done_whatever_its_file_has_imported(folder: Path) -> None:
    before = """
    import atexit, logging.handlers, multiprocessing.util, tempfile
    atexit.register(print, "of the zygote")
    folder = os.path.dirname(__file__)
    kept_by_zygote = tempfile.TemporaryDirectory(dir=folder)

    def child():
        time.sleep(0.3)
        os.write(1, b"child\\n")
    """
    body = """
    global kept
    kept = tempfile.TemporaryDirectory(dir=folder)
    atexit.register(print, "of the run")
    multiprocessing.get_context("fork").Process(target=child).start()
    return kept.name, kept_by_zygote.name
    """
    async with bench(folder) as here:
        line = Line()
        job = here.job(body, before=before)
        of_run, of_zygote = (await here.call(job, line)).result
        assert not Path(of_run).exists()
        assert Path(of_zygote).exists()
        assert sorted(line.said()) == ["child", "of the run"]


async def test_a_name_that_is_gone_fails_the_run(folder: Path) -> None:
    async with bench(folder) as here:
        outcome = await here.call(here.defined("", "function", name="work"))
        assert "has no 'work' any more" in outcome.message


async def test_a_run_has_no_descriptor_of_its_server_and_shares_environment_and_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHARED", "yes")
    body = """
    def listed(folder):
        return {n: os.readlink(f"{folder}/{n}") for n in os.listdir(folder) if os.path.lexists(f"{folder}/{n}")}

    waiting = subprocess.Popen(["sleep", "60"], close_fds=False)
    inherited = listed(f"/proc/{waiting.pid}/fd")
    return [listed("/proc/self/fd"), inherited, os.environ["SHARED"], os.getcwd(), os.environ.get("PYTHONPATH")]
    """
    async with bench(folder) as here:
        held = os.open(os.devnull, os.O_RDONLY)
        os.set_inheritable(held, True)
        try:
            own, inherited, shared, cwd, path = (await here.call(here.job(body))).result
        finally:
            os.close(held)
        assert [each for each in own.values() if "socket" in each or "memfd" in each] == [own["3"]], own
        assert set(inherited) == {"0", "1", "2"}, inherited
        assert (shared, cwd, path) == ("yes", str(Path.cwd()), os.environ.get("PYTHONPATH"))


async def test_at_most_eight_zygotes_are_kept(folder: Path) -> None:
    async with bench(folder) as here:
        for n in range(10):
            (folder / f"{n}").mkdir()
            here.folder = folder / f"{n}"
            await here.call(here.job("pass"))
        await only(8)


async def test_many_runs_at_once_each_come_to_their_own_end(folder: Path) -> None:
    async with bench(folder) as here:
        job = here.job("progress(1, 1)\nprint(data)\nreturn data")
        lines = [Line(n, run_id=f"{n}:1") for n in range(1, 61)]
        await here.call(job)
        before = open_descriptors()
        outcomes = await asyncio.gather(*(here.call(job, line) for line in lines))
        assert [outcome.result for outcome in outcomes] == list(range(1, 61))
        assert open_descriptors() == before
        assert all(line.said() == [str(line.data)] and line.touches == 1 for line in lines)


@pytest.mark.parametrize(("kind", "driver"), [("def", "pymongo"), ("async def", "pymongo"), ("async def", "motor")])
@START_METHODS
async def test_a_run_makes_its_own_client(
    folder: Path, kind: str, driver: str, start_method: str, mongo_uri: str, database_name: str, db: Any
) -> None:
    wait = "await " if kind != "def" else ""
    async with bench(folder, uri=mongo_uri, database=database_name) as here:
        note = f"{wait}db.notes.insert_one({{'pid': os.getpid()}})"
        body = f"{note}\nreturn [type(db).__module__.split('.')[0], os.getpid()]"
        job = here.job(body, kind=kind, wants=("db",), driver=driver, start_method=start_method)
        module, pid = (await here.call(job)).result
        assert module == driver
        assert [note["pid"] for note in db.notes.find()] == [pid]


async def test_a_kernel_that_gives_no_timers_is_told_of_once_and_runs_go_on(folder: Path) -> None:
    async with bench(folder) as each:
        definition = each.job("return 7")
        soft, hard = resource.getrlimit(resource.RLIMIT_SIGPENDING)
        resource.setrlimit(resource.RLIMIT_SIGPENDING, (0, hard))  # timers count against it
        try:
            with capture_logs() as logs:
                outcomes = [await each.call(definition, Line(run_id=f"7:{number}")) for number in range(3)]
        finally:
            resource.setrlimit(resource.RLIMIT_SIGPENDING, (soft, hard))
    assert [outcome.result for outcome in outcomes] == [7, 7, 7]
    assert [log["log_level"] for log in logs if log["event"] == "runs not timed"] == ["warning"]
