"""`jobserver next` and `jobserver schedule`, as a person or a script meets them: the schedule that servers follow."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pymongo.database import Database

from tests.integration.conftest import JOBSERVER, Project, eventually

pytestmark = pytest.mark.timeout(120)

Db = Database[dict[str, Any]]
YESTERDAY = datetime.now(UTC).replace(microsecond=0) - timedelta(days=1)


def know(db: Db, name: str, schedule: Any, holder: dict[str, Any] | None = None, **config: Any) -> None:
    """What servers leave behind for a job: its configuration, and the document that recurs."""
    db.jobConfigs.insert_one({"jobName": name, "enabled": True, "schedule": schedule, **config})
    if holder is not None:
        db.pulseJobs.insert_one({"name": name, "type": "single", **holder})


def moments(answer: dict[str, Any]) -> list[datetime]:
    return [datetime.fromisoformat(each["moment"]) for each in answer["next"]]


@pytest.mark.parametrize("text", ["every weekday at 9:00", "*/5 * * * *", "5 minutes", "manual"])
def test_an_expression_needs_no_project_and_loads_no_database_driver(tmp_path: Any, text: str) -> None:
    script = (
        f"import sys\nfrom jobserver.cli import main\nsys.argv = ['jobserver', 'next', {text!r}, '-n', '2']\n"
        "try:\n    main()\nexcept SystemExit as exit:\n    assert not exit.code, exit.code\n"
        "heavy = ('pymongo', 'structlog', 'yaml', 'jobserver.settings', 'jobserver.scanner')\n"
        "print([name for name in heavy if name in sys.modules], file=sys.stderr)"
    )
    (tmp_path / "config.yaml").write_text("mongodb: {uri: 5}")
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stderr.strip() == "[]"
    assert done.stdout


@pytest.mark.parametrize("count", ["0", "1001", "many"])
def test_how_many_is_bounded_and_wrong_usage_otherwise(tmp_path: Any, count: str) -> None:
    command = [*JOBSERVER, "next", "hourly", "-n", count]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=30)
    assert (done.returncode, done.stdout) == (2, "")
    assert "error: Invalid value for '--count' / '-n'" in done.stderr


def test_a_job_is_shown_in_its_own_zone_or_in_another(project: Project, project_db: Db) -> None:
    schedule = {"type": "schedule", "value": "0 9 * * 1-5", "timezone": "Europe/Berlin", "jitter": 30_000}
    know(project_db, "api:report", schedule)
    told = project.call("next", "api:report").stdout
    assert told.startswith("api:report: Weekdays at 09:00 Europe/Berlin, up to 30 seconds late\n")
    assert "each + up to 30 seconds" in told
    answer = project.asked("next", "api:report", "-n", "4")
    assert (answer["name"], answer["zone"], answer["jitter"]) == ("api:report", "Europe/Berlin", 30_000)
    assert {each["wall"][11:16] for each in answer["next"]} == {"09:00"}
    elsewhere = project.asked("next", "api:report", "-n", "4", "--zone", "Asia/Tokyo")
    assert elsewhere["zone"] == "Asia/Tokyo"
    assert moments(elsewhere) == moments(answer)
    assert {each["wall"][-6:] for each in elsewhere["next"]} == {"+09:00"}
    assert "did you mean 'Asia/Tokyo'?" in project.refused("next", "api:report", "--zone", "Asia/Tokio")


def test_the_override_stands_above_the_class_and_the_last_good_one_above_nonsense(
    project: Project, project_db: Db
) -> None:
    defaults = {"schedule": {"type": "schedule", "value": "0 1 * * *"}}
    know(project_db, "api:plain", None, defaultConfig=defaults)
    know(project_db, "api:bad", "every blue moon", defaultConfig=defaults, configError={"field": "schedule"})
    good = {"schedule": {"type": "schedule", "value": "0 2 * * *"}}
    project_db.jobConfigHistory.insert_one({"jobName": "api:bad", "version": 1, "values": good})
    know(project_db, "api:set", "0 3 * * *", defaultConfig=defaults)
    for name, hour in (("api:plain", "01"), ("api:bad", "02"), ("api:set", "03")):
        assert project.asked("next", name)["schedule_text"] == f"every day at {hour}:00 UTC"
    assert "an edit of its configuration is refused" in project.call("next", "api:bad").stdout


def test_an_interval_counts_from_where_its_servers_count(project: Project, project_db: Db) -> None:
    armed = {"anchorAt": YESTERDAY, "scheduleKey": "interval:420000"}
    know(project_db, "api:armed", "7 minutes", armed)
    know(project_db, "api:edited", "9 minutes", armed)  # no server has seen the edit
    found = moments(project.asked("next", "api:armed"))
    assert all((moment - YESTERDAY) % timedelta(minutes=7) == timedelta(0) for moment in found)
    assert "counted from now" not in project.call("next", "api:armed").stdout
    answer = project.asked("next", "api:edited")
    wait = moments(answer)[0] - datetime.fromisoformat(answer["now"])
    assert (answer["anchor_at"], wait) == (None, timedelta(minutes=9))
    assert "no server has taken this schedule on" in project.call("next", "api:edited").stdout


def test_a_run_that_is_due_at_another_moment_is_not_kept_back(project: Project, project_db: Db) -> None:
    expected = datetime(datetime.now(UTC).year + 1, 1, 1, tzinfo=UTC)
    schedule = {"type": "schedule", "value": "@yearly", "jitter": 60_000}
    know(project_db, "api:regular", schedule, {"nextRunAt": expected + timedelta(seconds=20)})
    know(project_db, "api:retried", schedule, {"nextRunAt": expected - timedelta(seconds=20)})
    know(project_db, "api:owed", {"type": "once", "value": YESTERDAY}, {"nextRunAt": YESTERDAY})
    assert "due besides" not in project.call("next", "api:regular").stdout
    assert "due besides: in " in project.call("next", "api:retried").stdout
    owed = project.call("next", "api:owed").stdout
    assert "its moment has passed" in owed
    assert "due besides: due (" in owed


def test_a_job_that_does_not_run_by_itself_says_why_and_that_is_no_failure(project: Project, project_db: Db) -> None:
    know(project_db, "api:off", "0 9 * * *", enabled=False)
    know(project_db, "api:hand", "manual")
    know(project_db, "api:version", "now")
    know(project_db, "api:over", {"type": "schedule", "value": "0 9 * * *", "endDate": "2020-01-01"})
    know(project_db, "api:gone", "0 9 * * *", missingSince=YESTERDAY)
    for name, says in (
        ("api:off", "it is disabled, so nothing of this runs; `jobserver enable api:off` switches it on"),
        ("api:hand", "it never runs by itself"),
        ("api:version", "once for each version"),
        ("api:over", "it has ended"),
        ("api:gone", "its file is gone since"),
    ):
        done = project.call("next", name)
        assert (done.returncode, says in done.stdout) == (0, True), done
    assert project.asked("next", "api:off")["enabled"] is False


def test_a_name_that_no_job_has_is_answered_with_the_nearest(project: Project, project_db: Db) -> None:
    know(project_db, "api:report", "0 9 * * *")
    assert "error: unknown job 'api:reprot'; did you mean 'api:report'?" in project.refused("next", "api:reprot")
    alone = project.refused("next", "report")
    assert "'report' is not a schedule" in alone
    assert "as the name of a job: unknown job 'report'; did you mean 'api:report'?" in alone
    assert json.loads(project.call("next", "at 25:00", "--json").stderr)["field"] == "schedule"


def test_a_job_without_any_usable_schedule_is_said_to_have_none(project: Project, project_db: Db) -> None:
    know(project_db, "api:odd", "every blue moon")
    assert "nothing that a server can follow is stored for api:odd" in project.refused("next", "api:odd")


def test_every_option_of_a_schedule_can_be_set_by_a_flag_and_comes_into_force(project: Project, project_db: Db) -> None:
    project.job("report", 'class Report(Job):\n    schedule = "manual"\n    def run(self): pass')
    project.start()
    answer = project.asked(
        *("schedule", "api:report", "30 2 * * *", "--zone", "Europe/Berlin", "--dst", "both"),
        *("--misfire", "all(max=10)", "--jitter", "30 seconds", "--start", "2026-01-01T10:00Z"),
        *("--end", "2999-12-31T10:00Z", "--exclude", "weekend,12-25"),
    )
    stored = {
        "type": "schedule",
        "value": "30 2 * * *",
        "timezone": "Europe/Berlin",
        "dst": "both",
        "misfire": "all(max=10)",
        "jitter": 30_000,
        "startDate": "2026-01-01T10:00:00.000Z",
        "endDate": "2999-12-31T10:00:00.000Z",
        "exclude": ["12-25", "sat", "sun"],
    }
    assert answer["schedule"] == stored

    def armed() -> bool:
        job = project_db.pulseJobs.find_one({"name": "api:report", "type": "single"}) or {}
        return "exclude=12-25,sat,sun" in job.get("scheduleKey", "")

    eventually(armed)
    ahead = project.asked("next", "api:report", "-n", "1")
    due = datetime.fromisoformat(ahead["next_run_at"]) - moments(ahead)[0]
    assert timedelta(0) <= due <= timedelta(seconds=30)
    assert ahead["schedule"] == stored


@pytest.mark.parametrize(
    ("flag", "value", "field"),
    [
        ("--zone", "Nowhere", "schedule"),
        ("--dst", "sometimes", "schedule.dst"),
        ("--misfire", "some", "schedule.misfire"),
        ("--jitter", "a bit", "schedule.jitter"),
        ("--start", "tomorrow", "schedule.startDate"),
        ("--end", "2020-13-01", "schedule.endDate"),
        ("--exclude", "easter", "schedule.exclude"),
    ],
)
def test_a_bad_flag_of_a_schedule_is_refused_by_its_name_before_anything_is_asked(
    tmp_path: Any, flag: str, value: str, field: str
) -> None:
    (tmp_path / "config.yaml").write_text("mongodb: {uri: 'mongodb://127.0.0.1:1'}")
    command = [*JOBSERVER, "schedule", "api:report", "0 9 * * *", flag, value, "--json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=30)
    assert (done.returncode, json.loads(done.stderr)["field"]) == (1, field)
