"""Functions, files and dotted names become definitions, and nothing is imported where it will not run."""

from __future__ import annotations

import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from jobserver.definition import Execution, JobDefinition
from jobserver.errors import DefinitionError, ScheduleError
from jobserver.scanner.handlers.definitions import Handed, define_handed, define_stored
from jobserver.scanner.handlers.references import stored_reference
from jobserver.scanner.rejection import FileRejected
from jobserver.schedule import ScheduleKind

EXPLODES = "raise RuntimeError('imported')\n"


def top_level(data: Any, progress: Any) -> None: ...


def yields(data: Any) -> Any:
    yield data


def file(folder: Path, source: str, name: str = "report.py") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(dedent(source))
    return path


def defined(job: Any, **how: Any) -> JobDefinition:
    return define_handed(Handed(job=job, **how))


def code_of(definition: JobDefinition) -> Any:
    assert definition.code is not None
    return definition.code


def test_a_function_is_found_again_by_module_and_name_and_runs_in_a_process() -> None:
    definition = defined(top_level, name="x", at="every 5 minutes", data={"n": 1})
    code = code_of(definition)
    assert (code.kind, code.module, code.name) == ("function", __name__, "top_level")
    assert (definition.wants, definition.is_async, definition.data) == (("data", "progress"), False, {"n": 1})
    assert definition.defaults.execution is Execution.PROCESS
    assert definition.defaults.schedule.kind is ScheduleKind.INTERVAL


def test_a_file_with_a_function_run_is_that_function_and_is_not_imported(tmp_path: Path) -> None:
    definition = defined(file(tmp_path, EXPLODES + "async def run(db, *, data): ..."))
    assert (definition.name, definition.wants, definition.is_async) == ("report", ("db", "data"), True)
    assert (code_of(definition).kind, code_of(definition).name) == ("function", "run")


def test_a_file_without_one_is_a_script(tmp_path: Path) -> None:
    definition = defined(str(file(tmp_path, EXPLODES)), name="tidy")
    assert (definition.name, definition.wants, code_of(definition).kind) == ("tidy", (), "script")


def test_a_file_with_a_job_class_is_that_class_under_the_given_name_and_time(tmp_path: Path) -> None:
    source = """
        from jobserver import Job as Task, Retry
        class Report(Task):
            schedule = "every hour"
            retry = Retry(attempts=2)
            priority = 10
            def run(self, data): ...
    """
    definition = defined(file(tmp_path, source), at="0 9 * * *")
    assert (definition.name, definition.defaults.priority, definition.defaults.retry.attempts) == ("report", 10, 2)
    assert definition.defaults.schedule.kind is ScheduleKind.CRON
    assert code_of(definition).kind == "class"


def test_a_file_whose_job_class_is_broken_is_refused_without_harm(tmp_path: Path) -> None:
    source = "import sys\nfrom jobserver import Job\nsys.exit(3)\nclass Report(Job):\n    def run(self): ...\n"
    with pytest.raises(FileRejected, match=r"sys\.exit"):
        defined(file(tmp_path, source))


def test_a_dotted_name_is_read_without_importing_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file(tmp_path, EXPLODES, "exploding/__init__.py")
    path = file(tmp_path, EXPLODES + "def work(log): ...", "exploding/inner.py")
    monkeypatch.syspath_prepend(str(tmp_path))
    definition = defined("exploding.inner:work", name="x")
    assert (code_of(definition).module, definition.wants, definition.path) == ("exploding.inner", ("log",), str(path))
    assert "exploding" not in sys.modules


def test_what_is_stored_leads_to_the_same_definition(tmp_path: Path) -> None:
    path = file(tmp_path, "def run(db): ...")
    for job in (path, str(path), "json:dumps"):
        stored = stored_reference(job)
        assert set(stored) in ({"kind", "path"}, {"kind", "module", "name"})
    assert define_stored("x", stored_reference(path)).checksum == defined(path, name="x").checksum


def test_a_handler_that_a_hand_has_torn_is_refused() -> None:
    with pytest.raises(DefinitionError, match="has no 'path'"):
        define_stored("x", {"kind": "file"})


def test_another_time_or_other_code_is_another_checksum(tmp_path: Path) -> None:
    path = file(tmp_path, "def run(db): ...")
    first = defined(path, at="every hour").checksum
    assert first == defined(path, at="every hour").checksum != defined(path, at="every day at 9:00").checksum
    file(tmp_path, "def run(db): return 1")
    assert first != defined(path, at="every hour").checksum


@pytest.mark.parametrize(
    ("job", "why"),
    [
        (lambda: None, "a lambda has no name"),
        (Path().exists, "asks for unknown|is a method of an object"),
        (yields, "must not yield"),
        (Path, "is a class"),
        (5, "is neither a function nor a path"),
        ("report.txt", "neither a path to a .py file"),
        ("absent.py", "there is no such file"),
        ("nul\0.py", "is no path"),
        ("a-b:c", "is not of the form"),
        ("nowhere.at:all", "there is no module 'nowhere'"),
        ("math:sqrt", "has no Python source"),
        ("json:dum", "did you mean 'dump'"),
        ("json:dumps", "asks for unknown 'obj'"),
    ],
)
def test_what_cannot_be_a_job_is_refused_with_the_reason(job: Any, why: str) -> None:
    with pytest.raises(DefinitionError, match=why):
        defined(job, name="x")


def test_an_empty_name_is_not_taken_for_none(tmp_path: Path) -> None:
    for job in (top_level, file(tmp_path, "def run(): ...")):
        assert defined(job, name="").name == ""  # whoever stores it refuses it as any other name


def test_a_function_inside_another_is_refused_offloaded_and_runs_in_turn(tmp_path: Path) -> None:
    def inside() -> None: ...

    with pytest.raises(DefinitionError, match="offloaded=False"):
        defined(inside, name="x")
    definition = defined(inside, name="x", offloaded=False)
    assert (definition.in_turn, definition.code, definition.defaults.execution) == (True, None, None)


def test_a_time_that_cannot_be_understood_is_refused() -> None:
    with pytest.raises(ScheduleError):
        defined(top_level, name="x", at="now and then")


def test_several_jobs_in_one_file_and_scripts_in_turn_are_refused(tmp_path: Path) -> None:
    one = "class {0}(Job):\n    name = '{0}'\n    schedule = 'manual'\n    def run(self): ...\n"
    source = "from jobserver import Job\n" + one.format("A") + one.format("B")
    with pytest.raises(DefinitionError, match=r"several jobs \(A, B\)"):
        defined(file(tmp_path, source))
    with pytest.raises(DefinitionError, match="leave out offloaded=False"):
        defined(file(tmp_path, "print()"), offloaded=False)


async def test_code_that_was_only_read_is_imported_by_its_first_run_on_this_server(tmp_path: Path) -> None:
    path = file(tmp_path, "async def run(data): return data")
    definition = defined(path, offloaded=False)
    job: Any = definition.job_class()
    assert await job.run(data=5) == 5
    file(tmp_path, "async def run(data): return -data")
    assert await job.run(data=5) == -5
