"""Occurrences that nothing could run in time, on whole servers: each is run, or recorded as skipped."""

from __future__ import annotations

import signal
from collections import Counter
from datetime import datetime, timedelta
from typing import Any

import pytest

from jobserver import Schedule
from tests.project import LEASE, Project, Records, until

HOURLY = "0 * * * *"
HOUR = timedelta(hours=1)


def source(**options: Any) -> str:
    """An hourly job that notes which occurrence it stands for."""
    return f"""
class Noted(Job):
    schedule = Schedule.parse("{HOURLY}", **{options!r})
    async def run(self, db, context):
        await note(db, due=context.scheduled_at, key=context.idempotency_key)
"""


async def missed(project: Project, name: str, count: int) -> list[datetime]:
    """A server makes the job's document; then so many occurrences pass while there is none."""
    async with project.server():
        await until(lambda: project.holder(name))
    newest = Schedule.parse(HOURLY).next_after(project.now() - HOUR)
    assert newest is not None
    moments = [newest - HOUR * back for back in reversed(range(count))]
    project.jobs.update_one({"name": name, "type": "single"}, {"$set": {"nextRunAt": moments[0]}})
    return moments


def skipped(project: Project, name: str) -> list[datetime]:
    return sorted(run["scheduledAt"] for run in project.runs(name, status="skipped"))


@pytest.mark.parametrize(
    ("misfire", "runs"),
    [("latest", 1), ("all", 5), ("all(max=3)", 3)],
)
async def test_what_was_missed_runs_or_is_recorded_as_its_policy_says(
    project: Project, misfire: str, runs: int
) -> None:
    name = project.job("noted", source(misfire=misfire))
    moments = await missed(project, name, 5)
    async with project.servers(2):
        await until(lambda: len(project.runs(name, status="completed")) == runs)
    assert [note["due"] for note in project.notes()] == moments[-runs:]
    assert skipped(project, name) == moments[:-runs]
    assert len({note["key"] for note in project.notes()}) == runs
    assert project.holder(name)["nextRunAt"] == moments[-1] + HOUR


async def test_skip_runs_none_of_them_and_goes_on_with_the_next(project: Project) -> None:
    name = project.job("noted", source(misfire="skip"))
    moments = await missed(project, name, 3)
    project.jobs.update_one({"name": name}, {"$set": {"nextRunAt": moments[0] - HOUR * 24}})  # surely out of grace
    async with project.servers(2):
        await until(lambda: project.holder(name)["nextRunAt"] > project.now())
    late = project.now() - moments[-1] > timedelta(seconds=60)
    assert [note["due"] for note in project.notes()] == ([] if late else [moments[-1]])
    assert len(skipped(project, name)) == 26 + late
    holder = project.holder(name)
    assert (holder["status"], holder.get("attempt"), holder.get("failCount")) == (
        "skipped" if late else "completed",
        None,
        None,
    )


async def test_each_skipped_occurrence_says_why_and_was_never_a_run(project: Project) -> None:
    name = project.job("noted", source())
    await missed(project, name, 2)
    async with project.server():
        await until(lambda: project.runs(name, status="completed"))
    (entry,) = project.runs(name, status="skipped")
    assert (entry["reason"], entry["duration"]) == ("missed: nothing could run it in time", 0)
    assert not {"error", "attempt", "result"} & set(entry)
    assert project.holder(name)["runCount"] == 1


async def test_jitter_moves_the_start_and_not_the_occurrence(project: Project) -> None:
    project.job("noted", source(jitter="30 minutes"))
    async with project.server():
        holder = await until(lambda: project.holder("api:noted"))
        occurrence = holder["occurrenceAt"]
        assert Schedule.parse(HOURLY).next_after(occurrence - HOUR) == occurrence
        assert occurrence <= holder["nextRunAt"] <= occurrence + timedelta(minutes=30)
        passed = {"occurrenceAt": occurrence - HOUR, "nextRunAt": project.now()}
        project.jobs.update_one({"name": "api:noted"}, {"$set": passed})
        (note,) = await until(project.notes)
    assert note["due"] == occurrence - HOUR
    assert project.holder("api:noted")["occurrenceAt"] == occurrence


