from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobserver.errors import SettingsError
from jobserver.settings import Settings, load_settings, without_credentials


def read(source: Any = None, environ: Mapping[str, str] | None = None) -> Settings:
    return load_settings({} if source is None else source, environ=environ or {})


def refusal(source: Any = None, environ: Mapping[str, str] | None = None) -> SettingsError:
    with pytest.raises(SettingsError) as caught:
        read(source, environ)
    return caught.value


def pulse(**config: Any) -> dict[str, Any]:
    return {"runner": {"config": config}}


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    return tmp_path / "config.yaml"


def test_the_defaults_are_those_of_a_cautious_server() -> None:
    config = read().runner.config
    assert read().runner.type == "pulse"
    assert config.process_every == timedelta(seconds=3)
    assert (config.max_concurrency, config.default_concurrency) == (1, 1)
    assert (config.lock_limit, config.default_lock_limit) == (1, 1)
    assert config.default_lock_lifetime == timedelta(minutes=55)
    assert config.sort == (("priority", -1), ("nextRunAt", 1))
    assert config.db.collection == "pulseJobs"
    assert (config.retention, config.failed_retention) == (timedelta(days=7), timedelta(days=30))
    assert read().scanner.watch_enabled is True
    assert read().scanner.scan_interval == timedelta(seconds=60)
    assert read().mongodb.uri is None


def test_slots_and_recycling_are_off_but_for_runs_that_nothing_could_end() -> None:
    config = read().runner.config
    assert (config.available_slots, config.slots_patience) == (None, timedelta(seconds=10))
    assert (config.recycle_after_runs, config.recycle_memory, config.recycle_stuck) == (0, None, 10)


def test_slots_and_recycling_may_be_written_as_people_and_environments_do() -> None:
    config = read(
        pulse(available_slots="1024", slots_patience="1 minute", recycle_memory="500 MB", recycle_after_runs="1000")
    ).runner.config
    assert (config.available_slots, config.slots_patience) == (1024, timedelta(minutes=1))
    assert (config.recycle_memory, config.recycle_after_runs) == (500_000_000, 1000)
    config = read(pulse(available_slots="", recycle_memory=" ", recycle_stuck=0)).runner.config
    assert (config.available_slots, config.recycle_memory, config.recycle_stuck) == (None, None, 0)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("available_slots", 0, "0 is not between 1 and 1000000"),
        ("available_slots", "many", "'many' is not a whole number"),
        ("available_slots", True, "True is not a whole number"),
        ("slots_patience", "-1 s", "slots_patience"),
        ("recycle_memory", "much", "'much' is not a size; write bytes, or text such as '512 MB'"),
        ("recycle_memory", 1000, "1000 is not between 32 MiB and 1 PiB"),
        ("recycle_after_runs", -1, "-1 is not between 0 and 1000000000"),
        ("recycle_stuck", "x", "'x' is not a whole number"),
    ],
)
def test_a_limit_that_makes_no_sense_is_refused_by_name(key: str, value: Any, message: str) -> None:
    refused = str(refusal(pulse(**{key: value})))
    assert f"runner.config.{key}" in refused
    assert message in refused


def test_the_documented_form_in_camel_case_and_milliseconds_is_accepted() -> None:
    found = read(
        {
            "runner": {
                "type": "pulse",
                "config": {
                    "processEvery": "5 seconds",
                    "maxConcurrency": 5,
                    "defaultLockLifetime": 30 * 60 * 1000,
                    "sort": {"nextRunAt": 1, "priority": -1},
                    "db": {"collection": "otherJobs"},
                },
            },
            "scanner": {"watchEnabled": False, "scanInterval": 60000},
        }
    )
    assert found.runner.config.process_every == timedelta(seconds=5)
    assert found.runner.config.max_concurrency == 5
    assert found.runner.config.default_lock_lifetime == timedelta(minutes=30)
    assert found.runner.config.sort == (("nextRunAt", 1), ("priority", -1))
    assert found.runner.config.db.collection == "otherJobs"
    assert found.scanner.watch_enabled is False
    assert found.scanner.scan_interval == timedelta(minutes=1)


