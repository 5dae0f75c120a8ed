"""What counts as a job, what it is called, and what is said of a class that is none."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from jobserver.definition import JobDefinition, ScanProblem
from jobserver.job import Priority
from jobserver.retry import Retry
from jobserver.scanner.loading import LoadedFile, load
from jobserver.scanner.rejection import FileRejected
from jobserver.scanner.source_file import read_source
from jobserver.scanner.sources import JobFile
from jobserver.schedule import Schedule

pytestmark = pytest.mark.timeout(10)

Loader = Callable[..., LoadedFile]


@pytest.fixture
def loader(tmp_path: Path) -> Iterator[Loader]:
    """Loads a text as the job file `jobs/report.py`."""
    before = set(sys.modules)

    def load_text(text: str, *, stem: str = "report", category: str = "api") -> LoadedFile:
        path = tmp_path / f"{stem}.py"
        path.write_text(text if "import Job\n" in text else "from jobserver.job import Job\n" + text)
        source = read_source(JobFile(path=path, category=category))
        assert source is not None
        return load(source)

    yield load_text
    for name in set(sys.modules) - before:
        if name.startswith("jobserver_loaded"):
            del sys.modules[name]


def only(loaded: LoadedFile) -> JobDefinition:
    (definition,) = loaded.definitions
    return definition


def problems(loader: Loader, text: str) -> tuple[ScanProblem, ...]:
    with pytest.raises(FileRejected) as rejected:
        loader(text)
    assert not [name for name in sys.modules if name.startswith("jobserver_loaded.api.report")]
    return rejected.value.problems


def complaint(loader: Loader, body: str) -> str:
    """What is said of class Report with this body."""
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    (problem,) = problems(loader, f"class Report(Job):\n{lines}")
    assert problem.path.endswith("report.py")
    assert f"{problem.path}: class Report: " in problem.message
    assert problem.job_name == "api:report"
    return problem.message


def test_a_class_with_run_and_schedule_is_a_job_named_after_its_file(loader: Loader) -> None:
    found = only(loader("class Report(Job):\n    schedule = '*/5 * * * *'\n    def run(self): ..."))
    assert found.name == "api:report"
    assert Path(found.path).name == "report.py"
    assert found.wants == ()
    assert not found.is_async
    assert found.driver == "pymongo"
    assert len(found.checksum) == 64


def test_a_job_may_name_a_script_or_a_function_in_place_of_run(loader: Loader, tmp_path: Path) -> None:
    (tmp_path / "tidy.py").write_text("raise RuntimeError('imported')")
    script = only(loader("class Tidy(Job):\n    schedule = 'manual'\n    run = 'tidy.py'\n    priority = 10\n"))
    assert (script.name, script.wants, script.defaults.priority) == ("api:report", (), 10)
    assert script.defaults.execution == "process"
    assert script.code is not None
    assert (script.code.kind, script.code.path) == ("script", str(tmp_path / "tidy.py"))
    (tmp_path / "tidy.py").write_text("def run(db, data): ...")
    function = only(
        loader("class Tidy(Job):\n    schedule = 'manual'\n    run = 'tidy.py'\n    execution = 'thread'\n")
    )
    assert (function.wants, function.defaults.execution) == (("db", "data"), "thread")


@pytest.mark.parametrize(
    ("run", "why"),
    [
        ("absent.py", "there is no such file"),
        ("tidy", "is neither a path to a .py file nor"),
        ("nowhere:work", "there is no module 'nowhere'"),
        ("job.py", "defines a Job itself"),
    ],
)
def test_what_a_job_names_in_place_of_run_must_be_there(loader: Loader, tmp_path: Path, run: str, why: str) -> None:
    (tmp_path / "job.py").write_text("class A(Job):\n    def run(self): ...\n")
    with pytest.raises(FileRejected, match=why):
        loader(f"class Tidy(Job):\n    schedule = 'manual'\n    run = '{run}'\n")


def test_what_is_not_stated_takes_its_default(loader: Loader) -> None:
    defaults = only(loader("class Report(Job):\n    schedule = 'manual'\n    def run(self): ...")).defaults
    assert defaults.enabled is True
    assert defaults.retry == Retry.OFF
    assert defaults.priority == Priority.NORMAL
    assert (defaults.concurrency, defaults.global_concurrency, defaults.lock_lifetime) == (None, None, None)


def test_attributes_and_methods_state_the_same(loader: Loader) -> None:
    attributes = """
