"""Workers that have done enough are replaced, and no run notices: a supervisor and its workers, as real processes."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog
from pymongo.database import Database

from jobserver.worker import RECYCLED
from tests.integration.conftest import UNLIMITED, Project, Server, eventually
from tests.integration.test_cli_start import locks
from tests.integration.test_supervisor import run_supervisor, supervised, worker, workers_of

Db = Database[dict[str, Any]]

pytestmark = pytest.mark.timeout(120)

NOTES = """
    import os
    class Notes(Job):
        schedule = "manual"
        concurrency = 10
        async def run(self, data, db):
            await db.notes.insert_one({"n": data.get("n"), "pid": os.getpid()})
"""
WAITS = """
    import asyncio, os
    class Waits(Job):
        schedule = "manual"
        concurrency = 10
        async def run(self, db):
            await db.begun.insert_one({"pid": os.getpid()})
            while not await db.finish.find_one({}):
                await asyncio.sleep(0.05)
"""


def limited(project: Project, uri: str, **limits: Any) -> None:
    """Settings with these limits, and a grace period that no waiting run would survive."""
    config = {"process_every": 200, "shutdown_grace": 100, **UNLIMITED, **limits}
    project.configure({"mongodb": {"uri": uri, "database": project.database}, "runner": {"config": config}})


def queue(db: Db, name: str, count: int) -> None:
    """Ask for so many runs, numbered."""
    now = db.client.admin.command("hello")["localTime"]
    db.pulseJobs.insert_many(
        {"name": name, "type": "normal", "status": "queued", "priority": 0, "nextRunAt": now, "data": {"n": number}}
        for number in range(count)
    )


def completed(db: Db) -> int:
    """How many documents are done."""
    return db.pulseJobs.count_documents({"status": "completed"})


def ended_in_order(server: Server, db: Db) -> bool:
    """Whether it ends with 0 and leaves nothing behind."""
    server.told(signal.SIGTERM)
    return (server.ended(), locks(db), db.jobServers.count_documents({})) == (0, 0, 0)


def test_after_so_many_runs_a_worker_is_followed_by_a_fresh_one(
    project: Project, project_db: Db, mongo_uri: str
) -> None:
    project.job("notes", NOTES)
    limited(project, mongo_uri, recycle_after_runs=5)
    server = supervised(project, 2)
    before = set(workers_of(project))
    queue(project_db, "api:notes", 20)
    eventually(lambda: completed(project_db) == 20)
    eventually(lambda: len(alive := set(workers_of(project))) == 2 and alive != before, within=60)
    assert server.says("server draining")["reason"].endswith("recycle_after_runs is 5")
    assert server.says("worker recycled")["level"] == "info"
    assert server.records("worker ended") == []
    assert server.records("runs given back") == []
    assert ended_in_order(server, project_db)


def test_no_run_is_lost_or_repeated_across_many_recyclings_under_load(
    project: Project, project_db: Db, mongo_uri: str
) -> None:
    project.job("notes", NOTES)
    limited(project, mongo_uri, recycle_after_runs=30)
    server = supervised(project, 3)
    rounds = 0
    while len(project_db.notes.distinct("pid")) < 8:
        rounds += 1
        assert rounds < 100
        queue(project_db, "api:notes", 100)
        eventually(lambda: completed(project_db) == project_db.pulseJobs.count_documents({}), within=60)
    ran = 100 * rounds
    notes = Counter(note["n"] for note in project_db.notes.find())
    assert notes == Counter(dict.fromkeys(range(100), rounds))
    assert project_db.pulseJobs.count_documents({"status": "completed", "runCount": 1}) == ran
    eventually(lambda: project_db.jobRuns.count_documents({}) >= ran)  # history comes a moment after the job's end
    assert project_db.jobRuns.count_documents({}) == project_db.jobRuns.count_documents({"status": "completed"}) == ran
    assert server.records("worker ended") == []
    assert ended_in_order(server, project_db)


def test_a_drain_lets_every_run_end_however_long_it_takes(project: Project, project_db: Db, mongo_uri: str) -> None:
    project.job("waits", WAITS)
    project.job("notes", NOTES)
    limited(project, mongo_uri, recycle_after_runs=1)
    server = supervised(project, 2)
    for _ in range(6):
        project.asked("run", "api:waits")
    eventually(lambda: project_db.begun.count_documents({}) == 6)
    holding = set(project_db.begun.distinct("pid"))
    # The fresh ones work on beside them; those that drain take nothing more.
    eventually(lambda: is_draining(project, holding, project_db))
    for pid in holding:
        os.kill(pid, 0)
    project_db.finish.insert_one({})
    eventually(lambda: project_db.jobRuns.count_documents({"name": "api:waits"}) == 6)
    runs = list(project_db.jobRuns.find({"name": "api:waits"}))
    assert [(run["status"], run["attempt"]) for run in runs] == [("completed", 1)] * 6
    assert project_db.begun.count_documents({}) == 6
    eventually(lambda: len(server.records("worker recycled")) >= len(holding))
    assert ended_in_order(server, project_db)


def is_draining(project: Project, holding: set[int], db: Db) -> bool:
    """Give each of these workers a run that ends, until it has had enough."""
    draining = {each["pid"] for each in project.asked("status")["servers"] if each["draining"]}
    if holding <= draining:
        return True
    queue(db, "api:notes", 4)
    return False


def test_a_worker_above_its_memory_is_replaced(project: Project, project_db: Db, mongo_uri: str) -> None:
    project.job(
        "keeps",
        """
        import os
        KEPT = []
        class Keeps(Job):
            schedule = "manual"
            async def run(self, db):
                KEPT.append(b"x" * 50_000_000)
                await db.notes.insert_one({"pid": os.getpid(), "kept": len(KEPT)})
        """,
    )
    limited(project, mongo_uri, recycle_memory="400 MB")
    server = supervised(project, 2)
    while len(project_db.notes.distinct("pid")) < 3:
        done = completed(project_db)
        queue(project_db, "api:keeps", 1)
        eventually(lambda done=done: completed(project_db) == done + 1)  # type: ignore[misc]
    assert "recycle_memory is 400 MB" in server.says("server draining")["reason"]
    assert server.records("memory limit ignored") == []
    assert ended_in_order(server, project_db)


def test_a_ceiling_below_an_idle_server_is_ignored_and_said(project: Project, project_db: Db, mongo_uri: str) -> None:
    project.job("notes", NOTES)
    limited(project, mongo_uri, recycle_memory="32 MiB")
    server = supervised(project, 2)
    eventually(lambda: len(server.records("memory limit ignored")) == 2)
    queue(project_db, "api:notes", 3)
    eventually(lambda: completed(project_db) == 3)
    assert server.records("server draining") == []
    assert ended_in_order(server, project_db)


def test_a_worker_full_of_runs_that_nothing_could_end_is_replaced(
    project: Project, project_db: Db, mongo_uri: str
) -> None:
    project.job(
        "deaf",
        """
        import os, time
        class Deaf(Job):
            schedule = "manual"
            concurrency = 10
            max_execution_time = "100 ms"
            def run(self, db):
                db.begun.insert_one({"pid": os.getpid()})
                while True:
                    try:
                        time.sleep(0.1)
                    except BaseException:
                        pass
        """,
    )
    limited(project, mongo_uri, recycle_stuck=2, cancel_grace=200)
    server = supervised(project, 2)
    for _ in range(4):
        project.asked("run", "api:deaf")
    eventually(lambda: project_db.pulseJobs.count_documents({"status": "failed"}) == 4)
    stuck = Counter(each["pid"] for each in project_db.begun.find())
    full = {pid for pid, count in stuck.items() if count >= 2}
    assert full
    eventually(lambda: not full & set(workers_of(project)) and len(workers_of(project)) == 2)
    assert server.says("server draining")["reason"].endswith("recycle_stuck is 2")
    assert server.records("worker ended") == []
    assert ended_in_order(server, project_db)


def test_a_second_sigterm_while_a_worker_drains_still_hurries(project: Project, project_db: Db, mongo_uri: str) -> None:
    project.job("waits", WAITS)
    project.job("notes", NOTES)
    limited(project, mongo_uri, recycle_after_runs=1, shutdown_grace="10 minutes")
    server = supervised(project, 2)
    id_ = project.asked("run", "api:waits")["id"]
    (pid,) = [eventually(project_db.begun.find_one)["pid"]]
    eventually(lambda: is_draining(project, {pid}, project_db))
    server.told(signal.SIGTERM)
    eventually(lambda: server.records("waiting for runs"))
    server.told(signal.SIGTERM)
    assert server.ended(within=20) == 130
    waits = project_db.pulseJobs.find_one({"name": "api:waits"})
    assert waits is not None
    assert (str(waits["_id"]), waits["status"], locks(project_db)) == (id_, "queued", 0)


def test_one_sigterm_ends_a_drain_after_the_grace_period(project: Project, project_db: Db, mongo_uri: str) -> None:
    project.job("waits", WAITS)
    project.job("notes", NOTES)
    limited(project, mongo_uri, recycle_after_runs=1)
    server = supervised(project, 2)
    project.asked("run", "api:waits")
    pid = eventually(project_db.begun.find_one)["pid"]
    eventually(lambda: is_draining(project, {pid}, project_db))
    assert ended_in_order(server, project_db)
    assert project_db.pulseJobs.count_documents({"name": "api:waits", "status": "queued"}) == 1


def test_without_a_supervisor_it_ends_with_an_exit_code_of_its_own(
    project: Project, project_db: Db, mongo_uri: str
) -> None:
    project.job("notes", NOTES)
    limited(project, mongo_uri, recycle_after_runs=3)
    server = project.start()
    queue(project_db, "api:notes", 3)
    assert server.ended() == RECYCLED == 75
    assert (completed(project_db), locks(project_db), project_db.jobServers.count_documents({})) == (3, 0, 0)


async def test_recycled_workers_start_again_at_once_however_soon_they_end(tmp_path: Path) -> None:
    script = f"open(os.path.join({str(tmp_path)!r}, str(os.getpid())), 'w')\nsys.exit({RECYCLED})"
    with structlog.testing.capture_logs() as records:
        running = asyncio.create_task(run_supervisor(worker(script)))
        await asyncio.to_thread(eventually, lambda: len(list(tmp_path.iterdir())) >= 15)
        os.kill(os.getpid(), signal.SIGTERM)
        assert await asyncio.wait_for(running, 10) == 0
    events = {record["event"] for record in records}
    assert "worker recycled" in events
    assert "worker ended" not in events


async def test_a_drain_that_ends_together_with_the_supervisor_is_an_end_in_order(tmp_path: Path) -> None:
    script = f"""
signal.signal(signal.SIGTERM, lambda *_: sys.exit({RECYCLED}))
open(os.path.join({str(tmp_path)!r}, str(os.getpid())), 'w')
time.sleep(600)
"""
    running = asyncio.create_task(run_supervisor(worker(script)))
    await asyncio.to_thread(eventually, lambda: len(list(tmp_path.iterdir())) == 2)
    os.kill(os.getpid(), signal.SIGTERM)
    assert await asyncio.wait_for(running, 10) == 0


async def test_a_worker_that_was_recycled_has_lived_however_soon_that_was(tmp_path: Path) -> None:
    """What is refused before any worker has lived ends everything; afterwards it is tried again."""
    script = f"""
open(os.path.join({str(tmp_path)!r}, str(os.getpid())), 'w')
sys.exit({RECYCLED} if len(os.listdir({str(tmp_path)!r})) == 1 else 1)
"""
    assert await run_supervisor(worker(script), workers=1, first_pause=timedelta(milliseconds=20)) == 1
    assert len(list(tmp_path.iterdir())) == 6  # five quick deaths after it
