"""Job files that come, change, break and go while a server runs."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from jobserver import JobServer
from tests.project import NOTES, Project, Records, until

YEARLY = "0 0 1 1 *"
WAITS = """
class Waits(Job):
    schedule = "0 0 1 1 *"
    concurrency = 10
    async def run(self, db, context):
        await note(db, job=context.name, version="{version}")
        await at_gate(db)
        return "{version}"
"""


def logged(log: Records, event: str, **fields: Any) -> Records:
    """The records of one kind."""
    return [record for record in log if record["event"] == event and fields.items() <= record.items()]


async def known(server: JobServer, name: str, *, checksum_other_than: str = "") -> str:
    """Wait until a server knows this job, in a version other than this one; its checksum."""
    await until(lambda: name in server.jobs and server.jobs[name].definition.checksum != checksum_other_than)
    return str(server.jobs[name].definition.checksum)


async def test_a_server_without_jobs_finds_the_first_one_that_is_dropped_in_and_runs_it(project: Project) -> None:
    async with project.server() as server:
        assert server.jobs == {}
        name = project.job("noted", schedule=YEARLY)
        checksum = await known(server, name)
        config = project.config(name)
        assert config["enabled"] is True
        assert config["checksum"] == checksum
        assert config["runNow"] is False
        assert config["schedule"] == config["defaultConfig"]["schedule"] == {"type": "schedule", "value": YEARLY}
        assert config["retry"] == config["defaultConfig"]["retry"]
        assert config["createdAt"] == config["updatedAt"] <= project.now()
        await project.ran(name)


async def test_a_project_without_a_jobs_folder_can_be_given_one_later(project: Project) -> None:
    (project.root / "jobs").rmdir()
    async with project.server() as server:
        (project.root / "jobs").mkdir()
        name = project.job("noted")
        await known(server, name)
        await project.ran(name)


async def test_many_servers_that_find_a_job_at_once_make_one_configuration_and_one_schedule(project: Project) -> None:
    async with project.servers(4) as servers:
        names = [project.job(f"noted{number}", schedule=YEARLY) for number in range(5)]
        for server in servers:
            for name in names:
                await known(server, name)
        await until(lambda: all(server.jobs[name].settings for server in servers for name in names))
    for name in names:
        assert project.configs.count_documents({"jobName": name}) == 1
        assert project.jobs.count_documents({"name": name}) == 1
        assert len(project.history(name)) == 1


async def test_a_broken_file_is_reported_once_with_its_traceback_and_the_last_good_version_stays(
    project: Project, log: Records
) -> None:
    name, other = project.job("noted", schedule=YEARLY), project.job("other")
    async with project.server() as server:
        good = project.config(name)
        project.job("noted", "raise RuntimeError('half an idea')")
        project.job("unheard", "class X(Job):\n    pass\n")
        (report,) = await until(partial(logged, log, "job file broken", path=str(project.root / "jobs" / "noted.py")))
        assert "half an idea" in report["error"]
        assert "raise RuntimeError('half an idea')" in report["traceback"]
        assert report["in_force"] == [name]
        (unheard,) = await until(
            partial(logged, log, "job file broken", path=str(project.root / "jobs" / "unheard.py"))
        )
        assert "run" in unheard["error"]
        assert unheard["not_run"] == "api:unheard"
        await project.ran(name)
        await project.ran(other)
        assert project.config(name) == good
        assert "api:unheard" not in server.jobs
        project.job("another")
        await known(server, "api:another")
        assert len(logged(log, "job file broken")) == 2
        project.job("noted", schedule="30 4 * * *")
        await known(server, name, checksum_other_than=good["checksum"])


async def test_a_broken_file_that_is_mended_is_said_to_be_sound_even_with_its_old_text(
    project: Project, log: Records
) -> None:
    name = project.job("noted", schedule=YEARLY)
    path = project.root / "jobs" / "noted.py"
    good = path.read_text()
    async with project.server():
        path.write_text("raise RuntimeError('half an idea')")
        await until(partial(logged, log, "job file broken", path=str(path)))
        gone = project.root / "jobs" / "gone.py"
        gone.write_text("nonsense!")
        await until(partial(logged, log, "job file broken", path=str(gone)))
        gone.unlink()
        path.write_text(good)
        (report,) = await until(partial(logged, log, "job file sound"))
        assert (report["path"], report["in_force"]) == (str(path), [name])
        await project.ran(name)
        assert len(logged(log, "job file sound")) == 1  # a file that is gone is not sound
        assert logged(log, "job changed") == []


async def test_a_name_that_another_file_holds_is_not_called_idle(project: Project, log: Records) -> None:
    project.job("first", 'class First(Job):\n    name = "api:x"\n    schedule = "manual"\n    def run(self): pass')
    project.job("second", 'class Second(Job):\n    name = "api:x"\n    schedule = "manual"\n    def run(self): pass')
    async with project.server():
        (report,) = await until(partial(logged, log, "job file broken"))
        assert "already taken" in report["error"]
        assert "not_run" not in report
        assert "in_force" not in report


async def test_a_changed_file_runs_on_its_new_code_while_a_run_in_progress_ends_on_the_old(project: Project) -> None:
    name = project.job("waits", WAITS.format(version="old"))
    async with project.server() as server:
        checksum = server.jobs[name].definition.checksum
        old, old_holder = project.enqueue(name), project.make_due(name)["_id"]
        await until(lambda: len(project.notes(version="old")) == 2)
        project.job("waits", WAITS.format(version="new"))
        await known(server, name, checksum_other_than=checksum)
        new = project.enqueue(name)
        await until(lambda: project.notes(version="new"))
        project.open()
        for id_, version in ((old, "old"), (old_holder, "old"), (new, "new")):
            assert (await project.ended(id_))["result"] == version
        assert project.holder(name)["nextRunAt"] > project.now()


async def test_a_removed_file_means_no_new_runs_and_a_configuration_that_is_kept_and_marked(project: Project) -> None:
    name, other = project.job("noted", schedule=YEARLY), project.job("other")
    async with project.server() as server:
        project.edit(name, {"$set": {"concurrency": 7}})
        await until(lambda: server.jobs[name].settings.concurrency == 7)
        project.remove("noted")
        await until(lambda: name not in server.jobs)
        assert project.config(name)["missingSince"] <= project.now()
        assert project.config(name)["concurrency"] == 7
        waiting = project.enqueue(name)
        project.make_due(name)
        await project.ran(other)
        assert project.notes(job=name) == []
        project.job("noted", schedule=YEARLY)
        await project.ended(waiting)
        await until(lambda: len(project.notes(job=name)) == 2)
        assert "missingSince" not in project.config(name)
        assert server.jobs[name].settings.concurrency == 7


async def test_a_run_in_progress_ends_although_its_file_was_removed(project: Project) -> None:
    name = project.job("waits", WAITS.format(version="only"))
    async with project.server() as server:
        id_, holder = project.enqueue(name), project.make_due(name)["_id"]
        await until(lambda: len(project.notes()) == 2)
        project.remove("waits")
        await until(lambda: name not in server.jobs)
        project.open()
        for ended in (id_, holder):
            assert (await project.ended(ended))["result"] == "only"
        assert project.document(holder)["nextRunAt"] > project.now()


async def test_a_job_that_changes_its_name_leaves_the_old_one_marked(project: Project) -> None:
    old = project.job("noted", NOTES.format(name="Noted", schedule="manual"))
    async with project.server() as server:
        project.job("noted", NOTES.format(name="Noted", schedule="manual") + "    name = 'reports:daily'\n")
        await known(server, "reports:daily")
        await project.ran("reports:daily")
        assert old not in server.jobs
        assert "missingSince" in project.config(old)


async def test_without_watching_a_full_scan_finds_what_has_changed(project: Project) -> None:
    settings = project.settings() | {"scanner": {"watch_enabled": False, "scan_interval": 100}}
    server = await JobServer.create(None, None, None, settings)
    try:
        await server.start()
        name = project.job("noted")
        await known(server, name)
        project.remove("noted")
        await until(lambda: name not in server.jobs)
    finally:
        await server.shutdown()


async def test_a_plugin_that_is_switched_off_brings_no_jobs(project: Project) -> None:
    for plugin in ("billing", "reports", "trial"):
        folder = project.root / "plugins" / plugin / "jobs"
        folder.mkdir(parents=True)
        written = Path(project.root / "jobs" / "daily.py")
        project.job("daily")
        written.rename(folder / "daily.py")
    settings = project.settings()
    settings["project"]["disabled_plugins"] = ["trial"]
    for plugin_manager, expected in (
        (None, {"billing:daily", "reports:daily"}),
        (["reports", "trial"], {"reports:daily"}),
        ([], set()),
    ):
        server = await JobServer.create(None, None, plugin_manager, settings)
        try:
            await server.start()
            assert set(server.jobs) == expected
            for name in expected:
                await project.ran(name)
        finally:
            await server.shutdown()


async def test_an_edit_and_a_new_version_in_the_same_moment_end_with_the_new_defaults(project: Project) -> None:
    name = project.job("noted", schedule=YEARLY)
    async with project.servers(2) as servers:
        checksum = servers[0].jobs[name].definition.checksum
        project.edit(name, {"$set": {"concurrency": 7}})
        project.job("noted", schedule="30 4 * * *")
        await asyncio.gather(*(known(server, name, checksum_other_than=checksum) for server in servers))
        await until(lambda: all(server.jobs[name].settings.concurrency == 5 for server in servers))
        assert "concurrency" not in project.config(name)


@pytest.mark.parametrize("stem", ["_private", ".hidden", "notes.txt"])
async def test_what_is_no_job_file_is_left_alone(project: Project, stem: str, log: Records) -> None:
    (project.root / "jobs" / (stem if "." in stem[1:] else f"{stem}.py")).write_text("raise RuntimeError('imported')")
    async with project.server() as server:
        assert server.jobs == {}
        assert logged(log, "job file broken") == []