class Report(Job):
    schedule = "0 * * * *"
    retry = {"enabled": True, "attempts": 3, "delay": 60000}
    priority = Job.priorities.HIGH
    concurrency = 2
    lock_lifetime = "2 hours"
    enabled = False
    def run(self): ...
"""
    methods = """
class Report(Job):
    def get_schedule(self): return {"type": "schedule", "value": "0 * * * *"}
    def get_retry_config(self): return {"enabled": True, "attempts": 3, "delay": 60000}
    def get_priority(self): return self.priorities.HIGH
    def get_concurrency(self): return 2
    def get_lock_lifetime(self): return 2 * 60 * 60 * 1000
    def get_enabled(self): return False
    def run(self): ...
"""
    stated = only(loader(attributes)).defaults
    assert stated == only(loader(methods)).defaults
    assert stated.schedule == Schedule.parse("0 * * * *")
    assert stated.retry == Retry.parse({"enabled": True, "attempts": 3, "delay": 60000})
    assert (stated.priority, stated.concurrency, stated.enabled) == (10, 2, False)
    assert stated.lock_lifetime == timedelta(hours=2)


@pytest.mark.parametrize("schedule", ["'manual'", "'now'", "'*/5 * * * * *'", "timedelta(minutes=5)"])
def test_a_schedule_may_take_every_form(loader: Loader, schedule: str) -> None:
    text = f"from datetime import timedelta\nclass Report(Job):\n    schedule = {schedule}\n    def run(self): ..."
    assert only(loader(text)).defaults.schedule


def test_run_may_ask_for_any_of_the_known_things_in_any_order(loader: Loader) -> None:
    text = "class Report(Job):\n    schedule = 'manual'\n    async def run(self, db, done, progress, *, log): ..."
    found = only(loader(text))
    assert found.wants == ("db", "done", "progress", "log")
    assert found.is_async


def test_motor_is_found_on_the_class(loader: Loader) -> None:
    text = "class Report(Job):\n    schedule = 'manual'\n    driver = 'motor'\n    async def run(self, db): ..."
    assert only(loader(text)).driver == "motor"


def test_zero_pauses_a_job(loader: Loader) -> None:
    text = "class Report(Job):\n    schedule = 'manual'\n    concurrency = 0\n    def run(self): ..."
    assert only(loader(text)).defaults.concurrency == 0


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("schedule = 'manual'", "must define a method `run`"),
        ("schedule = 'manual'\ndef execute(self): ...", "it has 'execute', did you mean 'run'?"),
        ("def run(self): ...", "must define a schedule (`schedule = …` or `get_schedule`)"),
        ("shedule = 'daily'\ndef run(self): ...", "it has 'shedule', did you mean 'schedule'?"),
        ("getSchedule = None\ndef run(self): ...", "it has 'getSchedule', did you mean 'get_schedule'?"),
        ("pass", "must define a method `run` and a schedule"),
        ("schedule = 'manual'\nrun = 3", "`run` must be a method, not int"),
        ("schedule = 'manual'\ndef run(self, progres): ...", "unknown 'progres'; did you mean 'progress'?"),
        ("schedule = 'manual'\ndef run(self, session=None): ...", "asks for unknown 'session'"),
        (
            "schedule = 'manual'\ndef run(self, db, *rest): ...",
            "must not take *rest: what it needs is given to it by name",
        ),
        ("schedule = 'manual'\ndef run(self, **rest): ...", "must not take **rest"),
        ("schedule = 'manual'\ndef run(self, db, /): ...", "takes 'db' by position only"),
        ("schedule = 'manual'\ndef run(db): ...", "`run` lacks `self`"),
        ("schedule = 'manual'\ndef run(): ...", "`run` lacks `self`"),
        ("schedule = 'manual'\ndef run(self):\n    yield 1", "must not yield"),
        ("schedule = 'manual'\nasync def run(self):\n    yield 1", "must not yield"),
        ("schedule = 'every blue moon'\ndef run(self): ...", "schedule: "),
        ("def get_schedule(self): return None\ndef run(self): ...", "get_schedule returned None"),
        ("async def get_schedule(self): return 'now'\ndef run(self): ...", "get_schedule: must be a plain method"),
        (
            "def get_schedule(self): return self.nothing\ndef run(self): ...",
            "its defaults cannot be read: AttributeError",
        ),
        (
            "schedule = 'manual'\ndef __init__(self, x): ...\ndef run(self): ...",
            "cannot be made without arguments: TypeError",
        ),
        ("schedule = 'manual'\nretry = {'attemps': 3}\ndef run(self): ...", "did you mean 'attempts'?"),
        (
            "schedule = 'manual'\npriority = 21\ndef run(self): ...",
            "priority: must be a whole number from -20 to 20, not 21",
        ),
        ("schedule = 'manual'\npriority = -21\ndef run(self): ...", "not -21"),
        ("schedule = 'manual'\npriority = True\ndef run(self): ...", "not True"),
        ("schedule = 'manual'\npriority = 'high'\ndef run(self): ...", "not 'high'"),
        ("schedule = 'manual'\nconcurrency = -1\ndef run(self): ...", "concurrency: must be a whole number from 0 up"),
        ("schedule = 'manual'\nconcurrency = 1.5\ndef run(self): ...", "not 1.5"),
        ("schedule = 'manual'\nslots = 0\ndef run(self): ...", "slots: must be a whole number from 1 to 1000000"),
        ("schedule = 'manual'\nslots = 1000001\ndef run(self): ...", "not 1000001"),
        ("schedule = 'manual'\nslots = None\ndef run(self): ...", "slots: must be a whole number"),
        (
            "schedule = 'manual'\nglobal_concurrency = 0\ndef run(self): ...",
            "global_concurrency: must be a whole number from 1",
        ),
        ("schedule = 'manual'\nlock_lifetime = '999 ms'\ndef run(self): ...", "lock_lifetime: "),
        ("schedule = 'manual'\nlock_lifetime = '31 days'\ndef run(self): ...", "lock_lifetime: "),
        ("schedule = 'manual'\nlock_lifetime = 'long'\ndef run(self): ...", "lock_lifetime: "),
        ("schedule = 'manual'\nenabled = 'no'\ndef run(self): ...", "enabled: must be True or False, not 'no'"),
        ("schedule = 'manual'\ndriver = 'moter'\nasync def run(self): ...", "did you mean 'motor'?"),
        ("schedule = 'manual'\ndriver = 'motor'\ndef run(self, db): ...", "needs `async def run`"),
    ],
)
def test_what_is_missing_or_wrong_is_named(loader: Loader, body: str, said: str) -> None:
    assert said in complaint(loader, body)


@pytest.mark.parametrize("value", ["-20", "20", "None"])
@pytest.mark.parametrize("lock", ["'1 second'", "'30 days'", "None"])
def test_the_bounds_themselves_are_fine(loader: Loader, value: str, lock: str) -> None:
    priority = "0" if value == "None" else value
    stated = f"    schedule, priority, lock_lifetime = 'manual', {priority}, {lock}\n"
    text = f"class Report(Job):\n{stated}    def run(self): ..."
    assert only(loader(text)).defaults.priority == int(priority)


@pytest.mark.parametrize("text", ["", "X = 1", "class Report: ...", "from jobserver.job import Job as Other"])
def test_a_file_without_a_job_is_told_how_to_be_a_helper(loader: Loader, text: str) -> None:
    (problem,) = problems(loader, text)
    assert "defines no Job" in problem.message
    assert "_report.py" in problem.message


TWO = """
class One(Job):
    name, schedule = "one", "manual"
    def run(self): ...

