"""One run: what `run` is given, how it can end, and what is kept of it."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from tests.project import Project, Records, until

FORMS = {
    "nothing": ("async def run(self):", "return self.job_name"),
    "db and progress": ("async def run(self, db, progress):", "await progress(1, 1); return self.job_name"),
    "db, done and progress": ("async def run(self, db, done, progress):", "done(None, self.job_name)"),
    "any order": ("async def run(self, context, log, data, done):", "log.i('x'); done(None, context.name)"),
    "with defaults": ("async def run(self, db=None, *, data=None):", "return self.job_name if data == {} else 0"),
    "a thread, nothing": ("def run(self):", "return self.job_name"),
    "a thread": ("def run(self, db, done, progress):", "progress(1, 1); done(None, self.job_name)"),
}
RETURNS = """
class Returns(Job):
    schedule = "manual"
    {kind} run(self, data):
        return data["value"]
"""
BOTH_KINDS = pytest.mark.parametrize("kind", ["async def", "def"], ids=["coroutine", "thread"])


async def test_run_is_given_what_it_asks_for_by_name_in_whatever_form(project: Project) -> None:
    names = {
        project.job(f"form{number}", f"class Form(Job):\n    schedule = 'manual'\n    {head}\n        {body}\n"): form
        for number, (form, (head, body)) in enumerate(FORMS.items())
    }
    async with project.server():
        results = {form: (await project.ran(name))["result"] for name, form in names.items()}
    assert results == {form: name for name, form in names.items()}


async def test_a_coroutine_gets_an_async_database_a_thread_a_synchronous_one_and_motor_a_motor_one(
    project: Project,
) -> None:
    body = "return f'{type(db).__module__.split(chr(46))[0]} {type(db).__name__} {db.name}'"
    jobs = {
        "in_loop": f"class A(Job):\n    schedule = 'manual'\n    async def run(self, db):\n        {body}\n",
        "in_thread": f"class A(Job):\n    schedule = 'manual'\n    def run(self, db):\n        {body}\n",
        "for_motor": f"""class A(Job):
    schedule = 'manual'
    driver = 'motor'
    async def run(self, db):
        await db.things.insert_one({{"_id": 1}})
        assert [thing async for thing in db.things.find()] == [{{"_id": 1}}]
        {body}
""",
    }
    names = [project.job(stem, source) for stem, source in jobs.items()]
    async with project.server():
        results = [(await project.ran(name))["result"] for name in names]
    assert results == [
        f"pymongo AsyncDatabase {project.name}",
        f"pymongo Database {project.name}",
        f"motor AsyncIOMotorDatabase {project.name}",
    ]


async def test_two_runs_of_one_job_share_no_instance(project: Project) -> None:
    source = """
class Counts(Job):
    schedule = "manual"
    count = 0
    async def run(self):
        self.count += 1
        return self.count
"""
    name = project.job("counts", source)
    async with project.server():
        assert [(await project.ran(name))["result"] for _ in range(2)] == [1, 1]


@BOTH_KINDS
async def test_a_result_is_kept_as_it_is_also_a_falsy_one(project: Project, kind: str) -> None:
    name = project.job("returns", RETURNS.format(kind=kind))
    values: list[Any] = [0, "", False, [], {}, 0.0, "$name", {"$set": 1}, {"a.b": [None]}]
    async with project.server():
        results = [(await project.ran(name, {"value": value}))["result"] for value in values]
        runs = await until(lambda: found if len(found := project.runs(name)) == len(values) else [])
    for kept in (results, [run["result"] for run in runs]):
        assert list(map(repr, kept)) == list(map(repr, values))  # False is not 0 here


async def test_a_run_that_returns_nothing_leaves_no_result_not_even_an_older_one(project: Project) -> None:
    source = """
class Returns(Job):
    schedule = "0 0 1 1 *"
    async def run(self, db):
        await note(db)
        return await db.notes.count_documents({}) if await db.notes.count_documents({}) == 1 else None
