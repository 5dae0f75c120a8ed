"""What the README shows is run as it stands there, and so are the example jobs."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pymongo import AsyncMongoClient
from pymongo.database import Database

from jobserver import JobServer
from jobserver.testing import VirtualJobs

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
JOB, CLIENT, TASKS, RENDER, KIT, PROGRAM = [text for language, text in BLOCKS if language == "python"]
EDITS = next(text for language, text in BLOCKS if language == "js")
DEADLINE = 60.0


def config(uri: str, database: str, root: Path) -> dict[str, Any]:
    return {
        "mongodb": {"uri": uri, "database": database},
        "project": {"jobs_dir": str(root / "jobs"), "plugins_dir": str(root / "plugins")},
        "runner": {"config": {"process_every": 200, "max_concurrency": 20, "lock_limit": 0, "default_lock_limit": 0}},
    }


async def until(condition: Callable[[], Any]) -> Any:
    async with asyncio.timeout(DEADLINE):
        while not (found := condition()):
            await asyncio.sleep(0.05)
    return found


async def test_the_job_is_found_and_an_edit_of_its_document_runs_it(
    tmp_path: Path, mongo_uri: str, database_name: str, db: Database[Any]
) -> None:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "greet.py").write_text(JOB)
    db.people.insert_many([{"name": "Ada"}, {"name": "Grace"}])
    server = await JobServer.create(config=config(mongo_uri, database_name, tmp_path))
    await server.start()
    try:
        for edit in re.findall(r"updateOne\((.*)\)", EDITS):
            which, change = as_python(edit)
            assert db.jobConfigs.update_one(which, change).matched_count == 1
        run = await until(lambda: db.jobRuns.find_one({"name": "api:greet"}))
        document = await until(lambda: db.jobConfigs.find_one({"jobName": "api:greet", "runNow": False}))
    finally:
        await server.shutdown()
    assert run["result"] == {"greeted": 2}
    assert document["enabled"] is False
    assert "configError" not in document


def test_the_job_that_runs_in_a_process_is_one_that_does(tmp_path: Path) -> None:
    (tmp_path / "render.py").write_text(f"from jobserver import Job\n{RENDER}")
    with VirtualJobs(jobs_dir=tmp_path, start=datetime(2026, 1, 2, tzinfo=UTC)) as jobs:
        jobs.run_now("api:render", {"frame": 1})
        (run,) = jobs.runs("api:render")
    assert run.status == "completed"


async def test_the_client_asks_for_what_it_says(mongo_uri: str, database_name: str, db: Database[Any]) -> None:
    async with AsyncMongoClient[dict[str, Any]](mongo_uri) as mongo:
        database = mongo[database_name]
        async with mongo.start_session() as session:
            body = "\n".join(f"    {line}" for line in (CLIENT + TASKS).splitlines())
            names: dict[str, Any] = {}
            exec(f"from datetime import timedelta\nasync def example(db, session, order):\n{body}\n", names)
            await names["example"](database, session, {"_id": 7})
    assert db.pulseJobs.count_documents({"name": "api:greet"}) == 10_002
    assert db.pulseJobs.count_documents({"name": "api:greet", "status": "scheduled", "priority": 10}) == 1
    assert db.pulseJobs.find_one({"name": "api:invoice"})["data"] == {"order": 7}  # type: ignore[index]
    assert db.orders.count_documents({}) == 1
    assert db.pulseJobs.count_documents({"task": True, "recurrence": {"$exists": True}}) == 2


async def test_the_job_is_tested_on_a_virtual_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "greet.py").write_text(JOB)
    monkeypatch.syspath_prepend(str(tmp_path))
    body = "\n".join(f"    {line}" for line in KIT.splitlines())
    names: dict[str, Any] = {}
    exec(f"from datetime import UTC, datetime\nfrom greet import Greet\nasync def example():\n{body}\n", names)
    await names["example"]()


def migrate(db: Any) -> None:
    db.migrated.insert_one({})


async def test_a_program_of_ones_own_holds_a_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mongo_uri: str, database_name: str, db: Database[Any]
) -> None:
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "tidy.py").write_text("")
    monkeypatch.chdir(tmp_path)
    body = "\n".join(f"    {line}" for line in PROGRAM.replace("…", "pass").splitlines())
    names: dict[str, Any] = {"migrate": migrate}
    source = body.replace('config="config.yaml"', "config=config")
    exec(f"from jobserver import JobServer\nasync def example(config):\n{source}\n    return server\n", names)
    server = await names["example"](config(mongo_uri, database_name, tmp_path))
    assert server.exit_code == 0
    assert db.migrated.count_documents({}) == 1
    assert db.pulseJobs.count_documents({"name": "tidy", "nextRunAt": {"$exists": True}}) == 1


async def test_the_example_jobs_do_what_they_say(mongo_uri: str, database_name: str, db: Database[Any]) -> None:
    server = await JobServer.create(config=config(mongo_uri, database_name, ROOT))
    await server.start()
    try:
        for name in ("api:inventory", "api:digest", "machine:load"):
            db.jobConfigs.update_one({"jobName": name}, {"$set": {"runNow": True}})
        inventory = await until(lambda: db.jobRuns.find_one({"name": "api:inventory", "status": "completed"}))
        digest = await until(lambda: db.jobRuns.find_one({"name": "api:digest", "status": "completed"}))
        await until(lambda: db.jobRuns.find_one({"name": "machine:load", "status": "completed"}))
        await until(lambda: db.pulseJobs.find_one({"name": "api:fingerprint", "progress": {"$gt": 0}}))
    finally:
        await server.shutdown()
    assert inventory["result"]["distributions"] == db.inventory.count_documents({}) > 10
    assert len(digest["result"]["sha256"]) == 64
    assert digest["attempt"] == 3
    assert db.machineLoad.count_documents({}) >= 1
    assert db.pulseJobs.count_documents({"lockedAt": {"$exists": True}}) == 0


def as_python(edit: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The two arguments of an `updateOne` as the README writes it for a shell."""
    quoted = re.sub(r"([{,]\s*)(\$?\w+):", r'\1"\2":', edit)
    which, change = eval(quoted, {"true": True, "false": False})
    return which, change
