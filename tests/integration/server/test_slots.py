"""Slots: what runs here together never takes more than the server has, and a large job has its turn."""

from __future__ import annotations

import random
import signal
from typing import Any

import pytest

from tests.project import LEASE, Project, Records, until

HELD = """
class Held(Job):
    schedule = "manual"
    slots = {slots}
    {extra}
    async def run(self, db, context, data):
        await note(db, job=context.name, data=data)
        await at_gate(db, data.get("gate", "gate"))
"""
# The interval lies within the one in which the slots are held, whatever the clocks of MongoDB and the machine say.
TIMED = """
class Timed(Job):
    schedule = "manual"
    slots = 7
    concurrency = 50
    async def run(self, db, context, data):
        began = time.monotonic_ns()
        await asyncio.sleep(data["seconds"])
        await note(db, n=data["n"], began=began, ended=time.monotonic_ns(), fails=data["fails"])
        if data["fails"]:
            raise ValueError("no luck")
"""
WIDE: dict[str, Any] = {"max_concurrency": 50, "default_concurrency": 50}


def held(slots: int, extra: str = "") -> str:
    """A job that waits at the gate its data names."""
    return HELD.format(slots=slots, extra=extra)


def most_at_once(notes: list[Any], slots: dict[int, int]) -> int:
    """The largest sum of slots at any moment; an end and a beginning at the same moment do not overlap."""
    turns = [turn for note in notes for turn in ((note["began"], slots[note["n"]]), (note["ended"], -slots[note["n"]]))]
    used = most = 0
    for _, change in sorted(turns):
        used += change
        most = max(most, used)
    return most


async def test_a_server_with_1024_slots_runs_two_jobs_of_512_at_a_time(project: Project) -> None:
    name, quick = project.job("held", held(512)), project.job("quick")
    async with project.server(available_slots=1024, slots_patience="1 hour"):
        ids = [project.enqueue(name, {"gate": str(number)}) for number in range(4)]
        await until(lambda: len(project.notes(job=name)) == 2)
        assert project.document(ids[2])["status"] == "queued"
        project.open(str(project.notes(job=name)[0]["data"]["gate"]))
        await until(lambda: len(project.notes(job=name)) == 3)
        assert project.jobs.count_documents({"name": name, "lockedAt": {"$exists": True}}) == 2
        for number in range(4):
            project.open(str(number))
        for id_ in ids:
            await project.ended(id_)
        await project.ran(quick)


async def test_a_server_with_512_slots_never_takes_a_job_of_1024_and_says_so_once(
    project: Project, log: Records
) -> None:
    large, small = project.job("large", held(1024)), project.job("small", held(512))
    own = project.job("noted")
    ids = [project.enqueue(large, priority=20), project.enqueue(own, slots=1024, priority=20)]
    async with project.server(available_slots=512, slots_patience=0):
        project.open()
        for _ in range(5):
            await project.ran(small)
            await project.ran(own)
        # A document may be smaller than its job, and larger.
        await project.ended(project.enqueue(large, slots=512))
        await until(lambda: len([record for record in log if record["event"] == "too few slots"]) == 2)
    told = [(record["name"], record["documents"]) for record in log if record["event"] == "too few slots"]
    assert told == [(large, 1), (own, 1)]
    assert [project.document(id_)["status"] for id_ in ids] == ["queued", "queued"]
    assert all("fence" not in project.document(id_) for id_ in ids)
    async with project.server(available_slots=1024):
        for id_ in ids:
            await project.ended(id_)


async def test_mixed_sizes_never_take_more_than_there_is(project: Project) -> None:
    name = project.job("timed", TIMED)
    dice = random.Random(4)
    slots = {number: dice.choice([1, 2, 7, 30, 64, 100]) for number in range(400)}
    documents = [
        {"name": name, "type": "normal", "status": "queued", "priority": dice.choice([-10, 0, 10]), "nextRunAt": now}
        | ({} if slots[number] == 7 else {"slots": slots[number]})
        | {"data": {"n": number, "seconds": dice.random() * 0.02, "fails": number % 5 == 0}}
        for now in [project.now()]
        for number in slots
    ]
    async with project.server(available_slots=100, **WIDE) as server:
        project.jobs.insert_many(documents)
        await until(lambda: project.jobs.count_documents({"lockedAt": None, "status": {"$ne": "queued"}}) == 400)
        assert server.exit_code == 0
    notes = project.notes()
    assert sorted(note["n"] for note in notes) == sorted(slots)
    assert 90 <= most_at_once(notes, slots) <= 100