"""
    name = project.job("returns", source)
    async with project.server():
        id_ = project.make_due(name)["_id"]
        assert (await until(lambda: project.jobs.find_one({"_id": id_, "finishedCount": 1})))["result"] == 1
        project.make_due(name)
        assert "result" not in await until(lambda: project.jobs.find_one({"_id": id_, "finishedCount": 2}))


DECIDED = [
    ("done(None, 'first'); return 'second'", "completed", "first"),
    ("done(None, 'first'); raise ValueError('second')", "completed", "first"),
    ("done(None, 'first'); done(ValueError('second'))", "completed", "first"),
    ("done(ValueError('first')); return 'second'", "failed", "first"),
    ("done('first'); done(None, 'second')", "failed", "first"),
    ("done(); return 'second'", "completed", None),
    ("done(JobCancelled('first')); raise ValueError('second')", "cancelled", "first"),
]


@BOTH_KINDS
async def test_the_first_of_return_raise_and_done_decides_and_the_log_tells_what_was_ignored(
    project: Project, kind: str, log: Records
) -> None:
    source = "class Decides(Job):\n    schedule = 'manual'\n    {kind} run(self, done):\n        {body}\n"
    names = [
        project.job(f"case{number}", source.format(kind=kind, body=body)) for number, (body, *_) in enumerate(DECIDED)
    ]
    async with project.server():
        for name, (_, status, word) in zip(names, DECIDED, strict=True):
            document = await project.ended(project.enqueue(name), status)
            said = {"completed": "result", "failed": "lastError", "cancelled": "cancelReason"}[status]
            assert document.get(said) == word
            assert [record for record in log if "ignored" in record["event"] and record.get("job") == name]


@BOTH_KINDS
async def test_a_failed_run_keeps_the_error_the_traceback_and_the_moment(project: Project, kind: str) -> None:
    source = f"""
def deep():
    raise ValueError("no luck: $name")
class Fails(Job):
    schedule = "manual"
    {kind} run(self):
        deep()
"""
    name = project.job("fails", source)
    async with project.server() as server:
        document = await project.ended(project.enqueue(name), "failed")
        assert document["lastError"] == document["failReason"] == "no luck: $name"
        assert document["failCount"] == 1
        assert document["failedAt"] == document["lastFinishedAt"]
        assert document["stack"].startswith("Traceback")
        assert "in deep" in document["stack"]
        assert "jobserver/execution" not in document["stack"]
        assert "nextRunAt" not in document
        (run,) = await until(lambda: project.runs(name))
        assert (run["error"], run["stack"], run["status"]) == (document["lastError"], document["stack"], "failed")
        assert server.exit_code == 0


RAISED = {
    "SystemExit(3)": "ended with exit code 3",
    "KeyboardInterrupt()": "KeyboardInterrupt()",
    "asyncio.CancelledError()": "CancelledError",
    "ValueError('\\ud800')": "\\ud800",
    "ValueError('x' * 100_000)": "characters left out",
    "GeneratorExit()": "GeneratorExit",
}


@BOTH_KINDS
async def test_whatever_a_job_raises_ends_that_run_only(project: Project, kind: str) -> None:
    source = "class Raises(Job):\n    schedule = 'manual'\n    {kind} run(self):\n        raise {raised}\n"
    names = [
        project.job(f"case{number}", source.format(kind=kind, raised=raised)) for number, raised in enumerate(RAISED)
    ]
    other = project.job("noted")
    async with project.server():
        for name, shown in zip(names, RAISED.values(), strict=True):
            document = await project.ended(project.enqueue(name), "failed")
            assert shown in document["lastError"]
        await project.ran(other)


async def test_a_class_whose_instances_cannot_be_made_fails_its_runs(project: Project) -> None:
    source = """
class Broken(Job):
    schedule = "manual"
    def __init__(self):
        if os.path.exists(__file__ + ".today"):
            raise RuntimeError("not today")
    async def run(self):
        pass
"""
    name = project.job("broken", source)
    async with project.server():
        (project.root / "jobs" / "broken.py.today").touch()
        assert (await project.ended(project.enqueue(name), "failed"))["lastError"] == "not today"


UNSTORABLE = {
    "{'a': [1, {'b': object()}]}": "result.a[1].b",
    "{1, 2}": "result",
    "2 ** 70": "result",
    "{'text': '\\ud800'}": "result.text",
    "{'x': 'y' * (17 * 1024 * 1024)}": "the limit is 1,048,576",
    "(lambda deep: [deep := [deep] for _ in range(5000)][-1])([])": "result",
}


@BOTH_KINDS
async def test_a_result_that_cannot_be_stored_fails_the_run_with_that_reason(project: Project, kind: str) -> None:
    source = """
class Returns(Job):
    schedule = "manual"
    retry = Retry(attempts=3, delay=0)
    {kind} run(self):
        return {value}
"""
    names = [
        project.job(f"case{number}", source.format(kind=kind, value=value)) for number, value in enumerate(UNSTORABLE)
    ]
    async with project.server():
        for name, reason in zip(names, UNSTORABLE.values(), strict=True):
            document = await project.ended(project.enqueue(name), "failed")
            assert reason in document["lastError"]
            assert document["failCount"] == 1
            assert "result" not in document


@BOTH_KINDS
async def test_progress_is_stored_and_extends_the_lock(project: Project, kind: str) -> None:
    call = "await " if kind.startswith("async") else ""
    gate = "await at_gate(db, gate)" if call else "at_gate_in_thread(db, gate)"
    source = f"""
