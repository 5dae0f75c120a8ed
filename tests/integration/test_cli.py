"""The commands, as a person or a script meets them: real processes on a real MongoDB."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from bson import ObjectId
from pymongo import MongoClient
from pymongo.database import Database

from tests.integration.conftest import JOBSERVER, Project, Server, a_project, eventually

Db = Database[dict[str, Any]]

COMMANDS = (
    *("init", "start", "check", "jobs", "run", "enable", "disable", "schedule", "next"),
    *("runs", "logs", "status", "info", "history", "rollback", "tasks", "cancel", "dead", "retry"),
)
HEAVY = ("pymongo", "pydantic", "rich", "structlog", "yaml", "jobserver.scanner")


@pytest.fixture(scope="module")
def running(
    tmp_path_factory: pytest.TempPathFactory, mongo_client: MongoClient[dict[str, Any]], mongo_uri: str
) -> Iterator[Project]:
    """A project whose server runs for all tests of this file."""
    with a_project(tmp_path_factory.mktemp("running") / "project", mongo_client, mongo_uri) as project:
        project.job(
            "echo",
            """
            class Echo(Job):
                schedule = "manual"
                async def run(self, data, progress):
                    await progress(2, 1, "half way")
                    if data.get("fail"):
                        raise FatalError("asked to fail")
                    return {"got": data}
            """,
        )
        project.job("hourly", 'class Hourly(Job):\n    schedule = "0 * * * *"\n    def run(self): pass')
        project.job("edited", 'class E(Job):\n    schedule = "manual"\n    def run(self): pass')
        project.job("broken_config", 'class B(Job):\n    schedule = "manual"\n    def run(self): pass')
        project.job(
            "long",
            """
            import asyncio
            class Long(Job):
                schedule = "manual"
                async def run(self, db, context):
                    while not await db.finish.find_one({}):
                        await asyncio.sleep(0.05)
            """,
        )
        project.start()
        yield project


@pytest.fixture
def running_db(running: Project, mongo_client: MongoClient[dict[str, Any]]) -> Db:
    return mongo_client[running.database]


def job_named(project: Project, name: str) -> dict[str, Any]:
    (found,) = (job for job in project.asked("jobs")["jobs"] if job["name"] == name)
    return dict(found)


def test_help_imports_nothing_that_takes_time() -> None:
    script = (
        "import sys\nfrom jobserver.cli import main\nsys.argv = ['jobserver', '--help']\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=30)
    assert "Usage: jobserver" in done.stdout
    assert done.stderr.strip() == "[]"


def test_help_names_every_command_and_each_command_teaches_by_an_example(tmp_path: Path) -> None:
    import typer.main

    from jobserver.cli.app import app

    group = typer.main.get_command(app)
    assert tuple(group.commands) == COMMANDS  # type: ignore[attr-defined]
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        assert f"jobserver {name}" in command.epilog or f"jobserver {name}" in str(command.epilog), name
        assert command.help, name


def test_wrong_usage_ends_with_2(project: Project) -> None:
    assert project.call("jbos").returncode == 2
    assert "Did you mean" in project.call("jbos").stderr
    assert project.call("start", "--workers", "0").returncode == 2
    assert project.call("run").returncode == 2
    assert json.loads(project.call("jobs", "--nonsense", "--json").stderr) == {"error": "No such option: --nonsense"}


def test_every_mistake_is_told_in_the_same_way(project: Project) -> None:
    told = project.call("run").stderr
    assert "\nerror: Missing argument 'NAME'" in told
    assert told.startswith("Usage: jobserver run [OPTIONS] NAME\n")
    assert project.call("run", "api:x").stderr.startswith("error: ")


def test_a_schedule_without_quotes_is_told_to_have_them(project: Project) -> None:
    assert "a schedule goes in quotes: " in project.call("next", "every", "monday", "at", "9:00").stderr
    assert "a schedule goes in quotes: " in project.call("schedule", "api:x", "0", "9", "*", "*", "1").stderr
    assert "in quotes" not in project.call("run", "api:x", "api:y").stderr


@pytest.mark.parametrize(
    ("command", "usage", "arguments"),
    [
        ("init", "[DIR]", ["DIR"]),
        ("run", "NAME", ["NAME"]),
        ("schedule", "NAME EXPR", ["NAME", "EXPR"]),
        ("next", "NAME|EXPR", ["NAME|EXPR"]),
        ("rollback", "NAME VERSION", ["NAME", "VERSION"]),
        ("runs", "[NAME]", ["NAME"]),
        ("retry", "[ID...]", ["ID"]),
        ("status", "", []),
    ],
)
def test_arguments_go_by_one_word_in_usage_and_list(
    project: Project, command: str, usage: str, arguments: list[str]
) -> None:
    told = project.call(command, "--help").stdout
    assert told.startswith(f"Usage: jobserver {command} [OPTIONS] {usage}".rstrip() + "\n")
    listed = told.partition("Arguments:\n")[2].partition("\n\n")[0].splitlines()
    assert [line.split()[0] for line in listed if line[2] != " "] == arguments


def test_init_writes_a_project_in_which_check_finds_a_job(tmp_path: Path) -> None:
    done = subprocess.run([*JOBSERVER, "init", str(tmp_path / "new")], capture_output=True, check=False, timeout=30)
    assert done.returncode == 0
    assert (tmp_path / "new" / "plugins").is_dir()
    checked = subprocess.run(
        [*JOBSERVER, "check", "--json"], cwd=tmp_path / "new", capture_output=True, check=False, timeout=60
    )
    document = json.loads(checked.stdout)
    assert (checked.returncode, document["ok"]) == (0, True)
    assert [job["name"] for job in document["jobs"]] == ["api:hello"]


def test_init_never_overwrites(project: Project) -> None:
    before = (project.root / "config.yaml").read_text()
    written = project.asked("init")
    assert (project.root / "config.yaml").read_text() == before
    assert written["kept"] == [str(project.root / "config.yaml")]
    (project.root / "jobs" / "hello.py").write_text("# mine")
    assert project.asked("init")["written"] == []
    assert (project.root / "jobs" / "hello.py").read_text() == "# mine"


def test_init_says_where_it_cannot_write(project: Project) -> None:
    (project.root / "occupied").write_text("a file")
    assert "occupied" in project.refused("init", "occupied")


def test_check_needs_no_database_and_lists_jobs_with_schedule_and_next_run(project: Project) -> None:
    project.configure({"mongodb": {"uri": "mongodb://127.0.0.1:1"}})
    project.job("daily", 'class Daily(Job):\n    schedule = "0 6 * * *"\n    def run(self): pass')
    done = project.call("check")
    assert done.returncode == 0
    assert "api:daily" in done.stdout
    assert "every day at 06:00 UTC" in done.stdout
    (job,) = project.asked("check")["jobs"]
    assert datetime.fromisoformat(job["next_run_at"]) > datetime.now(UTC)
    assert job["schedule"] == {"type": "schedule", "value": "0 6 * * *"}


def test_check_fails_on_a_broken_job_and_names_file_line_and_reason(project: Project) -> None:
    project.job("fine", 'class Fine(Job):\n    schedule = "manual"\n    def run(self): pass')
    project.job("broken", "\n\nimport not_there\n")
    project.job("no_schedule", "class NoSchedule(Job):\n    def run(self): pass")
    done = project.call("check")
    assert done.returncode == 1
    assert "jobs/broken.py:4: cannot be imported: ModuleNotFoundError" in done.stdout
    assert "class NoSchedule" in done.stdout
    assert "1 job, 2 problems" in done.stdout
    document = json.loads(project.call("check", "--json").stdout)
    assert document["ok"] is False
    assert {problem["line"] for problem in document["problems"]} == {4, None}


def test_check_fails_on_bad_settings_with_their_line(project: Project) -> None:
    (project.root / "config.yaml").write_text("runner:\n  config:\n    max_concurrency: none\n")
    error = project.refused("check")
    assert "runner.config.max_concurrency: 'none' is not a whole number" in error
    assert "config.yaml, line 3" in error
    (project.root / "config.yaml").write_text("runner: {type: pulze}")
    assert "unknown runner 'pulze'; did you mean 'pulse'?" in project.refused("check")


def test_a_command_without_any_mongodb_says_how_to_come_by_one(project: Project) -> None:
    project.configure({})
    error = project.refused("jobs")
    assert "`jobserver start`" in error
    assert "mongodb.uri" in error
    assert project.asked("info")["mongodb_uri"] is None


@pytest.mark.parametrize("command", ["jobs", "status", "info"])
def test_a_mongodb_that_is_away_is_told_soon_and_without_its_password(project: Project, command: str) -> None:
    project.configure({"mongodb": {"uri": "mongodb://user:secret@127.0.0.1:1/"}})
    done = project.call(command, timeout=15)  # five seconds of waiting, and a busy machine
    assert done.returncode == 1
    assert done.stderr.startswith("error: MongoDB at mongodb://127.0.0.1:1/ does not answer")
    assert "secret" not in done.stderr
    assert len(done.stderr) < 300


def test_a_uri_that_cannot_be_used_is_refused_without_its_password(project: Project) -> None:
    error = project.refused("jobs", "--mongodb-uri", "mongodb://user:secret@host:port/")
    assert "mongodb.uri" in error
    assert "secret" not in error


def test_errors_are_json_where_json_was_asked_for(project: Project) -> None:
    project.configure({"mongodb": {"uri": 5}})
    done = project.call("jobs", "--json")
    assert (done.returncode, done.stdout) == (1, "")
    assert json.loads(done.stderr)["field"] == "mongodb.uri"


def test_flags_stand_above_the_settings(running: Project, mongo_uri: str) -> None:
    answer = running.asked("info", "--database", "another")
    assert (answer["database"], answer["mongodb_uri"]) == ("another", mongo_uri)


def test_info_says_where_everything_is(running: Project, mongo_uri: str) -> None:
    answer = running.asked("info")
    assert answer["mongodb_uri"] == mongo_uri
    assert answer["database"] == running.database
    assert answer["project"] == str(running.root)
    assert [server["alive"] for server in answer["servers"]] == [True]
    assert running.database in running.call("info").stdout


def test_jobs_are_listed_with_schedule_next_run_and_last_run(running: Project) -> None:
    running.call("run", "api:echo", "--wait")
    hourly, echo = job_named(running, "api:hourly"), job_named(running, "api:echo")
    assert hourly["schedule_text"] == "every hour"
    assert datetime.fromisoformat(hourly["next_run_at"]) <= datetime.now(UTC) + timedelta(hours=1, minutes=1)
    assert hourly["last_run"] is None
    assert (echo["next_run_at"], echo["last_run"]["status"]) == (None, "completed")
    listed = running.call("jobs").stdout
    assert "by hand" in listed
    assert all(line == line.rstrip() or len(line) < 400 for line in listed.splitlines())


def test_what_is_wrong_with_a_job_is_listed_with_it(running: Project, running_db: Db) -> None:
    running_db.jobConfigs.update_one({"jobName": "api:broken_config"}, {"$set": {"concurrency": "many"}})
    eventually(lambda: job_named(running, "api:broken_config")["config_error"])
    listed = running.call("jobs").stdout
    assert "an edit of its configuration is refused, what was in force stays: concurrency" in listed
    assert "by hand (!)" not in listed


def test_a_refused_schedule_is_marked_beside_the_one_in_force(running: Project, running_db: Db) -> None:
    eventually(lambda: running.asked("history", "api:edited")["versions"])
    running_db.jobConfigs.update_one({"jobName": "api:edited"}, {"$set": {"schedule": "15 3 * * *"}})
    eventually(lambda: len(running.asked("history", "api:edited")["versions"]) == 2)
    running_db.jobConfigs.update_one({"jobName": "api:edited"}, {"$set": {"schedule": "once in a blue moon"}})
    found = eventually(lambda: (job := job_named(running, "api:edited"))["config_error"] and job)
    assert (found["schedule_text"], found["refused_schedule"]) == ("every day at 03:15 UTC", "once in a blue moon")
    (line,) = (line for line in running.call("jobs").stdout.splitlines() if line.startswith("api:edited "))
    assert "every day at 03:15 UTC (!) edit refused" in line
    assert "blue moon" not in line
    running_db.jobConfigs.update_one({"jobName": "api:edited"}, {"$unset": {"schedule": ""}})
    eventually(lambda: job_named(running, "api:edited")["schedule_text"] == "by hand")


def test_run_asks_for_one_run_and_says_which(running: Project, running_db: Db) -> None:
    answer = running.asked("run", "api:echo", "--data", '{"n": 1}')
    document = running_db.pulseJobs.find_one({"_id": ObjectId(answer["id"])})
    assert document is not None
    assert document["data"] == {"n": 1}
    assert answer["servers"] == 1


def test_run_with_wait_stays_until_the_end_and_tells_it_by_its_exit_code(running: Project) -> None:
    done = running.call("run", "api:echo", "--data", '{"n": 2}', "--wait")
    assert done.returncode == 0
    assert "api:echo completed in" in done.stdout
    assert '{"got": {"n": 2}}' in done.stdout
    answer = running.asked("run", "api:echo", "--wait")
    assert (answer["status"], answer["result"]) == ("completed", {"got": {}})
    failed = running.call("run", "api:echo", "--data", '{"fail": true}', "--wait")
    assert failed.returncode == 1
    assert "failed after" in failed.stdout
    assert "asked to fail" in failed.stdout


def test_an_interrupted_wait_leaves_the_run_alone(running: Project, running_db: Db) -> None:
    waiting = subprocess.Popen(
        [*JOBSERVER, "run", "api:long", "--wait"], cwd=running.root, env=running.environ, stdout=subprocess.PIPE
    )
    eventually(lambda: running.asked("runs", "api:long", "--status", "running")["runs"])
    waiting.send_signal(signal.SIGINT)
    out, _ = waiting.communicate(timeout=30)
    assert waiting.returncode == 130
    assert b"the run goes on" in out
    assert running.asked("runs", "api:long", "--status", "running")["runs"]
    running_db.finish.insert_one({})
    eventually(lambda: running.asked("runs", "api:long", "--status", "completed")["runs"])


def test_run_refuses_an_unknown_name_unless_forced(running: Project) -> None:
    assert "unknown job 'api:eco'; did you mean 'api:echo'?" in running.refused("run", "api:eco")
    assert running.asked("run", "other:program", "--force")["name"] == "other:program"


def test_run_refuses_data_that_is_not_json_and_shows_how(running: Project) -> None:
    error = running.refused("run", "api:echo", "--data", "{n: 1}")
    assert "--data is not JSON" in error
    assert '{"key": "value"}' in error


def test_disable_and_enable_edit_the_document_and_the_server_obeys(running: Project, running_db: Db) -> None:
    assert running.asked("disable", "api:hourly")["changed"] is True
    config = running_db.jobConfigs.find_one({"jobName": "api:hourly"})
    assert config is not None
    assert config["enabled"] is False
    assert config["updatedBy"].startswith("cli:")
    eventually(lambda: job_named(running, "api:hourly")["next_run_at"] is None)
    assert running.asked("disable", "api:hourly")["changed"] is False
    assert running.call("enable", "api:hourly").stdout == "api:hourly is enabled\n"
    eventually(lambda: job_named(running, "api:hourly")["next_run_at"])
    assert "did you mean 'api:hourly'?" in running.refused("enable", "api:hourl")


def test_schedule_history_and_rollback(running: Project) -> None:
    before = eventually(lambda: running.asked("history", "api:hourly")["versions"])[0]
    answer = running.asked("schedule", "api:hourly", "30 4 * * *", "--timezone", "Europe/Berlin")
    assert answer["schedule"] == {"type": "schedule", "value": "30 4 * * *", "timezone": "Europe/Berlin"}
    following = eventually(
        lambda: [
            each for each in running.asked("history", "api:hourly")["versions"] if each["version"] > before["version"]
        ]
    )[0]
    assert following["by"].startswith("cli:")
    assert [change["field"] for change in following["changes"]] == ["schedule"]
    assert "every day at 04:30 Europe/Berlin" in running.call("history", "api:hourly").stdout
    running.asked("rollback", "api:hourly", str(before["version"]))
    eventually(lambda: job_named(running, "api:hourly")["schedule_text"] == "every hour")
    assert "has no version 4711" in running.refused("rollback", "api:hourly", "4711")
    assert "unknown job" in running.refused("history", "api:nobody")


def test_history_shows_both_sides_of_a_change_whole(running: Project, running_db: Db) -> None:
    before = running.asked("history", "api:echo")["versions"][0]["version"]
    retry = {"enabled": True, "attempts": 3, "delay": 60_000, "backoff": {"type": "exponential", "factor": 2.5}}
    running_db.jobConfigs.update_one({"jobName": "api:echo"}, {"$set": {"retry": retry, "priority": 7}})
    eventually(lambda: running.asked("history", "api:echo")["versions"][0]["version"] > before)
    listed = running.call("history", "api:echo", "--limit", "1").stdout
    assert "priority: 7" in listed
    old, _, new = next(line for line in listed.splitlines() if "retry: " in line).partition(" → ")
    assert old.endswith('"factor": 2.0}}')
    assert new.strip().endswith('"factor": 2.5}}')
    running.asked("rollback", "api:echo", str(before))


def test_a_schedule_that_cannot_be_understood_changes_nothing(running: Project, running_db: Db) -> None:
    before = running_db.jobConfigs.find_one({"jobName": "api:hourly"})
    assert "schedule" in running.refused("schedule", "api:hourly", "every blue moon")
    assert "unknown job" in running.refused("schedule", "api:nobody", "@daily")
    assert running_db.jobConfigs.find_one({"jobName": "api:hourly"}) == before


def test_runs_can_be_narrowed_to_a_job_a_state_and_a_number(running: Project) -> None:
    for fail in ("true", "false", "true"):
        running.call("run", "api:echo", "--data", f'{{"fail": {fail}}}', "--wait")
    failed = running.asked("runs", "api:echo", "--status", "failed", "--limit", "2")["runs"]
    assert [(run["name"], run["status"], run["error"]) for run in failed] == [
        ("api:echo", "failed", "asked to fail")
    ] * 2
    assert len(running.asked("runs", "--limit", "1")["runs"]) == 1
    assert "asked to fail" in running.call("runs").stdout
    assert "did you mean 'failed'?" in running.refused("runs", "--status", "fail")


@pytest.mark.parametrize("command", [["runs"], ["dead"], ["retry", "--all"]])
def test_a_name_that_means_nothing_is_said_to_be_unknown(running: Project, command: list[str]) -> None:
    assert "unknown job 'api:eco'; did you mean 'api:echo'?" in running.refused(*command, "api:eco")


def test_what_waits_for_a_job_that_no_server_knows_is_listed(running: Project, running_db: Db) -> None:
    id_ = running.asked("run", "lost:cause", "--force")["id"]
    for command in ("status", "jobs"):
        assert "lost:cause" in {each["name"] for each in running.asked(command)["unknown_names"]}
        listed = running.call(command).stdout
        assert "for jobs that no server knows:" in listed
        assert ["lost:cause", "1"] in [line.split()[:2] for line in listed.splitlines()]
    assert running.asked("runs", "lost:cause")["runs"] == []  # it means something
    running_db.pulseJobs.delete_one({"_id": ObjectId(id_)})
    assert "lost:cause" not in running.call("status").stdout


def test_status_tells_live_servers_from_dead_ones_and_stale_locks(running: Project, running_db: Db) -> None:
    past = datetime.now(UTC) - timedelta(minutes=5)
    clean = running.asked("status")
    assert (clean["stale_locks"], [server["alive"] for server in clean["servers"]]) == (0, [True])
    # Held by a server that lives, so nobody takes them back while they are looked at.
    alive = clean["servers"][0]["id"]
    running_db.jobServers.insert_one({"_id": "gone", "host": "gone", "leaseUntil": past, "startedAt": past})
    silent = {"heartbeatAt": past, "leaseUntil": past + timedelta(minutes=9)}
    running_db.jobServers.insert_one({"_id": "still", "host": "still", "startedAt": past, **silent})
    running_db.pulseJobs.insert_one({"name": "x:later", "nextRunAt": datetime.now(UTC) + timedelta(hours=1)})
    running_db.pulseJobs.insert_one({"name": "x:due", "nextRunAt": past})
    running_db.pulseJobs.insert_one({"name": "x:pulse", "nextRunAt": past, "lockedAt": past})
    answer = running.asked("status")
    living = {server["id"]: (server["alive"], server["silent"]) for server in answer["servers"]}
    assert living == {alive: (True, False), "gone": (False, False), "still": (True, True)}
    assert answer["scheduled"] >= 1
    assert answer["queued"] >= 1
    assert answer["running"] == 1
    shown = [line.split()[:2] for line in running.call("status").stdout.splitlines()]
    assert [["gone", "dead"], ["still", "silent"], [alive, "alive"]] == [
        each for each in shown if each and each[0] in ("gone", "still", alive)
    ]
    running_db.jobServers.delete_many({"_id": {"$in": ["gone", "still"]}})
    running_db.pulseJobs.delete_many({"name": {"$regex": "^x:"}})


def test_what_gave_up_is_listed_and_gets_one_more_go(running: Project, running_db: Db) -> None:
    running.call("run", "api:echo", "--data", '{"fail": true, "mark": 7}', "--wait")
    dead = [each for each in running.asked("dead", "api:echo")["dead"] if each["data"].get("mark") == 7]
    assert [each["error"] for each in dead] == ["asked to fail"]
    listed, full = running.call("dead").stdout, running.call("dead", "--full").stdout
    (line,) = (line for line in listed.splitlines() if dead[0]["id"] in line)
    assert "FatalError: asked to fail" in line
    assert "Traceback" not in listed
    assert "--full" in listed
    assert dead[0]["stack"].rstrip() in full
    assert 'raise FatalError("asked to fail")' in full
    assert dead[0]["id"] in full
    running_db.pulseJobs.update_one({"_id": ObjectId(dead[0]["id"])}, {"$set": {"data": {}}})
    assert running.asked("retry", dead[0]["id"])["retried"] == 1
    eventually(lambda: running_db.pulseJobs.find_one({"_id": ObjectId(dead[0]["id"]), "status": "completed"}))
    assert running.call("retry", dead[0]["id"]).returncode == 1
    assert "--all NAME" in running.refused("retry")


def test_all_of_a_job_that_gave_up_get_one_more_go(running: Project, running_db: Db) -> None:
    for _ in range(2):
        running.call("run", "api:echo", "--data", '{"fail": true}', "--wait")
    running_db.pulseJobs.update_many({"name": "api:echo", "status": "failed"}, {"$set": {"data": {}}})
    assert running.asked("retry", "--all", "api:echo")["retried"] >= 2
    eventually(lambda: running.asked("dead", "api:echo")["dead"] == [])


def test_text_is_plain_and_whole_where_nobody_looks(running: Project) -> None:
    for command in (["jobs"], ["runs"], ["status"], ["history", "api:hourly"]):
        out = running.call(*command).stdout
        assert "\x1b" not in out
        assert "…" not in out.splitlines()[0]


def test_the_same_server_serves_them_all(running: Project) -> None:
    server: Server = running._servers[0]
    assert server.process.poll() is None
    assert not [record for record in server.records() if record["level"] in ("critical", "error")]