async def test_two_servers_each_keep_to_their_own_limit(project: Project) -> None:
    name = project.job("timed", TIMED.replace("n=data", "server=context.server, n=data"))
    slots = dict.fromkeys(range(120), 30)
    async with project.servers(2, available_slots=100, **WIDE):
        for number in slots:
            project.enqueue(name, {"n": number, "seconds": 0.01, "fails": False}, slots=30)
        await until(lambda: project.jobs.count_documents({"status": "completed"}) == 120)
    notes = project.notes()
    by_server = {
        server: [note for note in notes if note["server"] == server] for server in {n["server"] for n in notes}
    }
    assert len(by_server) == 2
    assert max(most_at_once(each, slots) for each in by_server.values()) <= 90


ENDS = """
class Ends(Job):
    schedule = "manual"
    slots = 10
    {extra}
    async def run(self, db, data, progress):
        await note(db, data=data)
        if data["how"] == "fails":
            raise ValueError("no luck")
        if data["how"] == "cancelled":
            raise JobCancelled("enough")
        while data["how"] == "deleted":
            await progress(1, 0)
            await asyncio.sleep(0.01)
        await at_gate(db, data["how"])
"""


BAD_START = """
class Bad(Job):
    schedule = "manual"
    slots = 10
    def __init__(self):
        if os.path.exists(f"{os.path.dirname(__file__)}/fail"):
            raise ValueError("not even begun")
    def run(self):
        pass
"""
DEAF = """
import contextlib
class Deaf(Job):
    schedule = "manual"
    slots = 10
    max_execution_time = "100 ms"
    def run(self, db):
        while db.gates.find_one({"_id": "whole ended"}) is None:
            with contextlib.suppress(BaseException):
                time.sleep(0.01)
"""


async def test_slots_come_back_in_every_ending(project: Project) -> None:
    name = project.job("ends", ENDS.format(extra='max_execution_time = "300 ms"'))
    bad = project.job("bad", BAD_START)
    deaf = project.job("deaf", DEAF)
    whole = project.job("whole", held(10))
    project.open("completes")
    project.open()
    async with project.server(available_slots=10, cancel_grace=100):
        for how, status in (("completes", "completed"), ("fails", "failed"), ("cancelled", "cancelled")):
            await project.ended(project.enqueue(name, {"how": how}), status)
        await project.ended(project.enqueue(name, {"how": "never"}), "failed")
        id_ = project.enqueue(name, {"how": "deleted"})
        await until(lambda: "lockToken" in project.document(id_))
        project.jobs.delete_one({"_id": id_})
        (project.root / "jobs" / "fail").touch()
        await project.ended(project.enqueue(bad), "failed")
        await project.ended(project.enqueue(deaf), "failed")  # given up: its code goes on
        await project.ran(whole)
        project.open("whole ended")
        assert project.db.jobServers.find_one({}, {"_id": 0, "slots.available": 1}) == {"slots": {"available": 10}}


async def test_slots_that_a_hand_changes_all_the_time_are_never_overcommitted(project: Project) -> None:
    """They change between finding, locking and reading back too; what has no room then goes back uncounted."""
    name = project.job("timed", TIMED)
    free = {"name": name, "lockToken": None, "nextRunAt": {"$ne": None}}

    def all_ended() -> bool:
        for slots in (15, 3, 8):
            project.jobs.update_many(free, {"$set": {"slots": slots}})
        return project.jobs.count_documents({"status": "completed"}) == 200

    project.jobs.insert_many(
        {"name": name, "type": "normal", "nextRunAt": now, "data": {"n": number, "seconds": 0.005, "fails": False}}
        for now in [project.now()]
        for number in range(200)
    )
    async with project.server(available_slots=20, **WIDE):
        await until(all_ended)
    found = list(project.jobs.find({"name": name}))
    assert {document["runCount"] for document in found} == {1}
    assert most_at_once(project.notes(), {each["data"]["n"]: each.get("slots", 7) for each in found}) <= 20