async def test_of_a_schedule_that_runs_too_long_each_occurrence_runs_or_is_recorded(project: Project) -> None:
    slow = """
class Slow(Job):
    schedule = "* * * * * *"
    async def run(self, db, context):
        await note(db, due=context.scheduled_at)
        await asyncio.sleep(2.5)
"""
    name = project.job("slow", slow)
    async with project.servers(2):
        await until(lambda: len(project.runs(name, status="completed")) >= 3)
    ran = sorted(run["scheduledAt"] for run in project.runs(name) if run["status"] != "skipped")
    seen = sorted([*ran, *(each for each in skipped(project, name) if each < ran[-1])])
    assert seen == [ran[0] + timedelta(seconds=n) for n in range(len(seen))]
    assert {run["reason"] for run in project.runs(name, status="skipped")} == {"the run before it was still under way"}


async def test_an_edit_of_the_policy_counts_from_the_next_start_on(project: Project) -> None:
    name = project.job("noted", source())
    moments = await missed(project, name, 4)
    schedule = {"type": "schedule", "value": HOURLY, "misfire": "all", "jitter": 0}
    project.edit(name, {"$set": {"schedule": schedule}})
    async with project.server():
        await until(lambda: len(project.runs(name, status="completed")) == 4)
    assert [note["due"] for note in project.notes()] == moments


@pytest.mark.parametrize(("misfire", "runs"), [("latest", 1), ("skip", 0)])
async def test_a_moment_that_has_passed_runs_late_or_is_skipped_with_a_warning(
    project: Project, log: Records, misfire: str, runs: int
) -> None:
    text = source().replace(f'"{HOURLY}", **{{}}', f'"2020-02-29T12:00:00Z", misfire="{misfire}"')
    name, other = project.job("noted", text), project.job("other")
    async with project.servers(2):
        (entry,) = await until(lambda: project.runs(name))
        await project.ran(other)
    assert (entry["status"], len(project.notes(due={"$exists": True}))) == ("completed" if runs else "skipped", runs)
    assert [record["log_level"] for record in log if record["event"] == "occurrences skipped"] == ["warning"] * (
        1 - runs
    )
    assert "nextRunAt" not in project.holder(name)


async def test_a_server_that_lost_its_lock_does_not_record_as_skipped_what_another_has_run_meanwhile(
    project: Project,
) -> None:
    slow = """
class Slow(Job):
    schedule = "* * * * * *"
    def run(self, db, context):
        note(db, due=context.scheduled_at, run=context.run_id)
        at_gate_in_thread(db, str(os.getpid()))
"""
    name = project.job("slow", slow)
    stalled = await project.process(lease=LEASE * 1000).started()
    (first, *_) = await until(project.notes)
    other = await project.process(lease=LEASE * 1000).started()
    project.open(str(other.pid))
    stalled.send(signal.SIGSTOP)
    await until(lambda: len(project.runs(name, status="completed")) >= 3)
    stalled.send(signal.SIGCONT)
    project.open(str(stalled.pid))
    await stalled.says("run ended", run=first["run"], status="lock lost")
    other.kill()
    stalled.kill()
    entries = [run["scheduledAt"] for run in project.runs(name) if run["status"] != "failed"]
    assert [at for at, times in Counter(entries).items() if times > 1] == []


async def test_what_a_crashed_server_recorded_as_skipped_and_did_not_move_on_from_is_no_longer_said_once_it_runs(
    project: Project,
) -> None:
    """The run for the first occurrence overlapped the others; its server was killed between entry and settlement."""
    name = project.job("noted", source())
    moments = await missed(project, name, 3)
    id_ = project.holder(name)["_id"]
    entries = [
        {
            "_id": f"{id_}:skipped:{int(at.timestamp() * 1000)}",
            **{"jobId": id_, "name": name, "status": "skipped", "scheduledAt": at, "startedAt": at, "finishedAt": at},
        }
        for at in moments[1:]
    ]
    project.db.jobRuns.insert_many(entries)
    project.jobs.update_one({"_id": id_}, {"$set": {"scheduledFor": moments[0], "crashes": 1}})
    async with project.server():
        await until(lambda: project.runs(name, status="completed"))
    assert [note["due"] for note in project.notes()] == moments[-1:]
    assert skipped(project, name) == moments[:-1]
