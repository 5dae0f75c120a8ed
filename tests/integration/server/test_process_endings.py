"""Runs in processes: every way in which one can end, and what is said of it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.project import Project, Records, until

IN_PROCESS = """
class {name}(Job):
    schedule = "manual"
    execution = "process"
    {extra}
    {kind} run(self, db, context, data, done, progress, log):
{body}
"""
BOTH_KINDS = pytest.mark.parametrize("kind", ["def", "async def"])


def in_process(project: Project, stem: str, body: str, *, kind: str = "def", extra: str = "") -> str:
    """Write a job whose `run` has this body."""
    indented = "".join(f"        {line}\n" for line in body.strip().splitlines())
    return project.job(stem, IN_PROCESS.format(name="TheJob", kind=kind, body=indented, extra=extra))


ENDINGS: dict[str, tuple[str, str, Any]] = {
    "returns": ("return {'rows': 3}", "completed", {"rows": 3}),
    "returns nothing": ("pass", "completed", None),
    "returns a falsy value": ("return 0", "completed", 0),
    "done": ("done(None, [1, 2])\nreturn 7", "completed", [1, 2]),
    "done with an error": ("done('no luck')", "failed", "no luck"),
    "posts done": ("context.post('done')\nraise ValueError('later')", "completed", None),
    "posts cancelled": ("context.post('cancelled')", "cancelled", "the run says that it was cancelled"),
    "raises": ("raise ValueError('broken')", "failed", "broken"),
    "raises what has no words": ("raise KeyError('x')", "failed", "KeyError: 'x'"),
    "raises FatalError": ("raise FatalError('never')", "failed", "never"),
    "raises JobCancelled": ("raise JobCancelled('not today')", "cancelled", "not today"),
    "sys.exit()": ("sys.exit()", "completed", None),
    "sys.exit(0)": ("sys.exit(0)", "completed", None),
    "sys.exit(1)": ("sys.exit(1)", "failed", "ended with exit code 1"),
    "sys.exit(100)": ("sys.exit(100)", "cancelled", "ended with exit code 100"),
    "sys.exit with a text": ("sys.exit('no input')", "failed", "no input"),
    "os._exit(0)": ("os._exit(0)", "completed", None),
    "os._exit(3)": ("os._exit(3)", "failed", "ended the process with exit code 3"),
    "os._exit(100)": ("os._exit(100)", "cancelled", "ended the process with exit code 100"),
    "SIGKILL": ("os.kill(os.getpid(), signal.SIGKILL)", "failed", "was killed by SIGKILL"),
    "SIGSEGV": ("import ctypes\nctypes.string_at(0)", "failed", "was killed by SIGSEGV"),
    "abort": ("os.abort()", "failed", "was killed by SIGABRT"),
    "its own SIGTERM": ("signal.signal(15, signal.SIG_DFL)\nos.kill(os.getpid(), 15)", "failed", "killed by SIGTERM"),
    "a result that cannot be stored": ("return {'a': [1, object()]}", "failed", "result.a[1] cannot be stored"),
    "a result that is too large": ("return 'x' * 2_000_000", "failed", "result takes 2,000,"),
    "progress that is none": ("progress('x', 1)", "failed", "progress: total='x'"),
    "an error that cannot be shown": (
        "class Bad(Exception):\n    def __str__(self): raise self\nraise Bad()",
        "failed",
        "Bad",
    ),
    "a group of errors": ("raise ExceptionGroup('all', [ValueError('one')])", "failed", "all (1 sub-exception)"),
}


NONSENSE = """
import socket, stat
for number in map(int, os.listdir("/proc/self/fd")):
    try:
        with socket.socket(fileno=os.dup(number)) as found:
            found.send(b"nonsense")
    except OSError:
        pass
