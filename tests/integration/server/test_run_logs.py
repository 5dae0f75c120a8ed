"""The logs of runs of whole servers: while a run is under way, after it, and after the server was killed."""

from __future__ import annotations

import asyncio
import signal
from datetime import timedelta
from typing import Any

from jobserver.store.log_bucket import GridFsBucket
from tests.project import Project, until
from tests.run_logs import has_ended, kept, messages

SPEAKS = """
import structlog
class Loop(Job):
    name = "api:loop"
    schedule = "manual"
    async def run(self, log, db):
        log.info("begun", {"n": 1})
        logging.getLogger("lib").warning("plain")
        await asyncio.to_thread(logging.getLogger("lib").warning, "in a helper thread")
        structlog.get_logger("theirs").info("structured")
        await at_gate(db)
        self.logger.d("ended")
class Thread(Job):
    name = "api:thread"
    schedule = "manual"
    def run(self, log, db):
        log.info("begun", {"n": 1})
        logging.getLogger("lib").warning("plain")
        structlog.get_logger("theirs").info("structured")
        at_gate_in_thread(db)
        self.logger.d("ended")
"""

QUIET = """
class Quiet(Job):
    schedule = "manual"
    def run(self, log):
        log.info("here")
"""


def bucket(project: Project) -> GridFsBucket:
    return GridFsBucket(lambda: project.db, retention=timedelta(days=1))


def run_of(id_: Any, fence: int = 1) -> str:
    return f"{id_}:{fence}"


async def test_a_log_is_live_while_the_run_is_under_way_and_whole_after_it(project: Project) -> None:
    project.job("speaks", SPEAKS)
    await project.process().started()
    loop, thread = run_of(project.enqueue("api:loop")), run_of(project.enqueue("api:thread"))
    in_loop = ["begun", "plain", "in a helper thread", "structured"]
    in_thread = ["begun", "plain", "structured"]
    await until(lambda: messages(bucket(project), loop) == in_loop and messages(bucket(project), thread) == in_thread)
    assert not has_ended(bucket(project), loop)
    assert not has_ended(bucket(project), thread)
    project.open()
    await until(lambda: has_ended(bucket(project), loop) and has_ended(bucket(project), thread))
    assert messages(bucket(project), loop) == [*in_loop, "ended"]
    assert messages(bucket(project), thread) == [*in_thread, "ended"]
    assert kept(bucket(project), loop)[0]["fields"] == {"n": 1}
    await until(lambda: not list(project.root.glob(".jobserver/logs/*/*.jsonl")))


async def test_a_server_in_another_program_keeps_the_logs_of_its_runs(project: Project) -> None:
    project.job("speaks", SPEAKS)
    async with project.server():
        run = run_of(project.enqueue("api:thread"))
        project.open()
        await until(lambda: has_ended(bucket(project), run))
    assert "begun" in messages(bucket(project), run)
    assert "plain" in messages(bucket(project), run)
    assert not list(project.root.glob(".jobserver/logs/*"))


async def test_runs_that_log_nothing_make_no_file_and_no_collection(project: Project) -> None:
    name = project.job("silent")
    async with project.server():
        await project.ran(name)
    assert not (project.root / ".jobserver").exists()
    assert [found for found in project.db.list_collection_names() if found.startswith("jobLogs")] == []


async def test_a_failed_run_a_cancelled_one_and_one_given_back_have_ended_logs(project: Project) -> None:
    source = """
class Fails(Job):
    name = "api:fails"
    schedule = "manual"
    async def run(self, log):
        log.info("about to fail")
        raise FatalError("no")
class Cancels(Job):
    name = "api:cancels"
    schedule = "manual"
    async def run(self, log):
        log.info("about to cancel")
        raise JobCancelled("no")
class Stays(Job):
    name = "api:stays"
    schedule = "manual"
    async def run(self, log, db):
        log.info("about to stay")
        await at_gate(db, "never")
"""
    project.job("ends", source)
    runs = {}
    process = await project.process(shutdown_grace=0).started()
    for name in ("fails", "cancels", "stays"):
        runs[name] = run_of(project.enqueue(f"api:{name}"))
    for name, run in runs.items():
        await until(lambda run=run: messages(bucket(project), run))  # type: ignore[misc]
        assert messages(bucket(project), run)[0].startswith("about to")
        if name != "stays":
            await until(lambda run=run: has_ended(bucket(project), run))  # type: ignore[misc]
    process.send(signal.SIGTERM)
    assert await process.exit_code() == 0
    assert has_ended(bucket(project), runs["stays"])
    assert not list(project.root.glob(".jobserver/logs/*"))


async def test_a_killed_server_leaves_its_logs_to_the_next_one(project: Project) -> None:
    source = """
class Counts(Job):
    name = "api:counts"
    schedule = "manual"
    async def run(self, log, db):
        for number in range(1, 1_000_000):
            log.info("counted", {"number": number})
            await db.counts.update_one({"_id": "last"}, {"$set": {"number": number}}, upsert=True)
            await asyncio.sleep(0.01)
"""
    project.job("counts", source)
    process = await project.process().started()
    run = run_of(project.enqueue("api:counts"))
    await until(lambda: len(messages(bucket(project), run)) > 100)
    process.kill()
    last = project.db.counts.find_one({"_id": "last"})["number"]
    shipped = [each["fields"]["number"] for each in kept(bucket(project), run)]
    assert shipped == list(range(1, len(shipped) + 1))
    assert not has_ended(bucket(project), run)
    (left,) = project.root.glob(".jobserver/logs/*/*.jsonl")
    project.remove("counts")
    await project.process().started()
    await until(lambda: has_ended(bucket(project), run))
    found = [each["fields"]["number"] for each in kept(bucket(project), run)]
    assert found == list(range(1, len(found) + 1))
    assert len(found) >= last - 30  # what was said in the last tenth of a second was on its way to the disk
    await until(lambda: not left.exists())


async def test_a_flood_in_a_thread_leaves_other_runs_their_turn_and_their_logs(project: Project) -> None:
    source = """
class Floods(Job):
    name = "api:floods"
    schedule = "manual"
    def run(self, log, context):
        number = 0
        while not context.cancelled and number < 400_000:
            log.info("flood", {"number": number})
            number += 1
"""
    project.job("floods", source)
    quiet = project.job(
        "quiet", 'class Quiet(Job):\n    schedule = "manual"\n    def run(self, log): log.info("here")\n'
    )
    await project.process().started()
    flood = project.enqueue("api:floods")
    ran = await asyncio.wait_for(project.ran(quiet), 20)
    await until(lambda: messages(bucket(project), run_of(ran["_id"])) == ["here"])
    await project.ended(flood)
    await until(lambda: has_ended(bucket(project), run_of(flood)))
    said = messages(bucket(project), run_of(flood))
    dropped = sum(int(each.split()[0]) for each in said if "records dropped" in each)
    assert dropped + said.count("flood") == 400_000
    assert dropped > 100_000
