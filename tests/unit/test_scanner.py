"""From one scan to the next: what is in force, what is told, what is left alone. Real files, real probes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from jobserver.definition import ScanResult
from jobserver.scanner import Scanner

pytestmark = pytest.mark.timeout(30)

JOB = """
from jobserver.job import Job

ANSWER = {answer!r}

class Report(Job):
    name = {name!r}
    schedule = "manual"

    def run(self):
        return helper()

def helper():
    return ANSWER
"""


class Project:
    """A folder with job files, and a scanner whose clock stands still unless it is moved."""

    def __init__(self, root: Path) -> None:
        self.root, self.now = root, 0.0
        self.scanner = self.new_scanner()

    def new_scanner(self, **settings: Any) -> Scanner:
        return Scanner(
            project_root=self.root,
            jobs_dir=Path("jobs"),
            plugins_dir=Path("plugins"),
            probe_timeout=timedelta(seconds=5),
            monotonic=lambda: self.now,
            **settings,
        )

    def write(self, path: str, text: str) -> Path:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def job(self, path: str, *, answer: object = 1, name: str | None = None, before: str = "") -> Path:
        return self.write(path, before + JOB.format(answer=answer, name=name))

    def scan(self) -> ScanResult:
        return self.scanner.scan()

    def good(self) -> ScanResult:
        result = self.scan()
        assert result.problems == ()
        return result

    def problem(self) -> str:
        (problem,) = self.scan().problems
        return problem.message


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    modules, path = set(sys.modules), list(sys.path)
    yield Project(tmp_path)
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if name.startswith(("jobserver_loaded", "shop")):
            del sys.modules[name]


def run(result: ScanResult, name: str = "api:report") -> Any:
    return result.definitions[name].job_class().run()  # type: ignore[attr-defined]


def test_no_folders_and_no_jobs_are_legal(project: Project) -> None:
    assert project.good().definitions == {}


def test_jobs_of_the_project_and_of_its_plugins_are_found(project: Project) -> None:
    project.job("jobs/report.py")
    project.job("jobs/other.py", name="nightly")
    project.job("plugins/billing/jobs/report.py", name="ops:invoice")
    project.job("plugins/mail/jobs/report.py")
    assert list(project.good().definitions) == ["api:nightly", "api:report", "mail:report", "ops:invoice"]


def test_a_disabled_plugin_is_not_even_tried(project: Project) -> None:
    project.write("plugins/billing/jobs/report.py", "raise RuntimeError('loaded')")
    assert project.new_scanner(disabled_plugins=["billing"]).scan() == ScanResult(definitions={})


def test_a_job_file_imports_from_the_project(project: Project) -> None:
    project.write("shop/prices.py", "PRICE = 7")
    project.write("jobs/_shared.py", "RATE = 2")
    text = "from shop.prices import PRICE\nfrom jobs._shared import RATE\n"
    project.job("jobs/report.py", before=text)
    result = project.good()
    assert sys.modules[result.definitions["api:report"].job_class.__module__].PRICE == 7
    project.good()
    assert sys.path.count(str(project.root)) == 1
    for name in ("jobs", "jobs._shared"):
        del sys.modules[name]


def test_a_module_of_the_project_that_has_just_been_written_is_found(project: Project) -> None:
    project.write("shop/first.py", "PRICE = 7")
    project.job("jobs/report.py", before="from shop.first import PRICE\n")
    project.good()
    seen = (project.root / "shop").stat()
    project.write("shop/second.py", "PRICE = 8")
    os.utime(project.root / "shop", ns=(seen.st_atime_ns, seen.st_mtime_ns))  # as if in the same tick of the clock
    project.job("jobs/report.py", before="from shop.second import PRICE\n")
    project.good()


def test_an_unchanged_file_is_neither_tried_nor_imported_again(project: Project) -> None:
    note = f"with open({str(project.root / 'imports')!r}, 'a') as file: file.write('x')\n"
    project.job("jobs/report.py", before=note)
    first = project.good()
    os.utime(project.root / "jobs/report.py", (1, 1))
    assert project.good() == first
    assert (project.root / "imports").read_text() == "xx"  # once in the probe, once here


def test_scans_from_several_threads_import_once(project: Project) -> None:
    note = f"with open({str(project.root / 'imports')!r}, 'a') as file: file.write('x')\n"
    project.job("jobs/report.py", before=note)
    with ThreadPoolExecutor(4) as threads:
        results = list(threads.map(lambda _: project.scan(), range(4)))
    assert all(result == results[0] for result in results)
    assert (project.root / "imports").read_text() == "xx"


def test_a_changed_file_is_in_force_at_once_and_the_old_class_still_runs(project: Project) -> None:
    project.job("jobs/report.py", answer="old")
    old = project.good()
    project.job("jobs/report.py", answer="new")
    new = project.good()
    assert (run(old), run(new)) == ("old", "new")
    assert old.definitions["api:report"].checksum != new.definitions["api:report"].checksum


def test_a_changed_comment_is_taken_in_with_the_same_checksum(project: Project) -> None:
    project.job("jobs/report.py")
    old = project.good().definitions["api:report"]
    project.job("jobs/report.py", before="# why it exists\n\n")
    new = project.good().definitions["api:report"]
    assert new.checksum == old.checksum
    assert new.job_class is not old.job_class


def test_a_replaced_version_leaves_sys_modules(project: Project) -> None:
    project.job("jobs/report.py", answer=1)
    old = project.good().definitions["api:report"].job_class.__module__
    assert old in sys.modules
    project.job("jobs/report.py", answer=2)
    new = project.good().definitions["api:report"].job_class.__module__
    assert old not in sys.modules
    assert new in sys.modules


def test_a_removed_file_takes_its_jobs_with_it(project: Project) -> None:
    file = project.job("jobs/report.py")
    module = project.good().definitions["api:report"].job_class.__module__
    file.unlink()
    assert project.good().definitions == {}
    assert module not in sys.modules


def test_a_broken_version_leaves_the_last_good_one_in_force_until_it_is_mended(project: Project) -> None:
    project.job("jobs/report.py", answer="good")
    project.good()
    project.write("jobs/report.py", "1 / 0")
    for _ in range(2):
        result = project.scan()
        assert run(result) == "good"
        (problem,) = result.problems
        assert "ZeroDivisionError" in problem.message
        assert "1 / 0" in problem.traceback
        assert problem.job_name == "api:report"
    project.job("jobs/report.py", answer="mended")
    assert run(project.good()) == "mended"


def test_going_back_to_the_version_in_force_solves_the_problem_without_an_import(project: Project) -> None:
    project.job("jobs/report.py")
    before = project.good()
    project.write("jobs/report.py", "1 / 0")
    project.scan()
    project.job("jobs/report.py")
    assert project.good().definitions["api:report"].job_class is before.definitions["api:report"].job_class


def test_one_broken_file_does_not_keep_others_out(project: Project) -> None:
    for number in range(20):
        project.job(f"jobs/job{number:02}.py")
    project.write("jobs/job13.py", "def run(:")
    result = project.scan()
    assert len(result.definitions) == 19
    (problem,) = result.problems
    assert problem.path.endswith("job13.py")


@pytest.mark.parametrize("part", [0.3, 0.6, 0.9])
def test_a_half_written_file_is_picked_up_when_it_is_complete(project: Project, part: float) -> None:
    whole = JOB.format(answer=1, name=None)
    half = whole[: int(len(whole) * part)] + "("
    project.write("jobs/report.py", half)
    assert "cannot be imported" in project.problem()
    project.write("jobs/report.py", whole)
    assert run(project.good()) == 1


def test_a_file_that_changes_while_it_is_tried_is_loaded_only_when_it_has_come_to_rest(project: Project) -> None:
    settle_once = "import pathlib\ntext = pathlib.Path(__file__).read_text()\n"
    settle_once += (
        "if 'ANSWER = 1' in text: pathlib.Path(__file__).write_text(text.replace('ANSWER = 1', 'ANSWER = 2'))\n"
    )
    project.job("jobs/report.py", answer=1, before=settle_once)
    assert run(project.good()) == 2


def test_a_file_that_never_comes_to_rest_is_told(project: Project) -> None:
    restless = "import pathlib\nfile = pathlib.Path(__file__)\nfile.write_text(file.read_text() + '#')\n"
    project.job("jobs/report.py", before=restless)
    project.job("jobs/calm.py")
    result = project.scan()
    assert list(result.definitions) == ["api:calm"]
    assert "report.py: changes faster than it can be read" in result.problems[0].message


def test_a_broken_file_is_tried_again_when_it_is_touched(project: Project) -> None:
    file = project.job("jobs/report.py", before="from shop.late import PRICE\n")
    assert "No module named 'shop'" in project.problem()
    project.write("shop/late.py", "PRICE = 7")
    assert "No module named 'shop'" in project.problem()
    os.utime(file, (1, 1))
    assert run(project.good()) == 1


def test_a_broken_file_is_tried_again_by_itself_after_one_then_two_minutes(project: Project) -> None:
    project.job("jobs/report.py", before="from shop.later import PRICE\n")
    project.scan()
    project.now = 61
    assert "No module named 'shop'" in project.problem()
    project.write("shop/later.py", "PRICE = 7")
    project.now = 61 + 119
    assert "No module named 'shop'" in project.problem()
    project.now = 61 + 121
    project.good()


def test_a_file_that_fails_only_in_the_server_keeps_its_last_good_version(project: Project) -> None:
    project.job("jobs/report.py", answer="good")
    project.good()
    project.job(
        "jobs/report.py", answer="bad", before="import sys\nif 'pytest' in sys.modules: raise OSError('here')\n"
    )
    result = project.scan()
    assert run(result) == "good"
    (problem,) = result.problems
    assert "OSError: here; it passed its trial" in problem.message


def test_of_two_files_with_one_name_the_one_in_force_stays_until_it_goes(project: Project) -> None:
    project.job("jobs/late.py", answer="first", name="nightly")
    project.good()
    project.job("jobs/early.py", answer="second", name="nightly")
    for _ in range(2):
        result = project.scan()
        assert run(result, "api:nightly") == "first"
        (problem,) = result.problems
        assert str(project.root / "jobs/late.py") in problem.message
        assert str(project.root / "jobs/early.py") in problem.message
    (project.root / "jobs/late.py").unlink()
    assert run(project.good(), "api:nightly") == "second"


def test_a_folder_that_cannot_be_read_for_a_moment_does_not_take_its_jobs_away(project: Project) -> None:
    project.job("jobs/report.py")
    project.good()
    (project.root / "jobs").rename(project.root / "aside")
    (project.root / "jobs").symlink_to(project.root / "jobs")
    result = project.scan()
    assert list(result.definitions) == ["api:report"]
    assert "cannot be searched for jobs" in result.problems[0].message
    (project.root / "jobs").unlink()
    assert project.good().definitions == {}


def test_a_file_that_cannot_be_read_keeps_its_last_good_version(project: Project) -> None:
    file = project.job("jobs/report.py")
    project.good()
    file.unlink()
    file.symlink_to(file)
    result = project.scan()
    assert list(result.definitions) == ["api:report"]
    assert "cannot be read" in result.problems[0].message


def test_a_probe_that_cannot_start_is_told_and_tried_again(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.job("jobs/report.py")
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", str(project.root / "no-python"))
        assert "could not be tried: the probe cannot be started: No such file" in project.problem()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", "/bin/false")
        assert "could not be tried: the probe ended with 1" in project.problem()
    project.good()


def test_neither_the_scanner_nor_a_probe_loads_a_database_driver_or_the_watching() -> None:
    code = "import jobserver.scanner, jobserver.scanner.probe, sys; print({'pymongo', 'watchdog'} & set(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert ran.stdout == "set()\n"