time.sleep(60)
"""


async def ended(project: Project, id_: Any) -> dict[str, Any]:
    """A document whose run has ended, whatever the end."""
    over = {"_id": id_, "lockedAt": {"$exists": False}, "lastRunAt": {"$exists": True}}
    return await until(lambda: project.jobs.find_one(over) or {}, within=60)


async def history(project: Project, id_: Any) -> dict[str, Any]:
    """The entry of its one run."""
    (run,) = await until(lambda: list(project.db.jobRuns.find({"jobId": id_})))
    return run


@BOTH_KINDS
async def test_every_ending_of_a_process_is_told_as_it_was(project: Project, kind: str) -> None:
    names = [
        in_process(project, f"case{number}", f"import sys\n{body}", kind=kind)
        for number, (body, _, _) in enumerate(ENDINGS.values())
    ]
    async with project.server(max_concurrency=4):
        ids = [project.enqueue(name) for name in names]
        for (what, (_, status, said)), id_ in zip(ENDINGS.items(), ids, strict=True):
            document, run = await ended(project, id_), await history(project, id_)
            assert (document["status"], run["status"], document["runCount"]) == (status, status, 1), (what, document)
            if status == "completed":
                assert document.get("result") == said, what
            else:
                assert said in (run.get("error") or run.get("reason")), (what, run)


@BOTH_KINDS
async def test_an_error_brings_its_traceback_from_the_line_of_the_job_on(project: Project, kind: str) -> None:
    name = in_process(project, "fails", "broken = {}\nreturn broken['key']", kind=kind)
    async with project.server():
        stack = (await project.ended(project.enqueue(name), "failed"))["stack"]
        assert stack.startswith("Traceback (most recent call last):")
        assert "return broken['key']" in stack
        assert stack.rstrip().endswith("KeyError: 'key'")
        assert "jobserver/execution" not in stack
        assert "jobserver/run_process" not in stack


async def test_a_retryable_error_of_a_process_is_retried_with_its_attempts_counted(project: Project) -> None:
    body = "if context.attempt < 3:\n    raise RetryableError('again')\nreturn context.attempt"
    name = in_process(project, "retried", body, extra="retry = Retry(attempts=3, delay=0)")
    async with project.server():
        document = await project.ended(project.enqueue(name))
        assert (document["result"], document["runCount"]) == (3, 3)


async def test_done_counts_at_once_and_the_process_has_the_grace_to_end(project: Project, log: Records) -> None:
    lingers = in_process(project, "lingers", "done(None, 'said')\ntime.sleep(600)")
    tidies = in_process(project, "tidies", "done(None, 'said')\ntime.sleep(0.2)\nnote(db, tidied=True)")
    async with project.server(cancel_grace="1 second"):
        for name in (lingers, tidies):
            assert (await project.ended(project.enqueue(name)))["result"] == "said"
        assert len(project.notes(tidied=True)) == 1
        killed = [record["name"] for record in log if record["event"] == "run killed after its end"]
        assert killed == [lingers]


async def test_what_the_job_has_registered_for_its_exit_is_done(project: Project) -> None:
    body = """
import atexit
atexit.register(note, db, at_exit=True)
threading.Thread(target=lambda: (time.sleep(0.1), note(db, thread=True))).start()
"""
    name = in_process(project, "tidy", body)
    async with project.server():
        await project.ended(project.enqueue(name))
        assert len(project.notes(at_exit=True)) == len(project.notes(thread=True)) == 1


NO_RECORD = """
import bson, socket
said = {{"kind": "log", "level": "info", "message": "x", "time": 0.0, "fields": {{}}, **{change}}}
for number in map(int, os.listdir("/proc/self/fd")):
    try:
        with socket.socket(fileno=os.dup(number)) as found:
            found.send(bson.encode(said))
    except OSError:
        pass
os._exit(0)
"""


@pytest.mark.parametrize("change", ["{'time': 1e300}", "{'time': None}", "{'fields': 5}", "{'kind': []}"])
async def test_a_last_message_that_makes_no_sense_fails_the_run_and_frees_its_place(
    project: Project, change: str
) -> None:
    name = in_process(project, "talks", NO_RECORD.format(change=change), extra="concurrency = 1")
    async with project.server():
        for _ in range(2):
            assert (await ended(project, project.enqueue(name)))["status"] == "failed"


async def test_a_run_that_writes_nonsense_to_its_server_is_killed_and_fails(project: Project) -> None:
    name, other = in_process(project, "talks", NONSENSE), in_process(project, "other", "return 1")
    async with project.server():
        document = await project.ended(project.enqueue(name), "failed")
        assert document["lastError"].startswith("sent what is no message")
        await project.ran(other)


LIMITS: dict[str, tuple[str, str, str]] = {
    "memory": ("{'memory': '256 MiB'}", "held = bytearray(10**9)", "ran out of memory: limits.memory is 256 MiB"),
    "memory, caught": (
        "{'memory': '256 MiB'}",
        "try:\n    held = bytearray(10**9)\nexcept MemoryError:\n    raise ValueError('caught')",
        "caught",
    ),
    "cpu": ("{'cpu': '1 second'}", "while True: pass", "used up its processor time: limits.cpu is 1 second"),
    "folder": ("{'folder': '/nowhere'}", "pass", "limits.folder '/nowhere' cannot be entered: No such file"),
    "niceness": ("{'nice': 7}", "assert os.nice(0) == 7, os.nice(0)\nraise ValueError('nice')", "nice"),
    "nothing": ("None", "assert os.nice(0) == 0\nheld = bytearray(3 * 10**8)\nraise ValueError('held')", "held"),
}


async def test_a_run_is_held_to_each_limit_and_says_which_one_it_was(project: Project) -> None:
    names = [
        in_process(project, f"case{number}", body, extra=f"limits = {limits}")
        for number, (limits, body, _) in enumerate(LIMITS.values())
    ]
    async with project.server():
        for (what, (_, _, said)), name in zip(LIMITS.items(), names, strict=True):
            document = await project.ended(project.enqueue(name), "failed")
            assert said in document["lastError"], what


async def test_a_run_works_in_the_folder_that_its_limits_name(project: Project) -> None:
    name = in_process(project, "works", "return os.getcwd()", extra=f"limits = {{'folder': {str(project.root)!r}}}")
    async with project.server():
        assert (await project.ran(name))["result"] == str(project.root)
