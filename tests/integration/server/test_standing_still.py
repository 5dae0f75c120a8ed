"""Under a supervisor one process stands still alone: a worker, the supervisor itself, or the process of a run."""

from __future__ import annotations

import os
import signal
from datetime import timedelta
from typing import Any

from tests.project import LEASE, Document, Project, ServerProcess, until

SECONDS = timedelta(seconds=LEASE)
HELD = """
class Held(Job):
    schedule = "manual"
    execution = "{execution}"
    max_execution_time = "{longest}"
    def run(self, db, context):
        note(db, run=context.run_id, server=context.server)
        at_gate_in_thread(db, stop=lambda: context.cancelled)
        return context.server
"""


async def two_workers(project: Project) -> ServerProcess:
    """A supervisor, both of whose workers are at work, with a short lease."""
    supervisor = await project.process(workers=2, lease=LEASE * 1000, cancel_grace=500).started()
    await until(lambda: len(registered(project)) == 2)
    return supervisor


def registered(project: Project) -> dict[str, int]:
    """The process of each server, by its id."""
    return {each["_id"]: each["pid"] for each in project.db.jobServers.find()}


async def begun(project: Project, name: str) -> tuple[Any, Document]:
    """The id of a document that runs, and what its run has noted."""
    id_ = project.enqueue(name)
    (noted,) = await until(project.notes)
    return id_, noted


async def ends_in_order(supervisor: ServerProcess) -> None:
    supervisor.send(signal.SIGTERM)
    assert await supervisor.exit_code() == 0


async def test_what_a_worker_ran_that_stands_still_past_its_lease_runs_in_another_and_it_works_on(
    project: Project,
) -> None:
    name = project.job("held", HELD.format(execution="process", longest="1 hour"))
    supervisor = await two_workers(project)
    id_, first = await begun(project, name)
    pid = registered(project)[first["server"]]
    os.kill(pid, signal.SIGSTOP)
    try:
        _, second = await until(lambda: len(project.notes()) == 2 and project.notes())
    finally:
        os.kill(pid, signal.SIGCONT)
    assert second["server"] != first["server"]
    await until(lambda: pid in registered(project).values())
    project.open()
    document = await project.ended(id_)
    assert (document["result"], document["fence"], document["finishedCount"]) == (second["server"], 2, 1)
    assert supervisor.records("worker ended") == []
    await ends_in_order(supervisor)


async def test_workers_whose_supervisor_stands_still_past_their_lease_notice_nothing(project: Project) -> None:
    name = project.job("held", HELD.format(execution="thread", longest="1 hour"))
    supervisor = await two_workers(project)
    id_, noted = await begun(project, name)
    supervisor.send(signal.SIGSTOP)
    still_at = project.now()
    await until(lambda: project.db.jobServers.count_documents({"heartbeatAt": {"$gt": still_at + 2 * SECONDS}}) == 2)
    supervisor.send(signal.SIGCONT)
    project.open()
    document = await project.ended(id_)
    assert (document["result"], document["fence"]) == (noted["server"], 1)
    await ends_in_order(supervisor)


async def test_a_run_whose_process_stands_still_keeps_its_lock_until_its_longest_time_ends_it(project: Project) -> None:
    name = project.job("held", HELD.format(execution="process", longest=f"{2 * LEASE:g} seconds"))
    supervisor = await two_workers(project)
    id_, noted = await begun(project, name)
    os.kill(noted["pid"], signal.SIGSTOP)
    document = await project.ended(id_, "failed")
    assert document["fence"] == 1
    assert "max_execution_time" in document["lastError"]
    assert len(project.notes()) == 1
    await ends_in_order(supervisor)
