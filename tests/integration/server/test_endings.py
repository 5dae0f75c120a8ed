"""The ending matrix: every way in which a run can end, in every kind of execution.

Each ending is followed to what is left of it: the state, the counters, the lock, the slot, the history, the log, and
the process that the run had for itself.
"""

from __future__ import annotations

import json
import os
import signal
from dataclasses import dataclass, field
from datetime import timedelta
from textwrap import indent
from typing import Any

import pytest
from gridfs import GridFSBucket, NoFile

from jobserver import SyncJobClient
from tests.project import Project, until

KINDS = ("inline", "thread", "process", "process, async")
LOCK_FIELDS = {"lockToken", "lockedAt", "lockedBy", "lockUntil", "deadlineAt", "cancelRequest", "globalSlot"}
ONE_AT_A_TIME = {"max_concurrency": 2, "available_slots": 3, "cancel_grace": "1 second", "shutdown_grace": "1 second"}
FIVE_MINUTES = timedelta(minutes=5)

JOB = """
class Ends(Job):
    schedule = "manual"
    concurrency = 1
    slots = 3
    execution = "{execution}"
    {extra}
    {form} run(self, db, data, done, context, log):
        {wait}note(db, run=context.run_id, attempt=context.attempt)
        log.info("begun", {{"pid": os.getpid()}})
        if data.get("again"):
            return "the next one"
{body}
"""


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How a run ends by its own doing, and what becomes of its document."""

    body: str
    status: str
    extra: str = ""
    error: str = ""
    result: Any = None
    finished: int = 0
    failed: int = 0
    kinds: tuple[str, ...] = KINDS
    waits: timedelta | None = None
    steps: list[str] = field(default_factory=list)


PROCESS = ("process", "process, async")
RETRY = "retry = Retry(attempts=1, delay=timedelta(minutes=1))"
ENDINGS = {
    "return": Ending(body='return {"n": 1}', status="completed", result={"n": 1}, finished=1),
    "nothing": Ending(body="pass", status="completed", finished=1),
    "done": Ending(body='done(None, {"n": 2})', status="completed", result={"n": 2}, finished=1),
    "done with an error": Ending(body='done(ValueError("no"))', status="failed", error="no", failed=1),
    "raise": Ending(body='raise ValueError("no")', status="failed", error="no", failed=1),
    "raise, retried": Ending(
        body='raise ValueError("no")', extra=RETRY, status="scheduled", error="no", failed=1, waits=timedelta(minutes=1)
    ),
    "RetryableError": Ending(
        body='raise RetryableError("later")', status="scheduled", error="later", failed=1, waits=FIVE_MINUTES
    ),
    "FatalError": Ending(body='raise FatalError("never")', extra=RETRY, status="failed", error="never", failed=1),
    "JobCancelled": Ending(body='raise JobCancelled("enough")', extra=RETRY, status="cancelled"),
    "a result that cannot be stored": Ending(
        body="return {'x': object()}", extra=RETRY, status="failed", error="result.x", failed=1
    ),
    "sys.exit(0)": Ending(body="import sys; sys.exit(0)", status="completed", finished=1),
    "sys.exit(1)": Ending(body="import sys; sys.exit(1)", status="failed", error="1", failed=1),
    "sys.exit(100)": Ending(body="import sys; sys.exit(100)", extra=RETRY, status="cancelled"),
    "os._exit(0)": Ending(body="os._exit(0)", status="completed", finished=1, kinds=PROCESS),
    "os._exit(3)": Ending(body="os._exit(3)", status="failed", error="exit code 3", failed=1, kinds=PROCESS),
    "os._exit(100)": Ending(body="os._exit(100)", status="cancelled", kinds=PROCESS),
    "signal": Ending(
        body="os.kill(os.getpid(), signal.SIGSEGV)", status="failed", error="SIGSEGV", failed=1, kinds=PROCESS
    ),
    "SIGKILL": Ending(
        body="os.kill(os.getpid(), signal.SIGKILL)", status="failed", error="SIGKILL", failed=1, kinds=PROCESS
    ),
    "over its memory": Ending(
        body="x = bytearray(10**9)",
        extra='limits = {"memory": "300 MB"}',
        status="failed",
        error="memory",
        failed=1,
        kinds=PROCESS,
    ),
    "over its processor time": Ending(
        body="while True: pass",
        extra='limits = {"cpu": "1 second"}',
        status="failed",
        error="processor time",
        failed=1,
        kinds=PROCESS,
    ),
    "over its time": Ending(
        body="{pause}",
        extra='max_execution_time = "3 seconds"',
        status="failed",
        error="max_execution_time",
        failed=1,
        steps=["told"],
    ),
}
HANGS = "{pause}"
# What a run does until it is told: told means CancelledError on a loop, and a look at the flag elsewhere.
PAUSE = {True: "await asyncio.sleep(60)", False: "context.cancelled.wait(60)"}


def write(project: Project, kind: str, body: str, *, extra: str = "") -> str:
    """The job of this kind that ends so; its name."""
    is_async = kind in ("inline", "process, async")
    body = body.replace("{pause}", PAUSE[is_async])
    source = JOB.format(
        execution=kind.partition(",")[0],
        extra=extra,
        form="async def" if is_async else "def",
        wait="await " if is_async else "",
        body=indent(body, " " * 8),
    )
    return project.job("ends", source)


async def begun(project: Project, count: int = 1) -> list[Any]:
    """So many runs, once they have begun."""
    return await until(lambda: found if len(found := project.notes()) >= count else [])


def slots_used(project: Project) -> int | None:
    """What the server's own numbers say, as it tells them."""
    server = project.db.jobServers.find_one({"slots": {"$exists": True}}) or {}
    used: int | None = server.get("slots", {}).get("used")
    return used


