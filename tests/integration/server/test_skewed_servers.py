"""Servers whose clocks are an hour off, one ahead and one behind: MongoDB's is the only one that decides."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import datetime, timedelta
from typing import Any

from tests.project import LEASE, Document, Project, ServerProcess, until
from tests.skew import skewed

HOUR = timedelta(hours=1)
HOURS = {"ahead": HOUR, "behind": -HOUR}
MINUTE = timedelta(minutes=1)
SOON = timedelta(seconds=2)

NOTED = """
class Noted(Job):
    schedule = "manual"
    async def run(self, db, context):
        await note(db, run=context.run_id, server=context.server, clock=datetime.now(UTC), kind="inline")
        await asyncio.sleep(0.05)
"""
BEATS = """
class Beats(Job):
    schedule = "* * * * * *"
    async def run(self, db, context):
        await note(db, due=context.scheduled_at, kind="beat")
"""
HELD = """
class {name}(Job):
    schedule = "manual"
    execution = "{execution}"
    lock_lifetime = "10 minutes"
    async def run(self, db, context):
        await note(db, run=context.run_id, server=context.server, clock=datetime.now(UTC), kind="{execution}")
        await at_gate(db)
        return "held"
"""
BAD_NEWS = ("lock taken back", "lock lost", "lease not renewed", "chore failed", "run is stuck", "settling broke")


async def both_servers(project: Project, **runner: Any) -> list[ServerProcess]:
    """One an hour ahead, one an hour behind, both at work."""
    servers = [project.process(environ=skewed(os.environ, ahead=ahead), **runner) for ahead in HOURS.values()]
    return [await server.started() for server in servers]


async def test_servers_an_hour_off_run_what_is_due_and_nothing_else(project: Project) -> None:
    name, beats = project.job("noted", NOTED), project.job("beats", BEATS)
    held = project.job("inline", HELD.format(name="Inline", execution="inline"))
    began = project.now()
    later = [project.enqueue(name, nextRunAt=began + HOUR / 2, status="scheduled") for _ in range(5)]
    servers = await both_servers(project, default_concurrency=1)
    now = project.now()
    due = {project.enqueue(name, nextRunAt=now): now for _ in range(20)}
    due |= {project.enqueue(name, nextRunAt=now + SOON, status="scheduled"): now + SOON for _ in range(20)}
    ended = [await project.ended(id_) for id_ in due]
    for _ in servers:  # one at a time on each: both claim
        project.enqueue(held)
    await until(lambda: {each.id for each in servers} <= {each["server"] for each in project.notes(kind="inline")})
    project.open()
    await until(lambda: len(project.notes(kind="beat")) >= 3)
    over = project.now()

    for document in ended:
        assert due[document["_id"]] <= document["lastRunAt"] <= document["lastFinishedAt"] <= over
        assert 0 <= document["duration"] < over.timestamp() * 1000 - now.timestamp() * 1000
    assert [project.document(id_).get("status") for id_ in later] == ["scheduled"] * len(later)
    for note in project.notes(kind="inline"):
        ahead = HOUR if note["server"] == servers[0].id else -HOUR
        assert abs(note["clock"] - over - ahead) < 2 * MINUTE, "its clock is right"
    moments = [note["due"] for note in project.notes(kind="beat")]
    assert moments == sorted(set(moments))
    assert all(began <= moment <= over and not moment.microsecond for moment in moments)
    for run in [*project.runs(name), *project.runs(beats)]:
        assert began <= run["startedAt"] <= run["finishedAt"] <= project.now()


async def test_locks_and_leases_of_servers_an_hour_off_hold_to_their_end(project: Project) -> None:
    names = [project.job(kind, HELD.format(name=kind.capitalize(), execution=kind)) for kind in ("inline", "process")]
    servers = await both_servers(project, lease=LEASE * 1000, default_concurrency=1)
    ids = [project.enqueue(name) for name in names for _ in servers]
    await until(lambda: len(project.notes()) == len(ids))
    for note in project.notes():
        ahead = HOUR if note["server"] == servers[0].id else -HOUR
        assert abs(note["clock"] - project.now() - ahead) < MINUTE, "its clock is right"
    begun = project.now()
    await until(lambda: all(each["heartbeatAt"] > begun + 2 * timedelta(seconds=LEASE) for each in leases(project)))
    for lease in leases(project):
        assert lease["leaseUntil"] - lease["heartbeatAt"] == timedelta(seconds=LEASE)
    for document in map(project.document, ids):
        assert "lockUntil" in document, "it was taken back"
        assert document["lockUntil"] - document["lockedAt"] == 10 * MINUTE
        assert document["lastRunAt"] == document["lockedAt"]
    project.open()
    for document in [await project.ended(id_) for id_ in ids]:
        assert (document["fence"], document["result"], document.get("crashes")) == (1, "held", None)
    assert [record for server in servers for record in news(server)] == []


def leases(project: Project) -> list[Document]:
    found = list(project.db.jobServers.find())
    assert len(found) == len(HOURS), "one of them was declared dead"
    return found


def news(server: ServerProcess) -> list[Document]:
    return [record for event in BAD_NEWS for record in server.records(event)]


async def test_commands_on_a_machine_an_hour_off_show_true_ages_and_moments(project: Project) -> None:
    name = project.job("noted", NOTED)
    project.job("beats", BEATS)
    async with project.server():
        await project.ran(name)
        await until(lambda: project.runs(name))
        for ahead in HOURS.values():
            shown = command(project, ahead, "status" if ahead > timedelta() else "runs")
            assert "ago" in shown
            assert not {"hour", "hours", "min", "minutes", "in"} & set(shown.split())
            before = project.now()
            told = json.loads(
                command(project, ahead, "schedule", "api:beats", f"{10 + ahead // HOUR} minutes", "--json")
            )
            assert before < datetime.fromisoformat(told["next_run_at"]) <= project.now() + 11 * MINUTE


def command(project: Project, ahead: timedelta, *arguments: str) -> str:
    """What a command of ours prints on that machine."""
    config = project.root / "command.yaml"
    config.write_text(json.dumps(project.settings()))
    done = subprocess.run(
        [sys.executable, "-m", "jobserver", *arguments, "--config", str(config)],
        env=skewed(os.environ, ahead=ahead),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
