"""Edits of `jobConfigs` by hand, with two servers running: what is in force, and on both."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bson import ObjectId

from jobserver import JobServer, Schedule, validate_config
from tests.project import Project, Records, until

YEARLY = "0 0 1 1 *"  # never by itself while a test runs
WAITS = """
class Waits(Job):
    schedule = "0 0 1 1 *"
    async def run(self, db, context):
        await note(db, job=context.name, run=context.run_id)
        await at_gate(db)
"""
FAILS = """
class Fails(Job):
    schedule = "manual"
    async def run(self, db):
        await note(db)
        raise ValueError("no luck")
"""


async def in_force(servers: Sequence[JobServer], name: str, is_so: Callable[[Any], bool]) -> None:
    """Wait until the settings of this job are so on every server."""
    await until(lambda: all(is_so(server.jobs[name].settings) for server in servers))


async def applied(project: Project, servers: Sequence[JobServer]) -> None:
    """Wait until every server has read every edit made so far: documents are read all at once."""
    if not project.config("api:last"):
        raise AssertionError("this project has no job api:last")
    stamp = len(project.history("api:last")) + 1
    project.edit("api:last", {"$set": {"concurrency": stamp}})
    await in_force(servers, "api:last", lambda settings: settings.concurrency == stamp)


async def test_a_job_switched_off_does_not_run_on_any_server_and_runs_again_when_switched_on(project: Project) -> None:
    name, other = project.job("noted", schedule=YEARLY), project.job("other")
    async with project.servers(2) as servers:
        project.edit(name, {"$set": {"enabled": False}})
        await in_force(servers, name, lambda settings: not settings.enabled)
        assert "nextRunAt" not in project.holder(name)
        project.make_due(name)
        await project.ran(other)
        assert project.notes(job=name) == []
        project.edit(name, {"$set": {"enabled": True}})
        await in_force(servers, name, lambda settings: settings.enabled)
        assert project.holder(name)["nextRunAt"] > project.now()
        project.make_due(name)
        await until(lambda: project.notes(job=name))


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ({"type": "schedule", "value": "*/30 * * * *"}, Schedule.parse("*/30 * * * *")),
        ({"type": "cron", "value": "15 30 2 * * *"}, Schedule.parse("15 30 2 * * *")),
        ("*/20 * * * *", Schedule.parse("*/20 * * * *")),
        (
            {"type": "schedule", "value": "0 9 * * 1", "timezone": "Europe/Vienna"},
            Schedule.parse("0 9 * * 1", "Europe/Vienna"),
        ),
        ({"type": "once", "value": datetime(2999, 1, 1, tzinfo=UTC)}, Schedule.parse(datetime(2999, 1, 1, tzinfo=UTC))),
        (
            {
                **{"type": "schedule", "value": "every weekday at 9:00", "timezone": "Europe/Vienna", "dst": "both"},
                **{"misfire": "skip", "startDate": "2998-01-01", "endDate": "2999-12-31", "exclude": ["mon", "01-02"]},
            },
            Schedule.parse(
                "every weekday at 9:00",
                "Europe/Vienna",
                dst="both",
                misfire="skip",
                start="2998-01-01",
                end="2999-12-31",
                exclude="mon,01-02",
            ),
        ),
    ],
    ids=["mapping", "with seconds", "bare text", "time zone", "once", "every key"],
)
async def test_a_schedule_written_by_hand_replaces_the_next_run(
    project: Project, written: Any, meant: Schedule
) -> None:
    name = project.job("noted", schedule=YEARLY)
    async with project.servers(2) as servers:
        before = project.now()
        project.edit(name, {"$set": {"schedule": written}})
        await in_force(servers, name, lambda settings: settings.schedule == meant)
        following = project.holder(name)["nextRunAt"]
        assert following in (meant.next_after(before), meant.next_after(project.now()))


async def test_an_interval_written_by_hand_runs_the_job_again_and_again(project: Project) -> None:
    name = project.job("noted", schedule=YEARLY)
    async with project.servers(2):
        project.edit(name, {"$set": {"schedule": {"type": "interval", "value": 1000}}})
        await until(lambda: len(project.notes(job=name)) >= 2)
    runs = project.runs(name)
    moments = [run["scheduledAt"] for run in runs]
    assert len(set(moments)) == len(moments)
    assert all((moment - moments[0]) % timedelta(seconds=1) == timedelta() for moment in moments)


async def test_a_new_schedule_leaves_the_run_in_progress_alone_and_counts_after_it(project: Project) -> None:
    name = project.job("waits", WAITS)
    async with project.servers(2) as servers:
        project.make_due(name)
        (began,) = await until(lambda: project.notes(job=name))
        project.edit(name, {"$set": {"schedule": "30 4 * * *"}})
        await in_force(servers, name, lambda settings: settings.schedule == Schedule.parse("30 4 * * *"))
        assert "lockToken" in project.holder(name)
        project.open()
        holder = await project.ended(project.holder(name)["_id"])
        assert holder["nextRunAt"] == Schedule.parse("30 4 * * *").next_after(project.now())
        assert [run["_id"] for run in await until(lambda: project.runs(name))] == [began["run"]]


async def test_a_retry_policy_written_by_hand_counts_for_the_next_failure(project: Project) -> None:
    name = project.job("fails", FAILS)
    async with project.servers(2) as servers:
        assert (await project.ended(project.enqueue(name), "failed"))["failCount"] == 1
        retry = {"enabled": True, "attempts": 2.0, "delay": 0, "backoff": {"type": "exponential", "factor": 2}}
        project.edit(name, {"$set": {"retry": retry}})
        await in_force(servers, name, lambda settings: settings.retry.attempts == 2)
        assert (await project.ended(project.enqueue(name), "failed"))["failCount"] == 3


async def test_a_concurrency_written_by_hand_holds_on_each_server_and_0_pauses(project: Project) -> None:
    name, other = project.job("waits", WAITS), project.job("other")
    async with project.servers(2) as servers:
        project.edit(name, {"$set": {"concurrency": 1}})
        await in_force(servers, name, lambda settings: settings.concurrency == 1)
        for _ in range(7):
            project.enqueue(name)
        await until(lambda: len(project.notes(job=name)) == 2)
        await project.ran(other)
        assert len(project.notes(job=name)) == 2
        project.edit(name, {"$set": {"concurrency": 3.0}})
        await until(lambda: len(project.notes(job=name)) == 6)
        project.edit(name, {"$set": {"concurrency": 0}})
        await in_force(servers, name, lambda settings: settings.concurrency == 0)
        project.open()
        await until(lambda: len(project.runs(name)) == 6)
        await project.ran(other)
        assert len(project.notes(job=name)) == 6
        project.edit(name, {"$set": {"concurrency": None}})
        await until(lambda: len(project.runs(name)) == 7)


async def test_a_lock_lifetime_written_by_hand_counts_for_the_next_run(project: Project) -> None:
    name = project.job("waits", WAITS)
    async with project.servers(2) as servers:
        project.edit(name, {"$set": {"lockLifetime": 45 * 60 * 1000}})
        await in_force(servers, name, lambda settings: settings.lock_lifetime == timedelta(minutes=45))
        id_ = project.enqueue(name)
        locked = await until(lambda: project.jobs.find_one({"_id": id_, "lockToken": {"$gt": ""}}))
        assert locked["lockUntil"] - locked["lockedAt"] == timedelta(minutes=45)


@pytest.mark.parametrize(("written", "meant"), [(10, 10), (-20.0, -20), ("HIGHEST", 20)])
async def test_a_priority_written_by_hand_counts_for_the_next_occurrence(
    project: Project, written: Any, meant: int
) -> None:
    name = project.job("noted", schedule=YEARLY)
    async with project.servers(2) as servers:
        project.edit(name, {"$set": {"priority": written}})
        await in_force(servers, name, lambda settings: settings.priority == meant)
        assert project.holder(name)["priority"] == meant


async def test_the_log_tells_an_edit_in_numbers_switches_and_words(project: Project, log: Records) -> None:
    name = project.job("noted", schedule=YEARLY)
    async with project.servers(1) as servers:
        log.clear()
        edit = {"enabled": False, "priority": 5, "lockLifetime": 120_000, "execution": "inline"}
        project.edit(name, {"$set": edit})
        await in_force(servers, name, lambda settings: not settings.enabled)
        await until(lambda: [record for record in log if record["event"] == "config applied"])
    told = next(record for record in log if record["event"] == "config applied")
    expected = {"name": name, "enabled": False, "priority": 5, "lock_lifetime": "2 minutes", "execution": "inline"}
    assert expected.items() <= told.items()


async def test_run_now_gives_exactly_one_run_in_all_each_time_and_the_schedule_does_not_move(project: Project) -> None:
    name, other = project.job("noted", schedule=YEARLY), project.job("other")
    async with project.servers(2):
        following = project.holder(name)["nextRunAt"]
        for count in range(1, 21):
            project.edit(name, {"$set": {"runNow": True}})
            await until(lambda count=count: len(project.runs(name)) >= count)  # type: ignore[misc]
            await until(lambda: project.config(name)["runNow"] is False)
        await project.ran(other)
        assert len(project.runs(name)) == 20
        assert project.holder(name)["nextRunAt"] == following
        assert "runNowRequest" not in project.config(name)


async def test_run_now_runs_a_disabled_job_too_which_stays_disabled(project: Project) -> None:
    name = project.job("noted", schedule=YEARLY)
    async with project.servers(2) as servers:
        project.edit(name, {"$set": {"enabled": False}})
        await in_force(servers, name, lambda settings: not settings.enabled)
        project.edit(name, {"$set": {"runNow": True}})
        await until(lambda: project.runs(name, status="completed"))
        assert project.config(name)["enabled"] is False
        assert "nextRunAt" not in project.holder(name)


async def test_a_run_asked_for_by_a_server_that_then_died_is_given_by_the_next_one(project: Project) -> None:
    name = project.job("noted", schedule=YEARLY)
    async with project.server():
        pass
    project.edit(name, {"$set": {"runNowRequest": ObjectId()}})
    async with project.servers(2):
        await until(lambda: project.runs(name, status="completed"))
        await until(lambda: "runNowRequest" not in project.config(name))
    assert len(project.runs(name)) == 1


OPTIONS: dict[str, tuple[Any, Any]] = {
    "timezone": ("Europe/Vienna", "Europe/Viena"),
    "dst": ("skip", "sometimes"),
    "misfire": ("skip", {"type": "all", "max": 10_001}),
    "jitter": (5_000, "8 days"),
    "startDate": ("2026-01-01", "tomorrow"),
    "endDate": ("2999-01-01", "2026-02-30"),
    "exclude": (["sat"], ["easter"]),
}
"""For each key of a schedule what would do, and what would not."""


def daily(**options: Any) -> dict[str, Any]:
    return {"type": "schedule", "value": "30 4 * * *", **options}


NONSENSE: list[tuple[str, Any, Any, str, Callable[[Any], bool]]] = [
    ("enabled", False, "no", "enabled", lambda s: s.enabled is False),
    ("schedule", "30 4 * * *", "61 * * * *", "schedule", lambda s: s.schedule == Schedule.parse("30 4 * * *")),
    ("schedule", "30 4 * * *", {"type": "sometimes"}, "schedule.type", lambda s: s.schedule.value == "30 4 * * *"),
    ("retry", {"attempts": 4}, {"attempts": "many"}, "retry.attempts", lambda s: s.retry.attempts == 4),
    ("retry", {"attempts": 4}, {"attemps": 4}, "retry", lambda s: s.retry.attempts == 4),
    ("concurrency", 4, 1.5, "concurrency", lambda s: s.concurrency == 4),
    ("concurrency", 4, -1, "concurrency", lambda s: s.concurrency == 4),
    ("globalConcurrency", 4, 0, "globalConcurrency", lambda s: s.global_concurrency == 4),
    ("lockLifetime", 60_000, "soon", "lockLifetime", lambda s: s.lock_lifetime == timedelta(minutes=1)),
    ("priority", 4, 400, "priority", lambda s: s.priority == 4),
    *(
        (
            "schedule",
            daily(**{key: good}),
            daily(**{key: bad}),
            f"schedule.{key}",
            lambda s, key=key, good=good: s.schedule == Schedule.parse(daily(**{key: good})),
        )
        for key, (good, bad) in OPTIONS.items()
    ),
]


async def test_nonsense_is_shown_in_the_document_and_the_last_good_value_stays_on_every_server(
    project: Project,
) -> None:
    names = [project.job(f"case{number}", schedule=YEARLY) for number in range(len(NONSENSE))]
    cases = list(zip(names, NONSENSE, strict=True))
    project.job("last")
    async with project.servers(2) as servers:
        for name, (field, good, *_) in cases:
            project.edit(name, {"$set": {field: good}})
        for name, (*_, is_good) in cases:
            await in_force(servers, name, is_good)
        for name, (field, _, nonsense, *_) in cases:
            project.edit(name, {"$set": {field: nonsense}})
        for name, (field, _, nonsense, shown, _) in cases:
            config = await until(lambda name=name: project.shown_as_wrong(name))  # type: ignore[misc]
            assert config["configError"]["field"] == shown
            assert config["configError"]["at"] <= project.now()
            assert [str(error) for error in validate_config(config)] == [f"{shown}: {config['configError']['message']}"]
            assert config[field] == nonsense
        await applied(project, servers)
        assert {name: is_good(server.jobs[name].settings) for name, (*_, is_good) in cases for server in servers} == (
            dict.fromkeys(names, True)
        )
        # One that was not there when the good value was written finds it too.
        async with project.server() as late:
            assert {name: is_good(late.jobs[name].settings) for name, (*_, is_good) in cases} == (
                dict.fromkeys(names, True)
            )
        for name, (field, *_) in cases:
            project.edit(name, {"$unset": {field: ""}})
        for name, (*_, is_good) in cases:
            await until(lambda name=name: not project.shown_as_wrong(name))  # type: ignore[misc]
            await in_force(servers, name, lambda settings, is_good=is_good: not is_good(settings))  # type: ignore[misc]


async def test_a_bad_field_does_not_keep_the_good_ones_beside_it_from_being_applied(project: Project) -> None:
    name = project.job("noted", schedule=YEARLY)
    async with project.servers(2) as servers:
        project.edit(name, {"$set": {"priority": "urgent", "concurrency": 7}})
        await in_force(servers, name, lambda settings: settings.concurrency == 7)
        error = (await until(lambda: project.shown_as_wrong(name)))["configError"]["field"]
        assert error == "priority"


async def test_nonsense_in_run_now_runs_nothing_and_is_shown(project: Project) -> None:
    name, other = project.job("noted", schedule=YEARLY), project.job("last")
    async with project.servers(2) as servers:
        project.edit(name, {"$set": {"runNow": "please"}})
        assert (await until(lambda: project.shown_as_wrong(name)))["configError"]["field"] == "runNow"
        await applied(project, servers)
        await project.ran(other)
        assert project.notes(job=name) == []


async def test_a_misspelt_field_is_shown_with_what_was_meant(project: Project) -> None:
    name = project.job("noted", schedule=YEARLY)
    async with project.servers(2):
        project.edit(name, {"$set": {"shedule": "* * * * *", "ownedBy": "the night shift"}})
        error = (await until(lambda: project.shown_as_wrong(name)))["configError"]
        assert error["field"] == "shedule"
        assert "schedule" in error["message"]
        project.edit(name, {"$unset": {"shedule": ""}})
        await until(lambda: "configError" not in project.config(name))


async def test_a_replaced_document_counts_as_it_stands(project: Project) -> None:
    name = project.job("noted", schedule=YEARLY)
    async with project.servers(2) as servers:
        project.edit(name, {"$set": {"concurrency": 7, "priority": 3}})
        await in_force(servers, name, lambda settings: (settings.concurrency, settings.priority) == (7, 3))
        project.configs.replace_one({"jobName": name}, {"jobName": name, "concurrency": 2})
        await in_force(servers, name, lambda settings: (settings.concurrency, settings.priority) == (2, 0))
        config = await until(lambda: project.configs.find_one({"jobName": name, "checksum": {"$exists": True}}))
        assert config["concurrency"] == 2
        assert config["enabled"] is True


@pytest.mark.parametrize(
    "undo",
    [{"$unset": {"concurrency": "", "schedule": ""}}, {"$set": {"concurrency": None, "schedule": None}}],
    ids=["$unset", "null"],
)
async def test_taking_an_override_away_brings_the_default_of_the_class_back(project: Project, undo: Any) -> None:
    name = project.job("noted", schedule=YEARLY)
    async with project.servers(2) as servers:
        project.edit(name, {"$set": {"concurrency": 7, "schedule": "30 4 * * *"}})
        await in_force(servers, name, lambda s: s.concurrency == 7 and s.schedule == Schedule.parse("30 4 * * *"))
        project.edit(name, undo)
        await in_force(servers, name, lambda s: s.concurrency == 5 and s.schedule == Schedule.parse(YEARLY))
        assert project.holder(name)["nextRunAt"] == Schedule.parse(YEARLY).next_after(project.now())


async def test_a_deleted_document_comes_back_with_the_defaults_once_for_all_servers(project: Project) -> None:
    name = project.job("noted", schedule=YEARLY)
    async with project.servers(2) as servers:
        project.edit(name, {"$set": {"concurrency": 7, "enabled": False}})
        await in_force(servers, name, lambda settings: settings.concurrency == 7 and not settings.enabled)
        project.configs.delete_one({"jobName": name})
        await in_force(servers, name, lambda settings: settings.concurrency == 5 and settings.enabled)
        assert project.configs.count_documents({"jobName": name}) == 1
        assert project.holder(name)["nextRunAt"] > project.now()


async def test_overrides_survive_a_restart(project: Project) -> None:
    name = project.job("noted", schedule=YEARLY)
    async with project.servers(2) as servers:
        project.edit(name, {"$set": {"concurrency": 7, "schedule": "30 4 * * *"}})
        await in_force(servers, name, lambda settings: settings.concurrency == 7)
    async with project.server() as server:
        assert server.jobs[name].settings.concurrency == 7
        assert server.jobs[name].settings.schedule == Schedule.parse("30 4 * * *")


async def test_new_code_resets_every_override_but_enabled(project: Project) -> None:
    name = project.job("noted", schedule=YEARLY)
    edits = {
        "schedule": "30 4 * * *",
        "retry": {"attempts": 4},
        "concurrency": 7,
        "globalConcurrency": 9,
        "lockLifetime": 60_000,
        "priority": 11,
        "enabled": False,
    }
    async with project.servers(2) as servers:
        project.edit(name, {"$set": edits})
        await in_force(servers, name, lambda settings: settings.priority == 11)
        project.job("noted", schedule="0 12 24 12 *")
        expected = Schedule.parse("0 12 24 12 *")
        await in_force(servers, name, lambda settings: settings.schedule == expected)
        config = project.config(name)
        assert config["enabled"] is False
        assert config["schedule"] == config["defaultConfig"]["schedule"] == expected.to_document()
        assert not {"concurrency", "globalConcurrency", "lockLifetime", "priority"} & set(config)
        for server in servers:
            settings = server.jobs[name].settings
            assert (settings.concurrency, settings.global_concurrency, settings.priority) == (5, None, 0)
            assert not settings.retry.enabled
            assert not settings.enabled


async def test_a_comment_in_the_code_resets_nothing(project: Project) -> None:
    name, other = project.job("noted", schedule=YEARLY), "api:other"
    async with project.servers(2) as servers:
        project.edit(name, {"$set": {"concurrency": 7}})
        await in_force(servers, name, lambda settings: settings.concurrency == 7)
        path = project.root / "jobs" / "noted.py"
        path.write_text(f"# a word to the reader\n{path.read_text()}")
        project.job("other")
        await until(lambda: all(other in server.jobs for server in servers))
        assert all(server.jobs[name].settings.concurrency == 7 for server in servers)
        assert project.config(name)["concurrency"] == 7


async def test_each_applied_change_is_kept_once_with_what_it_was_and_what_it_became(project: Project) -> None:
    name, _ = project.job("noted", schedule=YEARLY), project.job("last")
    async with project.servers(2) as servers:
        project.edit(name, {"$set": {"concurrency": 7}})
        await in_force(servers, name, lambda settings: settings.concurrency == 7)
        project.edit(name, {"$set": {"concurrency": 8, "priority": "nonsense"}})
        await in_force(servers, name, lambda settings: settings.concurrency == 8)
        project.edit(name, {"$unset": {"concurrency": ""}})
        await in_force(servers, name, lambda settings: settings.concurrency == 5)
        await applied(project, servers)
        first, *later = project.history(name)
        assert {change["field"] for change in first["changes"]} == {"enabled", "retry", "schedule"}
        assert all("from" not in change for change in first["changes"])
        assert [entry["changes"] for entry in later] == [
            [{"field": "concurrency", "to": 7}],
            [{"field": "concurrency", "from": 7, "to": 8}],
            [{"field": "concurrency", "from": 8}],
        ]
        assert [entry["version"] for entry in later] == [2, 3, 4]
        assert all(entry["at"] <= project.now() and "server" in entry["by"] for entry in later)


async def test_a_change_is_kept_also_where_what_does_not_count_is_not_equal_to_itself(project: Project) -> None:
    name = project.job("noted", schedule=YEARLY)
    async with project.servers(1):
        project.edit(name, {"$set": {"schedule": {"type": "manual", "value": math.nan}}})
        await until(lambda: project.history(name)[-1]["values"]["schedule"] == {"type": "manual"})


async def test_a_burst_of_a_hundred_edits_ends_with_the_last_one_in_force_everywhere(project: Project) -> None:
    name = project.job("noted", schedule=YEARLY)
    async with project.servers(2) as servers:
        for count in range(100):
            project.edit(name, {"$set": {"concurrency": 100 + count, "schedule": f"{count % 60} 4 * * *"}})
        await in_force(servers, name, lambda settings: settings.concurrency == 199)
        assert project.holder(name)["nextRunAt"] == Schedule.parse("39 4 * * *").next_after(project.now())
        await until(lambda: project.history(name)[-1]["values"].get("concurrency") == 199)  # a moment after it counts
        versions = [entry["version"] for entry in project.history(name)]
        assert versions == list(range(1, len(versions) + 1))


async def test_a_dropped_collection_comes_back_with_the_defaults_and_goes_on_obeying(project: Project) -> None:
    name = project.job("noted", schedule=YEARLY)
    async with project.servers(2) as servers:
        project.edit(name, {"$set": {"concurrency": 7}})
        await in_force(servers, name, lambda settings: settings.concurrency == 7)
        project.configs.drop()
        await in_force(servers, name, lambda settings: settings.concurrency == 5)
        project.edit(name, {"$set": {"concurrency": 8}})
        await in_force(servers, name, lambda settings: settings.concurrency == 8)
        assert project.configs.count_documents({"jobName": name}) == 1


async def test_a_renamed_collection_is_made_anew_and_goes_on_obeying(project: Project) -> None:
    name = project.job("noted", schedule=YEARLY)
    async with project.servers(2) as servers:
        project.edit(name, {"$set": {"concurrency": 7}})
        await in_force(servers, name, lambda settings: settings.concurrency == 7)
        project.configs.rename("put_aside")
        await in_force(servers, name, lambda settings: settings.concurrency == 5)
        project.edit(name, {"$set": {"concurrency": 8}})
        await in_force(servers, name, lambda settings: settings.concurrency == 8)
        assert project.configs.count_documents({"jobName": name}) == 1
        assert project.db.put_aside.find_one({"jobName": name})["concurrency"] == 7