class Two(Job):
    name, schedule = "two", "manual"
    def run(self): return 2
"""


def test_several_jobs_in_one_file_have_names_and_checksums_of_their_own(loader: Loader) -> None:
    before = {each.name: each.checksum for each in loader(TWO).definitions}
    after = {each.name: each.checksum for each in loader(TWO.replace("return 2", "return 3")).definitions}
    assert list(before) == ["api:one", "api:two"]
    assert before["api:one"] == after["api:one"]
    assert before["api:two"] != after["api:two"]


def test_each_of_several_jobs_needs_a_name(loader: Loader) -> None:
    (problem,) = problems(loader, TWO.replace('name, schedule = "two", "manual"', 'schedule = "manual"'))
    assert "class Two: the file holds several jobs, so each class needs a `name` of its own" in problem.message


def test_an_inherited_name_is_not_a_name_of_its_own(loader: Loader) -> None:
    (problem,) = problems(
        loader, TWO.replace('class Two(Job):\n    name, schedule = "two", "manual"', "class Two(One):")
    )
    assert "class Two: the file holds several jobs" in problem.message


def test_two_classes_of_one_file_cannot_have_one_name(loader: Loader) -> None:
    (problem,) = problems(loader, TWO.replace('"two"', '"one"'))
    assert "class Two: takes the name 'api:one', which class One of the same file has" in problem.message
    assert problem.job_name == "api:one"


def test_every_faulty_class_of_a_file_is_named(loader: Loader) -> None:
    found = problems(loader, TWO.replace("def run(self)", "def run(self, x)"))
    assert [problem.job_name for problem in found] == ["api:one", "api:two"]


@pytest.mark.parametrize(("name", "full"), [("nightly", "billing:nightly"), ("ops:nightly", "ops:nightly")])
def test_a_name_replaces_the_stem_and_one_with_a_colon_the_whole(loader: Loader, name: str, full: str) -> None:
    text = f"class Report(Job):\n    name, schedule = {name!r}, 'manual'\n    def run(self): ..."
    assert only(loader(text, category="billing")).name == full


@pytest.mark.parametrize("name", ["", " x", "a:", ":b", "a\nb", "x" * 201, 3, b"x"])
def test_an_unusable_name_is_refused(loader: Loader, name: Any) -> None:
    (problem,) = problems(
        loader, f"class Report(Job):\n    name, schedule = {name!r}, 'manual'\n    def run(self): ..."
    )
    assert "class Report: " in problem.message
    assert repr(name) in problem.message


def test_imported_jobs_and_aliases_do_not_count(
    loader: Loader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    other = "from jobserver.job import Job\nclass Other(Job):\n    schedule = 'now'\n    def run(self): ...\n"
    (tmp_path / "scanner_test_neighbour.py").write_text(other)
    text = "from scanner_test_neighbour import Other\nclass Report(Other): ...\nSame = Report"
    assert only(loader(text)).job_class.__name__ == "Report"
    del sys.modules["scanner_test_neighbour"]


@pytest.mark.parametrize(
    "base",
    [
        "class Base(Job):\n    concurrency = 3",
        "class Base(Job):\n    concurrency = 3\n    def run(self): self.step()",
        "class Base(Job):\n    concurrency = 3\n    schedule = 'now'",
        "class _Base(Job):\n    concurrency = 3\n    schedule = 'now'\n    def run(self): ...\nBase = _Base",
        "from abc import ABC, abstractmethod\nclass Base(Job, ABC):\n    concurrency = 3\n    schedule = 'now'\n"
        "    def run(self): ...\n    @abstractmethod\n    def step(self): ...",
    ],
)
def test_a_base_that_other_classes_complete_is_no_job(loader: Loader, base: str) -> None:
    text = "class Report(Base):\n    schedule = 'manual'\n    def run(self): ...\n    def step(self): ..."
    found = only(loader(f"{base}\n{text}"))
    assert found.name == "api:report"
    assert found.defaults.concurrency == 3


def test_a_change_of_a_base_in_the_file_changes_the_checksum(loader: Loader) -> None:
    text = "class One(Job):\n    name, schedule = 'one', 'now'\n    def run(self): ...\n"
    text += "class Two(One):\n    name = 'two'\n"
    before = [each.checksum for each in loader(text).definitions]
    after = [each.checksum for each in loader(text.replace("'now'", "'manual'")).definitions]
    assert before[1] != after[1]


def test_a_setting_that_cannot_be_used_is_told_once_with_the_word_that_was_meant(loader: Loader) -> None:
    text = "class One(Job):\n    schedule = 'manual'\n    execution = 'proces'\n    def run(self): ...\n"
    (problem,) = problems(loader, text)
    assert problem.message.endswith("'proces' is none of inline, thread, process; did you mean 'process'?")
    assert problem.traceback == ""


def test_an_error_shows_the_real_line_of_the_real_file(loader: Loader) -> None:
    (problem,) = problems(loader, "def inner():\n    return 1 / 0\ninner()\n")
    assert "ZeroDivisionError: division by zero" in problem.message
    assert problem.traceback.startswith("Traceback (most recent call last):\n  File")
    assert f'File "{problem.path}", line 3, in inner\n    return 1 / 0' in problem.traceback
    assert "loading.py" not in problem.traceback


def test_a_syntax_error_shows_its_line(loader: Loader) -> None:
    (problem,) = problems(loader, "def run(:\n")
    assert "SyntaxError" in problem.message
    assert f'File "{problem.path}", line 2' in problem.traceback
    assert "loading.py" not in problem.traceback


def test_the_cause_of_a_faulty_default_is_shown(loader: Loader) -> None:
    text = "class Report(Job):\n    def get_schedule(self):\n        return self.nothing\n    def run(self): ..."
    (problem,) = problems(loader, text)
    assert "return self.nothing" in problem.traceback


def test_a_very_long_traceback_keeps_its_beginning_and_its_end(loader: Loader) -> None:
    (problem,) = problems(loader, "raise ValueError('x' * 100_000 + 'the end')")
    assert len(problem.traceback) < 9000
    assert problem.traceback.startswith("Traceback")
    assert problem.traceback.rstrip().endswith("the end")
    assert len(problem.message) < 9000


def test_a_loaded_module_is_found_by_pickle_and_dataclasses(loader: Loader) -> None:
    text = """
from __future__ import annotations
from dataclasses import dataclass
from typing import ClassVar
from jobserver.job import Job

@dataclass
class Item:
    size: int
    kinds: ClassVar[list[str]] = []

class Report(Job):
    schedule = "manual"
    def run(self):
        return Item(3)
"""
    job = only(loader(text, stem="with-dash")).job_class()
    item = job.run()  # type: ignore[attr-defined]
    assert pickle.loads(pickle.dumps(item)) == item


def test_two_hundred_versions_leave_one_module_and_old_classes_still_run(loader: Loader) -> None:
    text = "STEP = {n}\nclass Report(Job):\n    schedule = 'manual'\n    def run(self): return helper()\n"
    text += "def helper(): return STEP"
    current, first, size = None, None, 0
    for n in range(200):
        newer = loader(text.format(n=n))
        if current is not None:
            current.unload()
        current, first = newer, first or only(newer).job_class
        size = size or len(sys.modules)
    assert len(sys.modules) == size
    assert first is not None
    assert first().run() == 0  # type: ignore[attr-defined]
    assert only(current).job_class().run() == 199  # type: ignore[arg-type, attr-defined]