async def nothing_is_left(project: Project, name: str, id_: Any) -> None:
    """No lock, no slot, no process; the next run of the job begins at once and the log has what the run has said."""
    assert not LOCK_FIELDS & project.document(id_).keys()
    (note,) = [note for note in project.notes() if note["run"].startswith(str(id_))][-1:]
    if note["pid"] != os.getpid():
        await until(lambda: not is_alive(note["pid"]))
    assert "begun" in await until(lambda: messages(project, note["run"]))
    await project.ended(project.enqueue(name, {"again": True}))


def messages(project: Project, run_id: str) -> list[str]:
    """What the log of a run says, once it is where it stays."""
    try:
        log = GridFSBucket(project.db, "jobLogs").open_download_stream(run_id)
    except NoFile:
        return []
    return [json.loads(line)["message"] for line in log.read().splitlines()] if log.metadata["ended"] else []


def is_alive(pid: int) -> bool:
    """Whether there is a process with this number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize(
    ("kind", "ending"),
    [
        pytest.param(kind, ending, id=f"{name} - {kind}")
        for name, ending in ENDINGS.items()
        for kind in KINDS
        if kind in ending.kinds
    ],
)
async def test_what_a_run_comes_to_by_itself(project: Project, kind: str, ending: Ending) -> None:
    name = write(project, kind, ending.body, extra=ending.extra)
    id_ = project.enqueue(name)
    async with project.server(**ONE_AT_A_TIME):
        document = await project.ended(id_, ending.status)
        (run,) = await until(lambda: project.runs(name))
        await nothing_is_left(project, name, id_)
    assert document.get("result") == ending.result
    assert (document["runCount"], document.get("finishedCount", 0)) == (1, ending.finished)
    assert (document.get("failCount", 0), document.get("crashes")) == (ending.failed, None)
    assert ending.error in document.get("lastError", "")
    assert bool(document.get("lastError")) is bool(ending.error)
    assert run["status"] == ("failed" if ending.status == "scheduled" else ending.status)
    assert [each["step"] for each in run.get("stopSteps", [])] == ending.steps
    if ending.waits is None:
        assert "nextRunAt" not in document
    else:
        assert document["nextRunAt"] - document["lastFinishedAt"] == ending.waits


@pytest.mark.parametrize("kind", KINDS)
async def test_a_run_that_is_cancelled_while_it_waits_never_begins(project: Project, kind: str) -> None:
    name = write(project, kind, HANGS)
    id_ = project.enqueue(name)
    SyncJobClient(project.db).cancel(id_)
    async with project.server(**ONE_AT_A_TIME):
        await project.ended(project.enqueue(name, {"again": True}))
    assert project.document(id_)["status"] == "cancelled"
    assert len(project.notes()) == 1


@pytest.mark.parametrize("kind", KINDS)
async def test_a_run_that_is_cancelled_as_soon_as_it_is_claimed_ends_cancelled(project: Project, kind: str) -> None:
    name = write(project, kind, HANGS)
    client = SyncJobClient(project.db)
    async with project.server(**ONE_AT_A_TIME):
        id_ = project.enqueue(name)
        await until(lambda: project.document(id_).get("lockToken"))
        client.cancel(id_)
        document = await project.ended(id_, "cancelled")
        await project.ended(project.enqueue(name, {"again": True}))
    assert document["cancelReason"] == "cancelled by a client"


@pytest.mark.parametrize("kind", KINDS)
async def test_a_run_that_is_cancelled_while_it_runs_ends_cancelled(project: Project, kind: str) -> None:
    name = write(project, kind, HANGS)
    async with project.server(**ONE_AT_A_TIME):
        id_ = project.enqueue(name)
        (note,) = await begun(project)
        assert SyncJobClient(project.db).cancel_run(note["run"]) is True
        document = await project.ended(id_, "cancelled")
        (run,) = await until(lambda: project.runs(name))
        await nothing_is_left(project, name, id_)
    assert (document["runCount"], document.get("failCount")) == (1, None)
    assert (run["status"], [each["step"] for each in run["stopSteps"]]) == ("cancelled", ["told"])


@pytest.mark.parametrize("kind", KINDS)
async def test_a_run_that_loses_its_lock_is_stopped_and_nothing_of_it_is_stored(project: Project, kind: str) -> None:
    name = write(project, kind, HANGS)
    async with project.server(lease="2 seconds", **ONE_AT_A_TIME):
        id_ = project.enqueue(name)
        (note,) = await begun(project)
        lives = {"_id": "another server", "leaseUntil": project.now() + timedelta(minutes=5)}
        project.db.jobServers.insert_one(lives)
        project.jobs.update_one({"_id": id_}, {"$set": {"lockToken": "another claim's", "lockedBy": "another server"}})
        (run,) = await until(lambda: project.runs(name))
        assert (run["status"], "lock lost" in run["error"]) == ("failed", True)
        if note["pid"] != os.getpid():
            await until(lambda: not is_alive(note["pid"]))
        await until(lambda: slots_used(project) == 0)
        await project.ended(project.enqueue(name, {"again": True}))
        document = project.document(id_)
    assert not {"result", "failCount", "lastFinishedAt"} & document.keys()


@pytest.mark.parametrize("kind", KINDS)
async def test_a_run_goes_back_to_the_queue_when_its_server_is_told_to_end(project: Project, kind: str) -> None:
    name = write(project, kind, "{pause}\nraise JobCancelled('told to stop')")
    id_ = project.enqueue(name)
    process = await project.process(**ONE_AT_A_TIME).started()
    (note,) = await begun(project)
    process.send(signal.SIGTERM)
    assert await process.exit_code() == 0
    document = project.document(id_)
    assert not LOCK_FIELDS & document.keys()
    assert (document["status"], document["runCount"], document["attempt"]) == ("queued", 0, 0)
    assert not {"failCount", "crashes", "lastError"} & document.keys()
    await until(lambda: not is_alive(note["pid"]))
    assert project.runs(name) == []


CRASHES = {
    "server killed": HANGS,
    "os._exit": "os._exit(3)",
    "signal": "os.kill(os.getpid(), signal.SIGKILL)",
}


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        *(pytest.param(kind, HANGS, id=f"server killed - {kind}") for kind in KINDS),
        *(
            pytest.param(kind, CRASHES[how], id=f"{how} - {kind}")
            for how in ("os._exit", "signal")
            for kind in ("inline", "thread")
        ),
    ],
)
async def test_a_run_whose_server_dies_is_taken_back_and_one_crash_is_counted(
    project: Project, kind: str, body: str
) -> None:
    name = write(project, kind, body)
    id_ = project.enqueue(name)
    process = project.process(lease="2 seconds", **ONE_AT_A_TIME)
    (note,) = await begun(project)
    if body is HANGS:
        process.send(signal.SIGKILL)
    await process.exit_code()
    await until(lambda: not is_alive(note["pid"]))
    project.jobs.update_one({"_id": id_}, {"$set": {"data": {"again": True}}})
    async with project.server(lease="2 seconds", **ONE_AT_A_TIME):
        document = await project.ended(id_)
        crash, last = await until(lambda: found if len(found := project.runs(name)) == 2 else [])
    assert (document["runCount"], document["finishedCount"], document.get("failCount")) == (2, 1, None)
    assert (crash["status"], "died while it ran" in crash["error"], last["status"]) == ("failed", True, "completed")