def test_the_environment_stands_above_the_file_and_flags_above_the_environment(config_file: Path) -> None:
    config_file.write_text("mongodb: {database: file, uri: 'mongodb://file'}\nrunner: {config: {maxConcurrency: 3}}\n")
    environ = {"JOBSERVER_MONGODB__DATABASE": "variable", "JOBSERVER_RUNNER__CONFIG__MAX_CONCURRENCY": "7"}
    assert load_settings(config_file, environ={}).runner.config.max_concurrency == 3
    assert load_settings(config_file, environ=environ).runner.config.max_concurrency == 7
    assert load_settings(config_file, environ=environ).mongodb.database == "variable"
    found = load_settings(config_file, environ=environ, flags={"mongodb": {"database": "flag", "uri": None}})
    assert found.mongodb.database == "flag"
    assert found.mongodb.uri == "mongodb://file"


def test_every_kind_of_value_can_come_from_the_environment() -> None:
    found = read(
        environ={
            "JOBSERVER_PROJECT__DISABLED_PLUGINS": "billing, reports",
            "JOBSERVER_RUNNER__CONFIG__SORT": '{"nextRunAt": 1}',
            "JOBSERVER_RUNNER__CONFIG__PROCESS_EVERY": "250",
            "JOBSERVER_RUNNER__CONFIG__DB__COLLECTION": "jobs",
            "JOBSERVER_SCANNER__WATCH_ENABLED": "no",
        }
    )
    assert found.project.disabled_plugins == ("billing", "reports")
    assert found.runner.config.sort == (("nextRunAt", 1),)
    assert found.runner.config.process_every == timedelta(milliseconds=250)
    assert found.runner.config.db.collection == "jobs"
    assert found.scanner.watch_enabled is False


def test_an_empty_variable_and_one_that_names_no_setting_of_ours_count_as_not_given() -> None:
    found = read(environ={"JOBSERVER_MONGODB__URI": "", "JOBSERVER_SUPERVISOR": "abc", "PATH": "/bin"})
    assert found.mongodb.uri is None


def test_an_empty_section_and_an_empty_value_keep_their_defaults(config_file: Path) -> None:
    config_file.write_text("mongodb:\n  uri:\nscanner:\nrunner:\n  config:\n    process_every:\n")
    assert load_settings(config_file, environ={}).model_dump(exclude={"project"}) == read().model_dump(
        exclude={"project"}
    )


def test_an_empty_file_is_all_defaults(config_file: Path) -> None:
    config_file.write_text("# nothing yet\n")
    assert load_settings(config_file, environ={}).runner == read().runner


def test_none_reads_the_config_file_of_the_current_directory(
    config_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(config_file.parent)
    assert load_settings(environ={}).mongodb.database == "jobserver"
    config_file.write_text("mongodb: {database: here}")
    assert load_settings(environ={}).mongodb.database == "here"
    assert load_settings(environ={}).project.root == config_file.parent


def test_the_project_is_where_its_config_file_is(config_file: Path) -> None:
    config_file.write_text("project: {jobs_dir: work}")
    found = load_settings(str(config_file), environ={})
    assert found.project.root == config_file.parent
    assert found.project.jobs_dir == Path("work")
    config_file.write_text("project: {root: below}")
    assert load_settings(config_file.parent, environ={}).project.root == config_file.parent / "below"


def test_ready_settings_are_taken_as_they_are_whatever_the_environment_says() -> None:
    found = read({"mongodb": {"database": "mine"}})
    assert load_settings(found, environ={"JOBSERVER_MONGODB__DATABASE": "other"}) is found
    changed = load_settings(found, environ={}, flags={"mongodb": {"uri": "mongodb://flag"}})
    assert (changed.mongodb.uri, changed.mongodb.database) == ("mongodb://flag", "mine")
    assert changed.project == found.project


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        read().mongodb.database = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("source", "field", "message"),
    [
        ({"runer": {}}, "", "unknown key 'runer'; did you mean 'runner'?"),
        (pulse(max_concurency=1), "runner.config", "did you mean 'max_concurrency'?"),
        ({5: {}}, "", "unknown key 5"),
        ({"mongodb": [1]}, "mongodb", "mongodb is a mapping"),
        ({"mongodb": {"uri": "localhost:27017"}}, "mongodb.uri", "write mongodb://host:27017"),
        ({"mongodb": {"database": "a.b"}}, "mongodb.database", "'a.b' is not a database name"),
        (pulse(process_every="3 parsecs"), "runner.config.process_every", "unknown unit 'parsecs'"),
        (pulse(process_every=9), "runner.config.process_every", "9 is not between 10 milliseconds and 1 hour"),
        (pulse(process_every="2 hours"), "runner.config.process_every", "is not between 10 milliseconds and 1 hour"),
        (pulse(max_concurrency=0), "runner.config.max_concurrency", "0 is not between 1 and 10000"),
        (pulse(max_concurrency=10_001), "runner.config.max_concurrency", "10001 is not between 1 and 10000"),
        (pulse(max_concurrency=True), "runner.config.max_concurrency", "True is not a whole number"),
        (pulse(max_concurrency=1.5), "runner.config.max_concurrency", "1.5 is not a whole number"),
        (pulse(default_concurrency=0), "runner.config.default_concurrency", "0 is not between 1 and"),
        (pulse(lock_limit=-1), "runner.config.lock_limit", "-1 is not between 0 and"),
        (pulse(default_lock_limit="x"), "runner.config.default_lock_limit", "'x' is not a whole number"),
        (pulse(default_lock_lifetime=0), "runner.config.default_lock_lifetime", "0 is not between"),
        (pulse(retention="never"), "runner.config.retention", "'never' is not a length of time"),
        (pulse(sort={"nextRunAt": 2}), "runner.config.sort", "2 is not a direction"),
        (pulse(sort={"nextRun": 1}), "runner.config.sort", "did you mean 'nextRunAt'?"),
        (pulse(sort={}), "runner.config.sort", "an empty sort order"),
        (pulse(sort="priority"), "runner.config.sort", "write {priority: -1, nextRunAt: 1}"),
        (pulse(db={"collection": "jobRuns"}), "runner.config.db.collection", "of jobserver's own"),
        (pulse(db={"collection": "system.jobs"}), "runner.config.db.collection", "is not a collection name"),
        ({"project": {"jobs_dir": 5}}, "project.jobs_dir", "5 is not a text"),
        ({"project": {"disabled_plugins": {"a": 1}}}, "project.disabled_plugins", "is not a list of names"),
        ({"scanner": {"watch_enabled": "maybe"}}, "scanner.watch_enabled", "'maybe' is neither true nor false"),
        ({"scanner": {"watchEnabled": 1, "watch_enabled": 0}}, "scanner.watch_enabled", "given twice"),
    ],
)
def test_a_mistake_is_refused_with_its_field_and_the_fix(source: Any, field: str, message: str) -> None:
    error = refusal(source)
    assert error.field == field
    assert message in error.message


