"""Real file events: a change is told once the files have come to rest, and only a change that matters."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from jobserver.scanner import JobSources, Watcher

pytestmark = pytest.mark.timeout(20)

DEBOUNCE = 0.1
PATIENCE = 5.0


class Watched:
    """A project, a watcher on it, and the calls it has made so far."""

    def __init__(self, root: Path) -> None:
        self.root, self.calls, self.troubles = root, 0, list[str]()
        self._called = threading.Condition()
        self.watcher = Watcher(
            JobSources(project_root=root, jobs_dir=Path("jobs"), plugins_dir=Path("plugins")),
            on_change=self._count,
            debounce=timedelta(seconds=DEBOUNCE),
            on_trouble=self.troubles.append,
        )

    def write(self, path: str, text: str = "x") -> Path:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def tells(self, change: Callable[[], object], *, within: float = PATIENCE) -> bool:
        """Whether a call comes after `change`."""
        with self._called:
            before = self.calls
            change()
            return self._called.wait_for(lambda: self.calls > before, within)

    def place(self, path: str, text: str = "x") -> None:
        """Put a file there in one step, which is one event."""
        self.write("aside/whole", text).replace(self.root / path)

    def rests(self) -> None:
        """Wait until what has been done so far has been told: a change of our own must be the last call."""
        assert self.tells(lambda: self.place("jobs/zzz_rest.py", str(time.monotonic_ns())))

    def _count(self) -> None:
        with self._called:
            self.calls += 1
            self._called.notify_all()


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "plugins/billing/jobs").mkdir(parents=True)
    project = Watched(tmp_path)
    project.watcher.start()
    yield project
    project.watcher.stop()
    assert project.troubles == []


def test_a_new_a_changed_and_a_removed_file_are_told(watched: Watched) -> None:
    file = watched.root / "jobs/report.py"
    assert watched.tells(lambda: file.write_text("1"))
    assert watched.tells(lambda: file.write_text("22"))
    assert watched.tells(file.unlink)


def test_a_file_of_a_plugin_is_told(watched: Watched) -> None:
    assert watched.tells(lambda: watched.write("plugins/billing/jobs/invoice.py"))


def test_an_editor_that_writes_aside_and_renames_is_told(watched: Watched) -> None:
    watched.write("jobs/report.py")
    watched.rests()
    aside = watched.write("jobs/.report.py.swp", "new")
    assert watched.tells(lambda: aside.replace(watched.root / "jobs/report.py"))


def test_a_file_that_moves_in_or_out_is_told(watched: Watched) -> None:
    aside = watched.write("elsewhere/report.py")
    assert watched.tells(lambda: aside.rename(watched.root / "jobs/report.py"))
    assert watched.tells(lambda: (watched.root / "jobs/report.py").rename(aside))


def append(file: Path) -> None:
    with file.open("a") as stream:
        print("# one more line", file=stream)


def touch_without_effect(file: Path) -> None:
    os.utime(file, ns=(1, 1))


@pytest.mark.parametrize(("change", "is_link"), [(append, False), (touch_without_effect, False), (append, True)])
def test_many_changes_are_one_told_after_the_last(
    watched: Watched, change: Callable[[Path], None], is_link: bool
) -> None:
    file, before = watched.root / "jobs/report.py", watched.calls
    target = watched.write("aside/target.py") if is_link else file
    file.symlink_to(target) if is_link else file.touch()
    changed = [time.monotonic()]
    while changed[-1] - changed[0] < 3 * DEBOUNCE:
        change(target)
        changed.append(time.monotonic())
        # A pause is something to be told; this machine may have made one.
        assert watched.calls == before or max(b - a for a, b in pairwise(changed)) > DEBOUNCE / 2
    assert watched.tells(lambda: None)
    assert time.monotonic() - changed[-1] >= DEBOUNCE / 2


@pytest.mark.parametrize(
    "path",
    [
        "jobs/notes.md",
        "jobs/_shared.py",
        "jobs/.report.py",
        "jobs/__pycache__/report.cpython-311.pyc",
        "jobs/deep/report.py",
        "plugins/billing/readme.md",
        "plugins/billing/report.py",
        "server.log",
    ],
)
def test_what_is_no_job_file_is_not_told(watched: Watched, path: str) -> None:
    assert not watched.tells(lambda: watched.write(path), within=3 * DEBOUNCE)


def test_reading_a_job_file_is_no_change(watched: Watched) -> None:
    watched.rests()
    assert not watched.tells((watched.root / "jobs/zzz_rest.py").read_text, within=3 * DEBOUNCE)


def test_a_folder_that_appears_later_is_watched(tmp_path: Path) -> None:
    project = Watched(tmp_path / "not/there/yet")
    project.watcher.start()
    try:
        assert project.tells(lambda: (project.root / "jobs").mkdir(parents=True))
        assert project.tells(lambda: project.write("jobs/report.py"))
        assert project.tells(lambda: project.write("plugins/billing/jobs/invoice.py"))
        assert project.tells(lambda: project.write("plugins/billing/jobs/invoice.py", "changed"))
    finally:
        project.watcher.stop()


@pytest.mark.parametrize("folder", ["jobs", "plugins/billing/jobs", "plugins/billing", "plugins"])
def test_a_folder_that_goes_and_comes_back_is_watched_again(watched: Watched, folder: str) -> None:
    file = "jobs/report.py" if folder == "jobs" else "plugins/billing/jobs/report.py"
    watched.write(file)
    watched.rests()
    assert watched.tells(lambda: (watched.root / folder).rename(watched.root / "gone"))
    assert watched.tells(lambda: (watched.root / "gone").rename(watched.root / folder))
    assert watched.tells(lambda: watched.write(file, "changed"))
    assert watched.tells(lambda: subprocess.run(["rm", "-r", watched.root / folder], check=True))
    assert watched.tells(lambda: watched.write(file))
    assert watched.tells(lambda: watched.write(file, "changed again"))


def test_a_folder_that_is_replaced_in_one_step_is_watched_again(watched: Watched) -> None:
    watched.write("new/report.py")
    assert watched.tells(lambda: (watched.root / "new").rename(watched.root / "jobs"))
    assert watched.tells(lambda: watched.write("jobs/report.py", "changed"))


def test_a_jobs_folder_behind_a_symbolic_link_is_watched(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "project").mkdir()
    (tmp_path / "project/jobs").symlink_to(tmp_path / "real")
    project = Watched(tmp_path / "project")
    project.watcher.start()
    try:
        assert project.tells(lambda: (tmp_path / "real/report.py").write_text("x"))
    finally:
        project.watcher.stop()


def test_start_and_stop_may_be_called_twice_and_again(watched: Watched) -> None:
    watched.watcher.start()
    assert watched.tells(lambda: watched.write("jobs/report.py"))
    watched.watcher.stop()
    watched.watcher.stop()
    before = watched.calls
    watched.place("jobs/report.py", "unseen")
    watched.watcher.start()
    assert watched.tells(lambda: watched.place("jobs/report.py", "seen"))
    assert watched.calls == before + 1


def test_stopping_leaves_no_thread(watched: Watched) -> None:
    running = threading.active_count()
    watched.watcher.stop()
    assert threading.active_count() < running
    assert not [thread.name for thread in threading.enumerate() if "watcher" in thread.name or "notify" in thread.name]


def test_a_watcher_may_be_stopped_by_what_it_calls(tmp_path: Path) -> None:
    (tmp_path / "jobs").mkdir()
    stopped = threading.Event()

    def stop() -> None:
        watcher.stop()
        stopped.set()

    sources = JobSources(project_root=tmp_path, jobs_dir=Path("jobs"), plugins_dir=Path("plugins"))
    watcher = Watcher(sources, on_change=stop, debounce=timedelta(seconds=DEBOUNCE))
    watcher.start()
    (tmp_path / "jobs/report.py").touch()
    assert stopped.wait(PATIENCE)


def test_a_scan_that_fails_does_not_end_the_watching(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "jobs").mkdir()
    calls, called = [], threading.Event()

    def fail() -> None:
        calls.append(1)
        called.set()
        raise OSError("the scan failed")

    sources = JobSources(project_root=tmp_path, jobs_dir=Path("jobs"), plugins_dir=Path("plugins"))
    watcher = Watcher(sources, on_change=fail, debounce=timedelta(seconds=DEBOUNCE))
    watcher.start()
    try:
        for number in (1, 2):
            called.clear()
            (tmp_path / f"jobs/report{number}.py").touch()
            assert called.wait(PATIENCE)
    finally:
        watcher.stop()
    assert len(calls) == 2
    assert "the scan failed" in caplog.text


def test_a_machine_without_watches_left_is_told_and_nothing_breaks(tmp_path: Path) -> None:
    code = """
import os, resource, sys
from pathlib import Path
from jobserver.scanner import JobSources, Watcher
import jobserver.scanner.folder_events
root = Path(sys.argv[1])
sources = JobSources(project_root=root, jobs_dir=root / "jobs", plugins_dir=root / "plugins")
watcher = Watcher(sources, on_change=lambda: None, on_trouble=print)
highest = os.open("/dev/null", os.O_RDONLY)
resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, highest + 1))
watcher.start()
watcher.start()
watcher.stop()
"""
    ran = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    (told,) = ran.stdout.splitlines()
    assert told.startswith("job files cannot be watched: ")
    assert "raise fs.inotify.max_user_instances or the limit on open files" in told