class Reports(Job):
    schedule = "manual"
    lock_lifetime = "10 minutes"
    {kind} run(self, db, progress):
        for gate, report in (("a", (200, 50, "a quarter")), ("b", (0, 7)), ("c", (3, 1.5, "$half")), ("d", (1, 9))):
            {gate}
            {call}progress(*report)
        {gate.replace("gate)", "'e')")}
        {call}self.touch()
        {gate.replace("gate)", "'f')")}
"""
    name = project.job("reports", source)
    async with project.server():
        id_ = project.enqueue(name)
        seen = await until(lambda: project.jobs.find_one({"_id": id_, "lockUntil": {"$exists": True}}))
        for gate, percent, data in (
            ("a", 25, {"total": 200, "current": 50, "message": "a quarter", "percent": 25}),
            ("b", None, {"total": 0, "current": 7}),
            ("c", 50, {"total": 3, "current": 1.5, "message": "$half", "percent": 50}),
            ("d", 100, {"total": 1, "current": 9, "percent": 100}),
        ):
            project.open(gate)
            later = {"_id": id_, "lockUntil": {"$gt": seen["lockUntil"]}}
            seen = await until(partial(project.jobs.find_one, later))
            assert seen.get("progress") == percent
            moment = seen["progressData"].pop("updatedAt")
            assert seen["progressData"] == data
            assert (seen["lockUntil"] - moment).total_seconds() == 600
        project.open("e")
        touched = await until(lambda: project.jobs.find_one({"_id": id_, "lockUntil": {"$gt": seen["lockUntil"]}}))
        assert touched["progress"] == 100
        project.open("f")
        assert (await project.ended(id_))["progressData"]["current"] == 9


@BOTH_KINDS
async def test_progress_that_is_no_number_raises_and_changes_nothing(project: Project, kind: str) -> None:
    call = "await " if kind.startswith("async") else ""
    source = f"""
class Reports(Job):
    schedule = "manual"
    {kind} run(self, progress):
        {call}progress(10, 1, "before")
        refused = []
        for bad in ((10, "2"), (None, 2), (10, -1), (10, float("nan")), (10, True), (10, 2 ** 80), (10, 2, 3)):
            try:
                {call}progress(*bad)
            except JobServerError as error:
                refused.append(type(error).__name__)
        return refused
"""
    name = project.job("reports", source)
    async with project.server():
        document = await project.ran(name)
    assert document["result"] == ["DataError"] * 7
    assert document["progressData"]["current"] == 1


LOSES = """
class Loses(Job):
    schedule = "manual"
    {kind} run(self, db, progress, context):
        {call}note(db, run=context.run_id)
        try:
            while {call}db.gates.find_one({{"_id": context.run_id}}) is None:
                {call}progress(1, 0)
                {sleep}(0.01)
        except BaseException as error:
            {call}note(db, lost=context.run_id, error=type(error).__name__)
            raise
        return "from " + context.run_id
"""


@BOTH_KINDS
@pytest.mark.parametrize("how", ["deleted", "unlocked", "stolen"])
async def test_a_run_whose_document_is_deleted_or_unlocked_by_hand_is_told_and_stores_nothing(
    project: Project, kind: str, how: str
) -> None:
    call, sleep = ("await ", "await asyncio.sleep") if kind.startswith("async") else ("", "time.sleep")
    name = project.job("loses", LOSES.format(kind=kind, call=call, sleep=sleep))
    async with project.server(lease="10 minutes"):  # whose reaper does not take the thief for dead meanwhile
        id_ = project.enqueue(name)
        await until(project.notes)
        match how:
            case "deleted":
                project.jobs.delete_one({"_id": id_})
            case "unlocked":
                project.jobs.update_one({"_id": id_}, {"$unset": {"lockedAt": "", "lockToken": ""}})
            case "stolen":
                project.jobs.update_one({"_id": id_}, {"$set": {"lockToken": "somebody's", "lockedBy": "somebody"}})
        (lost,) = await until(lambda: project.notes(lost=f"{id_}:1"))
        # In a thread the loss is heard at the next report; a coroutine may be interrupted before it comes to that.
        assert lost["error"] in ("LockLost", "CancelledError", "JobCancelled")
        if how == "unlocked":
            project.db.gates.insert_one({"_id": f"{id_}:2"})
            assert (await project.ended(id_))["result"] == f"from {id_}:2"
        elif how == "stolen":
            assert project.document(id_)["lockToken"] == "somebody's"
            assert "result" not in project.document(id_)
        else:
            assert project.document(id_) == {}


async def test_a_run_that_reports_nothing_is_told_of_a_lost_lock_by_the_heartbeat(project: Project) -> None:
    source = """