def test_a_mistake_in_the_environment_names_its_variable() -> None:
    wrong_value = refusal(environ={"JOBSERVER_RUNNER__CONFIG__MAX_CONCURRENCY": "many"})
    assert "JOBSERVER_RUNNER__CONFIG__MAX_CONCURRENCY" in wrong_value.message
    wrong_name = refusal(environ={"JOBSERVER_RUNNER__CONFIG__MAX_CONCURENCY": "3"})
    assert "did you mean 'max_concurrency'?" in wrong_name.message
    assert "is a section" in refusal(environ={"JOBSERVER_RUNNER__CONFIG": "3"}).message
    assert "nothing is below it" in refusal(environ={"JOBSERVER_MONGODB__URI__X": "3"}).message


def test_a_mistake_in_the_file_names_its_line(config_file: Path) -> None:
    config_file.write_text("runner:\n  config:\n    maxConcurrency: 3\n    lockLimit: none\n")
    error = refusal(config_file)
    assert error.field == "runner.config.lock_limit"
    assert f"{config_file}, line 4" in error.message
    config_file.write_text("mongodb:\n  database: a\n\n  urn: x\n")
    assert f"{config_file}, line 4" in refusal(config_file).message


def test_every_mistake_is_told_at_once() -> None:
    text = str(refusal({"runner": {"config": {"lock_limit": -1, "max_concurrency": 0}}, "mongodb": {"uri": 1}}))
    assert "runner.config.lock_limit: -1" in text
    assert "runner.config.max_concurrency: 0" in text
    assert "mongodb.uri:" in text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mongodb: {uri: [", "line 1"),
        ("mongodb:\n\turi: x\n", "line 2"),
        ("- a\n- b\n", "begins with a key such as 'mongodb:'"),
        ("just text", "begins with a key such as 'mongodb:'"),
        ("mongodb: !!python/object:os.system {}\n", "could not determine a constructor"),
        ("a: &a [*a]\n", "unknown key 'a'"),
        ("mongodb: &m {database: *m}\n", "mongodb"),
        ("scanner: 2001-99-99\n", "config.yaml"),
        ("? {}\n: 1\n", "line 1"),
        ("scanner:\n  scan_interval: 1s\n  scan_interval: 2s\n", "given twice"),
        ("mongodb:\n  database: a\nmongodb:\n  database: b\n", "line 3"),
        ("\x00", "config.yaml"),
        ("[" * 5000, "config.yaml"),
    ],
)
def test_yaml_that_cannot_be_used_is_refused_with_what_is_wrong(config_file: Path, text: str, message: str) -> None:
    config_file.write_text(text)
    assert message in str(refusal(config_file))