async def test_a_large_job_is_not_starved_by_small_ones(project: Project) -> None:
    """Small ones follow each other for ever and overlap, so that there is never room for the large one by chance."""
    small = project.job(
        "small",
        """
        class Small(Job):
            schedule = "manual"
            slots = 1
            concurrency = 10
            async def run(self, db, data):
                await db.pulseJobs.insert_one({"name": "api:small", "type": "normal", "data": {}, "status": "queued",
                    "priority": data.get("priority", 0), "nextRunAt": datetime.now(UTC)})
                await asyncio.sleep(0.05)
        """,
    )
    large = project.job("large", held(10))
    project.open()
    async with project.server(available_slots=10, slots_patience="1 second"):
        for _ in range(20):
            project.enqueue(small)
        await until(lambda: project.jobs.count_documents({"name": small, "status": "completed"}) > 20)
        began = project.jobs.count_documents({"name": small, "status": "completed"})
        await project.ended(project.enqueue(large))
        # It was passed by others at first, and they go on after it.
        passed = project.jobs.count_documents({"name": small, "status": "completed"})
        assert passed > began
        await until(lambda: project.jobs.count_documents({"name": small, "status": "completed"}) > passed + 20)


async def test_a_large_job_that_waits_is_looked_at_whenever_another_is(project: Project) -> None:
    """Between polls only the jobs that something was heard of are read; it must close the line for them, too."""
    large, small, urgent = project.job("large", held(6)), project.job("small", held(1)), project.job("urgent")
    async with project.server(available_slots=10, slots_patience=0, process_every="1 hour"):
        ids = [project.enqueue(large)]
        await until(lambda: len(project.notes(job=large)) == 1)
        ids += [project.enqueue(large), project.enqueue(small)]
        await project.ended(project.enqueue(urgent, priority=20))
        project.open()
        for id_ in ids:
            await project.ended(id_)
    assert [note["job"] for note in project.notes()] == [large, urgent, large, small]


async def test_what_does_not_fit_is_not_asked_for_again_and_again(project: Project) -> None:
    large, small = project.job("large", held(6)), project.job("small", held(1))
    async with project.server(available_slots=10, process_every="1 hour"):
        first = project.enqueue(large)
        await until(lambda: len(project.notes(job=large)) == 1)
        project.enqueue(large)
        project.enqueue(small)
        await until(lambda: len(project.notes(job=small)) == 1)
        with Profiled(project) as asked:
            for _ in range(20):
                await until(lambda: project.db.command("ping")["ok"])
        assert asked.aggregations() < 10
        project.open()
        await project.ended(first)
        await until(lambda: len(project.notes(job=large)) == 2)


class Profiled:
    """Counts the reads of due documents while it is open."""

    def __init__(self, project: Project) -> None:
        self._db, self._jobs = project.db, project.jobs.full_name

    def __enter__(self) -> Profiled:
        self._db.command("profile", 2)
        return self

    def __exit__(self, *_: object) -> None:
        self._db.command("profile", 0)

    def aggregations(self) -> int:
        """How many claims have read what is due."""
        return self._db["system.profile"].count_documents({"ns": self._jobs, "command.aggregate": {"$exists": True}})


async def test_a_server_that_is_killed_takes_no_slots_with_it(project: Project) -> None:
    name = project.job("held", held(10))
    process = await project.process(available_slots=10, lease=LEASE * 1000).started()
    id_ = project.enqueue(name)
    await until(lambda: len(project.notes()) == 1)
    said = project.db.jobServers.find_one({})
    assert said is not None
    assert said["slots"]["available"] == 10
    process.send(signal.SIGKILL)
    async with project.server(available_slots=10, lease=LEASE * 1000):
        await until(lambda: len(project.notes()) == 2)
        project.open()
        await project.ended(id_)
        await project.ran(name)


async def test_an_edit_of_a_jobs_slots_counts_for_what_starts_from_now_on(project: Project) -> None:
    name = project.job("held", held(10))
    async with project.server(available_slots=10):
        for _ in range(3):
            project.enqueue(name)
        await until(lambda: len(project.notes()) == 1)
        project.edit(name, {"$set": {"slots": 5}})
        await until(lambda: len(project.history(name)) >= 1)
        project.open()
        await until(lambda: project.jobs.count_documents({"name": name, "status": "completed"}) == 3)


@pytest.mark.parametrize("patience", [0, "1 hour"])
async def test_without_enough_slots_for_both_the_more_urgent_starts_first(project: Project, patience: Any) -> None:
    large, small = project.job("large", held(8)), project.job("small", held(5))
    for _ in range(2):
        project.enqueue(small)
    project.enqueue(large, priority=10)
    project.open()
    async with project.server(available_slots=10, slots_patience=patience):
        await until(lambda: len(project.notes()) == 3)
    assert project.notes()[0]["job"] == large
