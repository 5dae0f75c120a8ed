"""A supervisor and its workers, as real processes that are really killed."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
import structlog
from pymongo.database import Database

from jobserver.errors import DatabaseError
from jobserver.store.claims import LONGEST_CLAIM
from jobserver.supervisor import Supervisor, TakenBack, send
from tests.integration.conftest import UNLIMITED, Project, Server, eventually
from tests.integration.test_cli_start import LONG, locks, terminal

Db = Database[dict[str, Any]]

pytestmark = pytest.mark.timeout(120)

PIDS = """
    import asyncio, os
    class Pids(Job):
        schedule = "manual"
        concurrency = 4
        async def run(self, data, db, context):
            await db.begun.insert_one({"pid": os.getpid(), "job": context.job_id, "fence": context.fence})
            while not await db.finish.find_one({}):
                await asyncio.sleep(0.05)
"""


def workers_of(project: Project) -> list[int]:
    return [server["pid"] for server in project.asked("status")["servers"] if server["alive"]]


def supervised(project: Project, count: int) -> Server:
    """A supervisor whose workers have all begun."""
    server = project.start("--workers", str(count), ready=False)
    eventually(lambda: len(server.records("server started")) == count, within=60)
    return server


def test_the_runs_of_a_killed_worker_start_elsewhere_at_once(project: Project, project_db: Db, mongo_uri: str) -> None:
    project.job("pids", PIDS)
    seldom = {"process_every": "1 hour", **UNLIMITED}  # nobody finds it by looking
    project.configure({"mongodb": {"uri": mongo_uri, "database": project.database}, "runner": {"config": seldom}})
    server = supervised(project, 2)
    for _ in range(3):
        project.asked("run", "api:pids")
    eventually(lambda: project_db.begun.count_documents({}) == 3)
    victim = project_db.begun.find_one({})
    assert victim is not None
    lost = [run["job"] for run in project_db.begun.find({"pid": victim["pid"]})]
    os.kill(victim["pid"], signal.SIGKILL)
    others = {"job": {"$in": lost}, "pid": {"$ne": victim["pid"]}}
    eventually(lambda: project_db.begun.count_documents(others) == len(lost), within=10)  # not the lease, which is 30 s
    assert server.says("worker ended")["how"] == "SIGKILL"
    eventually(lambda: len(workers_of(project)) == 2)
    project_db.finish.insert_one({})
    eventually(lambda: project_db.pulseJobs.count_documents({"name": "api:pids", "status": "completed"}) == 3)
    assert [run["error"] for run in project_db.jobRuns.find({"status": "failed"})] == [
        f"worker {server.says('worker ended')['worker']} (process {victim['pid']}) ended: SIGKILL"
    ] * len(lost)


def test_workers_share_the_work_under_one_supervisor(project: Project, project_db: Db) -> None:
    project.job("pids", PIDS.replace("concurrency = 4", "concurrency = 1"))
    server = supervised(project, 3)
    for _ in range(3):
        project.asked("run", "api:pids")
    eventually(lambda: len(project_db.begun.distinct("pid")) == 3)
    registered = list(project_db.jobServers.find())
    assert len({found["supervisor"] for found in registered}) == 1
    assert {found["pid"] for found in registered} == set(project_db.begun.distinct("pid"))
    project_db.finish.insert_one({})
    server.told(signal.SIGTERM)
    assert server.ended() == 0


def test_sigterm_drains_every_worker(project: Project, project_db: Db) -> None:
    project.job("long", LONG)
    server = supervised(project, 2)
    for _ in range(4):
        project.asked("run", "api:long", "--data", '{"seconds": 1.5}')
    eventually(lambda: project_db.begun.count_documents({}))
    server.told(signal.SIGTERM)
    assert server.ended() == 0
    begun = project_db.begun.count_documents({})
    assert project_db.jobRuns.count_documents({"status": "completed"}) == begun
    assert project_db.pulseJobs.count_documents({"name": "api:long", "status": "queued"}) == 4 - begun
    assert (locks(project_db), project_db.jobServers.count_documents({})) == (0, 0)


def test_a_second_signal_hurries_every_worker(project: Project, project_db: Db) -> None:
    project.job("long", LONG)
    server = supervised(project, 2)
    project.asked("run", "api:long", "--data", '{"seconds": 600}')
    eventually(project_db.begun.find_one)
    server.told(signal.SIGINT)
    eventually(lambda: len(server.records("server stopping")) == 3)  # the supervisor and both workers
    server.told(signal.SIGINT)
    assert server.ended(within=20) == 130
    assert (locks(project_db), project_db.jobServers.count_documents({})) == (0, 0)


def test_ctrl_c_reaches_the_supervisor_alone(project: Project, project_db: Db) -> None:
    project.job("long", LONG)
    with terminal(project, "start", "--workers", "2") as screen:
        screen.shows("workers +2")
        screen.shows("api:long +by hand")
        project.asked("run", "api:long", "--data", '{"seconds": 1}')
        eventually(project_db.begun.find_one)
        screen.types("\x03")
        # A second SIGINT, from the terminal to the worker itself, would have cut the run short with 130.
        assert screen.ended() == 0
        assert screen.plain.count("stopping:") == 1
        assert screen.plain.count("api:long  ") == 1  # one table
    assert project_db.jobRuns.count_documents({"status": "completed"}) == 1


def test_a_worker_that_somebody_ends_in_order_is_replaced_at_once(project: Project, project_db: Db) -> None:
    project.job("long", LONG)
    server = supervised(project, 2)
    before = workers_of(project)
    os.kill(before[0], signal.SIGTERM)
    assert server.says("worker ended")["how"] == "exit code 0"
    eventually(lambda: len(set(workers_of(project)) - set(before)) == 1)
    assert server.process.poll() is None


def worker(script: str) -> list[str]:
    return [sys.executable, "-c", "import os, signal, sys, time\n" + script]


async def run_supervisor(command: list[str], **options: Any) -> int:
    defaults: dict[str, Any] = {
        "id": "supervisor",
        "workers": 2,
        "environ": os.environ,
        "grace": timedelta(seconds=30),
        "hand_on": lambda _pid, _reason: (),
    }
    return await Supervisor(command=command, **{**defaults, **options}).run()


def begun(directory: Any, count: int) -> Callable[[], bool]:
    return lambda: len(list(directory.iterdir())) >= count


async def test_a_signal_that_meets_the_end_of_a_worker_leaves_its_exit_code_true() -> None:
    for _ in range(50):
        process = await asyncio.create_subprocess_exec("/bin/sh", "-c", "exit 2")
        while psutil.pid_exists(process.pid):  # the event loop stands still meanwhile, as it does when it is busy
            send(process, signal.SIGCONT)
        assert await process.wait() == 2


@pytest.mark.parametrize("code", [1, 2])
async def test_workers_that_are_refused_at_the_start_are_not_started_again(code: int, tmp_path: Any) -> None:
    script = f"open(os.path.join({str(tmp_path)!r}, str(os.getpid())), 'w')\nsys.exit({code})"
    assert await run_supervisor(worker(script), first_pause=timedelta(minutes=5)) == code
    assert len(list(tmp_path.iterdir())) <= 2


async def test_workers_that_keep_dying_are_given_up_with_70(tmp_path: Any) -> None:
    script = f"open(os.path.join({str(tmp_path)!r}, str(os.getpid())), 'w')\nsys.exit(3)"
    assert await run_supervisor(worker(script), first_pause=timedelta(milliseconds=20)) == 70
    assert 10 <= len(list(tmp_path.iterdir())) <= 12  # five of each, and what was being started meanwhile


async def test_a_worker_that_cannot_even_be_started_is_tried_again_and_given_up_with_70() -> None:
    assert await run_supervisor(["/no/such/program"], first_pause=timedelta(milliseconds=20)) == 70


async def test_a_worker_that_ends_in_order_again_and_again_waits_before_the_next_one() -> None:
    with structlog.testing.capture_logs() as records:
        running = asyncio.create_task(run_supervisor(worker("pass"), workers=1, first_pause=timedelta(minutes=5)))
        pauses: list[int] = await asyncio.to_thread(eventually, lambda: two_pauses(records))
        os.kill(os.getpid(), signal.SIGTERM)
        assert await asyncio.wait_for(running, 10) == 0
    assert pauses == [0, 30_000]


def two_pauses(records: Sequence[Mapping[str, Any]]) -> list[int]:
    pauses = [record["restart_in_ms"] for record in list(records) if record["event"] == "worker ended"]
    return pauses if len(pauses) == 2 else []


@pytest.mark.parametrize("code", [0, 75])
async def test_a_worker_that_its_job_has_ended_leaves_no_lock_whatever_the_exit_code(code: int) -> None:
    taken: list[str] = []

    def hand_on(_pid: int, reason: str) -> Sequence[TakenBack]:
        taken.append(reason)
        os.kill(os.getpid(), signal.SIGTERM)
        return ()

    assert await run_supervisor(worker(f"os._exit({code})"), workers=1, hand_on=hand_on) == 0
    assert taken[0].endswith(f"exit code {code}")


async def test_each_dead_workers_locks_are_taken_back_and_again_until_mongodb_answers() -> None:
    taken: list[tuple[int, str]] = []

    def hand_on(pid: int, reason: str) -> Sequence[TakenBack]:
        taken.append((pid, reason))
        if len(taken) == 1:
            raise DatabaseError("away")
        os.kill(os.getpid(), signal.SIGTERM)
        return [
            TakenBack(name=name, job_id=name * 2, crashes=crashes, given_up=crashes == 3)
            for name, crashes in (("y", 1), ("x", 1), ("x", 2), ("bad", 3), ("worse", 3))
        ]

    with structlog.testing.capture_logs() as records:
        await run_supervisor(worker("os.kill(os.getpid(), 9)"), workers=1, hand_on=hand_on)
    (again,) = (record for record in records if record["event"] == "runs given back")
    assert (again["runs"], again["jobs"]) == (3, ["x", "y"])
    given_up = [(each["name"], each["job_id"], each["crashes"]) for each in records if each["event"] == "job given up"]
    assert given_up == [("bad", "badbad", 3), ("worse", "worseworse", 3)]
    assert len(taken) == 2
    assert taken[0] == taken[1]
    assert taken[0][1].endswith("ended: SIGKILL")


async def test_what_a_dead_worker_was_claiming_is_looked_for_again_a_moment_later() -> None:
    looks: list[str] = []

    def hand_on(_pid: int, _reason: str | None) -> Sequence[TakenBack]:
        looks.append("at once")
        return ()

    def sign_off(_pids: Sequence[int]) -> int:
        looks.append("again")
        if looks.count("again") == 1:
            raise RuntimeError("can't start new thread")
        os.kill(os.getpid(), signal.SIGTERM)
        return 1

    await run_supervisor(
        worker("os.kill(os.getpid(), 9)"),
        workers=1,
        hand_on=hand_on,
        sign_off=sign_off,
        first_pause=timedelta(minutes=5),
        signed_off_after=timedelta(milliseconds=50),
    )
    assert sorted(looks) == ["again", "again", "at once", "at once"]
    assert (looks[0], looks[-1]) == ("at once", "again")


def test_the_header_comes_before_what_any_worker_says_and_each_line_names_its_worker(project: Project) -> None:
    project.job("tick", 'class Tick(Job):\n    schedule = "* * * * * *"\n    def run(self): raise ValueError("no")')
    with terminal(project, "start", "--workers", "3", environ={"NO_COLOR": "1"}) as screen:
        screen.shows(r"\d\d:\d\d:\d\d \[[123]\] ✗ api:tick failed")
        header, _, after = screen.shown.partition("NEXT RUN")
        assert "workers   3" in header
        assert "api:tick" not in header
        assert "NEXT RUN" not in after
        assert "\x1b" not in screen.shown
        screen.types("\x03")
        screen.shows("stopping: what runs may end")
        assert screen.ended() == 0


def test_a_job_that_kills_its_workers_is_named_when_it_is_given_up(project: Project, project_db: Db) -> None:
    project.job(
        "kills",
        """
        import os
        class Kills(Job):
            schedule = "manual"
            def run(self):
                os.kill(os.getpid(), 9)
        """,
    )
    server = supervised(project, 2)
    id_ = project.asked("run", "api:kills")["id"]
    given_up = server.says("job given up", within=60)
    assert (given_up["name"], given_up["job_id"], given_up["crashes"]) == ("api:kills", id_, 3)
    assert [record["jobs"] for record in server.records("runs given back")] == [["api:kills"]] * 2
    listed = project.call("dead").stdout
    assert "[3 crashes]" in listed


READY = """
from pathlib import Path
from threading import Event
from jobserver.worker import await_header
here, stands = Path({0!r}), Event()
(here / f'ready-{{os.getpid()}}').touch()
await_header(stands.set)
stands.wait()
(here / f'spoke-{{(here / "header").exists()}}-{{os.getpid()}}').touch()
time.sleep(600)
"""


async def test_no_worker_that_is_ready_speaks_before_the_header_stands(tmp_path: Path) -> None:
    def show_header() -> None:
        eventually(lambda: len(list(tmp_path.glob("ready-*"))) == 2)
        (tmp_path / "header").touch()

    running = asyncio.create_task(run_supervisor(worker(READY.format(str(tmp_path))), show_header=show_header))
    await asyncio.to_thread(eventually, lambda: len(list(tmp_path.glob("spoke-*"))) == 2)
    os.kill(os.getpid(), signal.SIGTERM)
    assert await asyncio.wait_for(running, 10) == 0
    assert len(list(tmp_path.glob("spoke-True-*"))) == 2


async def test_a_header_that_fails_silences_nobody(tmp_path: Path) -> None:
    def show_header() -> None:
        raise DatabaseError("away")

    with structlog.testing.capture_logs() as records:
        running = asyncio.create_task(run_supervisor(worker(READY.format(str(tmp_path))), show_header=show_header))
        await asyncio.to_thread(eventually, lambda: len(list(tmp_path.glob("spoke-False-*"))) == 2)
        os.kill(os.getpid(), signal.SIGTERM)
        assert await asyncio.wait_for(running, 10) == 0
    assert [record["error"] for record in records if record["event"] == "header not shown"] == ["away"]


IGNORES_SIGTERM = """
signal.signal(signal.SIGTERM, lambda *_: open(os.path.join({0!r}, 'told'), 'a').write('x'))
open(os.path.join({0!r}, str(os.getpid())), 'w')
while True: time.sleep(0.05)
"""


async def test_a_third_signal_kills_what_does_not_listen_counts_no_crash_and_waits_for_its_last_claim(
    tmp_path: Any,
) -> None:
    taken: list[str | None] = []
    looks: list[tuple[Sequence[int], float]] = []
    workers: list[int] = []

    def hand_on(pid: int, reason: str | None) -> Sequence[TakenBack]:
        workers.append(pid)
        taken.append(reason)
        return ()

    def sign_off(killed: Sequence[int]) -> int:
        looks.append((killed, time.monotonic()))
        return 0

    running = asyncio.create_task(
        run_supervisor(worker(IGNORES_SIGTERM.format(str(tmp_path))), workers=1, hand_on=hand_on, sign_off=sign_off)
    )
    await asyncio.to_thread(eventually, begun(tmp_path, 1))
    for told in (1, 2):
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.to_thread(
            eventually, lambda told=told: (tmp_path / "told").exists() and len((tmp_path / "told").read_text()) == told
        )
    told_at = time.monotonic()
    os.kill(os.getpid(), signal.SIGTERM)
    assert await asyncio.wait_for(running, 10) == 137
    assert taken == [None]
    ((killed, looked_at),) = looks
    assert killed == workers
    assert looked_at - told_at > LONGEST_CLAIM


@pytest.mark.parametrize(("codes", "worst"), [((130, 69), 69), ((0, 130), 130), ((69, 70), 70), ((131, 130), 131)])
async def test_the_worst_of_the_workers_exit_codes_is_the_supervisors(
    codes: tuple[int, int], worst: int, tmp_path: Path
) -> None:
    script = (
        f"here, codes = {str(tmp_path)!r}, {codes}\n"
        "def end(*_): os._exit(codes[int(os.environ['JOBSERVER_WORKER']) - 1])\n"
        "signal.signal(signal.SIGTERM, end)\n"
        "open(os.path.join(here, str(os.getpid())), 'w')\n"
        "while True: time.sleep(0.05)\n"
    )
    running = asyncio.create_task(run_supervisor(worker(script)))
    await asyncio.to_thread(eventually, begun(tmp_path, 2))
    os.kill(os.getpid(), signal.SIGTERM)
    assert await asyncio.wait_for(running, 10) == worst


async def test_what_does_not_end_in_time_is_killed_with_all_it_started(tmp_path: Any) -> None:
    child = "import subprocess\nsubprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
    running = asyncio.create_task(
        run_supervisor(
            worker(child + IGNORES_SIGTERM.format(str(tmp_path))),
            workers=1,
            grace=timedelta(seconds=0.2),
            beyond_grace=timedelta(seconds=0.2),
        )
    )
    await asyncio.to_thread(eventually, begun(tmp_path, 1))
    (leader,) = (psutil.Process(int(path.name)) for path in tmp_path.iterdir())
    (grandchild,) = leader.children()
    os.kill(os.getpid(), signal.SIGTERM)
    assert await asyncio.wait_for(running, 10) == 137
    await asyncio.to_thread(eventually, lambda: not grandchild.is_running() or grandchild.status() == "zombie")