def test_a_file_that_cannot_be_read_is_refused_by_name(tmp_path: Path) -> None:
    assert "`jobserver init` writes one" in str(refusal(tmp_path / "nothing.yaml"))
    (tmp_path / "config.yaml").mkdir()
    assert "config.yaml cannot be read" in str(refusal(tmp_path))
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\xff")
    assert "is not UTF-8 text" in str(refusal(tmp_path / "binary.yaml"))


def _paths(section: dict[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, value in section.items():
        yield (*above, key)
        if isinstance(value, dict):
            yield from _paths(value, (*above, key))


_text = st.text(alphabet="aZ09 .,-:/$*{}[]\0é…")
_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _text | st.datetimes() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(_text | st.integers(), inner),
    max_leaves=5,
)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)  # a busy machine is no fault of the settings
@given(st.sampled_from(sorted(_paths(Settings().model_dump()))), _values)
def test_whatever_stands_in_the_settings_they_are_read_or_refused(path: tuple[str, ...], value: Any) -> None:
    source = value
    for key in reversed(path):
        source = {key: source}
    try:
        outcome: object = read(source)
    except SettingsError as error:
        outcome = error.message
    assert outcome


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("mongodb://user:secret@host:27017/db?w=1", "mongodb://host:27017/db?w=1"),
        ("mongodb+srv://user:p@ss@host/", "mongodb+srv://host/"),
        ("mongodb://user:se/cret@host/", "mongodb://host/"),
        ("mongodb://a,b,c/?replicaSet=rs0", "mongodb://a,b,c/?replicaSet=rs0"),
        (
            "mongodb://h/?authMechanismProperties=AWS_SESSION_TOKEN:secret&w=1",
            "mongodb://h/?authMechanismProperties=…&w=1",
        ),
    ],
)
def test_a_shown_uri_holds_no_secret(uri: str, shown: str) -> None:
    assert without_credentials(uri) == shown
    found = read({"mongodb": {"uri": uri}})
    assert found.mongodb.shown_uri == shown
    assert "secret" not in repr(found)


def test_a_refused_uri_does_not_show_its_password() -> None:
    assert "secret" not in str(refusal({"mongodb": {"uri": "user:secret@host"}}))


ROOT = Path(__file__).parents[2]


def test_the_config_file_of_this_project_is_the_one_that_init_writes() -> None:
    assert (ROOT / "config.yaml").read_text() == (ROOT / "jobserver/cli/project/config.yaml").read_text()


def test_the_shipped_config_file_names_every_key_with_a_comment_and_raises_the_limits() -> None:
    text = (ROOT / "config.yaml").read_text()
    shipped = load_settings(ROOT / "config.yaml", environ={})
    for *_, key in _paths(Settings().model_dump(exclude={"project": {"root"}})):
        assert re.search(rf"^ *{key}:", text, re.MULTILINE), key
    lines = text.splitlines()
    for number, line in enumerate(lines[1:], 1):
        if re.match(r" +\w+:", line) and not re.match(r" +(config|db|priority|nextRunAt|failed_retention):", line):
            assert lines[number - 1].lstrip().startswith("#"), line
    config = shipped.runner.config
    assert (config.max_concurrency, config.default_concurrency) == (100, 5)
    assert (config.lock_limit, config.default_lock_limit) == (0, 0)
    assert shipped.mongodb.uri is None


def test_sizes_of_logs_are_text_or_bytes_also_from_the_environment() -> None:
    found = read({"logs": {"max_line": "8 KiB", "maxRun": "1 GiB"}}, {"JOBSERVER_LOGS__MAX_BYTES_PER_SECOND": "2048"})
    assert (found.logs.max_line, found.logs.max_run, found.logs.max_bytes_per_second) == (8192, 2**30, 2048)
    assert found.logs.retention == timedelta(days=30)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("max_line", "10 bytes", "not between 1 KiB and 8 MiB"),
        ("max_run", "lots", "is not a size"),
        ("bucket", "gridf", "did you mean 'gridfs'?"),
        ("bucket", "/var/logs", "write gridfs, folder, or a URL"),
        ("retention", "0 days", "is not between"),
    ],
)
def test_settings_of_logs_that_are_unusable_are_refused_with_what_would_do(key: str, value: str, said: str) -> None:
    error = refusal({"logs": {key: value}})
    assert error.field == f"logs.{key}"
    assert said in error.message
