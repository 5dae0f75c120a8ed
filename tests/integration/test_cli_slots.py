"""Slots on the command line: asked for, and seen."""

from __future__ import annotations

from typing import Any

from pymongo.database import Database

from tests.integration.conftest import QUICK, Project, eventually

HELD = """
    import asyncio
    class Held(Job):
        schedule = "manual"
        slots = 512
        async def run(self, db):
            while not await db.finish.find_one({}):
                await asyncio.sleep(0.05)
"""


def test_status_shows_what_is_used_and_what_no_server_has_room_for(
    project: Project, project_db: Database[dict[str, Any]], mongo_uri: str
) -> None:
    project.job("held", HELD)
    pulse = {**QUICK["runner"]["config"], "available_slots": 1000, "lease": "1 second"}
    project.configure({"mongodb": {"uri": mongo_uri, "database": project.database}, "runner": {"config": pulse}})
    server = project.start()
    project.asked("run", "api:held", "--slots", "600")
    too_large = project.asked("run", "api:held", "--slots", "1001")["id"]
    used = eventually(lambda: slots_in_use(project))
    assert used == {"available": 1000, "used": 600}
    assert server.says("too few slots")["name"] == "api:held"
    assert project.asked("status")["oversized"] == {"api:held": 1}
    shown = project.call("status").stdout
    assert "600 of 1000" in shown
    assert "api:held: 1 due need more than 1000 slots, and no server has as many" in shown
    project_db.finish.insert_one({})
    assert project.asked("run", "api:held", "--wait")["status"] == "completed"
    document = project_db.pulseJobs.find_one({"slots": 1001})
    assert document is not None
    assert (str(document["_id"]), document["status"]) == (too_large, "queued")


def slots_in_use(project: Project) -> Any:
    (server,) = project.asked("status")["servers"]
    return server["slots"] if server["slots"]["used"] else None


def test_without_a_limit_nobody_is_bothered_with_slots(project: Project, project_db: Database[dict[str, Any]]) -> None:
    project.job("held", HELD)
    project.start()
    project.asked("run", "api:held", "--slots", "1000000")
    answer = project.asked("status")
    assert (answer["oversized"], [server["slots"] for server in answer["servers"]]) == ({}, [None])
    assert "SLOTS" not in project.call("status").stdout
    project_db.finish.insert_one({})


def test_slots_that_make_no_sense_are_refused(project: Project) -> None:
    assert "slots=0 is not a whole number" in project.refused("run", "api:any", "--force", "--slots", "0")