class Silent(Job):
    schedule = "manual"
    async def run(self, db, context):
        await note(db, run=context.run_id)
        try:
            await asyncio.sleep(3600)
        finally:
            await note(db, told=context.run_id, flag=bool(context.cancelled))
"""
    name = project.job("silent", source)
    async with project.server(lease="3 seconds"):
        id_ = project.enqueue(name)
        await until(project.notes)
        project.jobs.delete_one({"_id": id_})
        (told,) = await until(lambda: project.notes(told=f"{id_}:1"))
        assert told["flag"] is True


async def test_the_context_names_the_run_and_stays_the_same_for_every_attempt_where_it_should(
    project: Project,
) -> None:
    source = """
class Tells(Job):
    schedule = "manual"
    retry = Retry(attempts=1, delay=0)
    async def run(self, db, context):
        names = ("name", "run_id", "job_id", "attempt", "fence", "idempotency_key", "scheduled_at", "server")
        await note(db, **{name: getattr(context, name) for name in names})
        raise ValueError("again")
"""
    name = project.job("tells", source)
    async with project.server():
        id_ = project.enqueue(name, nextRunAt=project.now())
        due = project.document(id_)["nextRunAt"]
        document = await project.ended(id_, "failed")
        first, second = project.notes()
        for note in (first, second):
            assert (note["name"], note["job_id"], note["idempotency_key"]) == (name, id_, str(id_))
            assert note["scheduled_at"] == due
            assert note["server"] == project.db.jobServers.find_one()["_id"]
        assert [(note["attempt"], note["fence"], note["run_id"]) for note in (first, second)] == [
            (1, 1, f"{id_}:1"),
            (2, 2, f"{id_}:2"),
        ]
        assert document["fence"] == 2


async def test_every_attempt_is_kept_in_the_history_with_its_length_its_end_and_its_server(project: Project) -> None:
    source = """
class Flaky(Job):
    schedule = "manual"
    retry = Retry(attempts=3, delay=0)
    async def run(self, db, context):
        await asyncio.sleep(0.05)
        if context.attempt < 3:
            raise ValueError(f"attempt {context.attempt}")
        return {"attempt": context.attempt}
"""
    name = project.job("flaky", source)
    async with project.server():
        server = project.db.jobServers.find_one()["_id"]
        id_ = project.enqueue(name)
        document = await project.ended(id_)
        runs = await until(lambda: found if len(found := project.runs(name)) == 3 else [])
    assert [(run["attempt"], run["status"], run.get("error"), run.get("result")) for run in runs] == [
        (1, "failed", "attempt 1", None),
        (2, "failed", "attempt 2", None),
        (3, "completed", None, {"attempt": 3}),
    ]
    for run in runs:
        assert (run["jobId"], run["name"], run["server"]) == (id_, name, server)
        assert run["duration"] >= 50
        assert run["finishedAt"] >= run["startedAt"]
    assert runs[-1]["startedAt"] == document["lastRunAt"]
    assert document["duration"] >= 50
    assert (document["runCount"], document["finishedCount"], document["failCount"]) == (3, 1, 2)


async def test_what_a_run_logs_carries_its_job_and_its_run_whatever_it_logs_with(project: Project) -> None:
    source = """
def library(word):
    logging.getLogger("library").warning("plain %s", word)
async def child(word):
    library(word)
class Loop(Job):
    name = "api:loop"
    schedule = "manual"
    async def run(self, log):
        self.logger.i("structured", {"rows": 3, "job": "shadow"})
        log.warning("by parameter")
        library("here")
        await asyncio.create_task(child("in a task"))
        await asyncio.to_thread(library, "in a helper thread")
class Thread(Job):
    name = "api:thread"
    schedule = "manual"
    def run(self):
        self.logger.e("structured", {"rows": 4})
        library("in a thread")
"""
    project.job("logs", source)
    process = await project.process().started()
    for name in ("api:loop", "api:thread"):
        run = f"{(await project.ran(name))['_id']}:1"
        structured = await process.says("structured", job=name, run=run)
        assert structured["rows"] == (3 if name == "api:loop" else 4)
        assert structured["level"] == ("info" if name == "api:loop" else "error")
        plain = ["in a thread"] if name == "api:thread" else ["here", "in a task", "in a helper thread"]
        for word in plain:
            await process.says(f"plain {word}", job=name, run=run, level="warning")
    await process.says("by parameter", job="api:loop", level="warning")
    assert (await process.says("structured", job="api:loop"))["job_"] == "shadow"
