"""Files that hang, exit, fork, flood or eat memory while they are imported: each is told, none does harm.

All of them lie in one project, each next to good ones, and are scanned once; the tests look at what came of it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import psutil
import pytest

from jobserver.definition import ScanProblem, ScanResult
from jobserver.scanner import Scanner
from jobserver.scanner.prober import MOST_PARALLEL, probe_environment

pytestmark = pytest.mark.timeout(40)

LIMIT = 2.0
GOOD = "from jobserver.job import Job\nclass Good(Job):\n    schedule = 'manual'\n    def run(self): return 1\n"
# A tree of 255 processes at most, each of which ends by itself: safe should the guard fail.
NODE = 'if [ $1 -gt 0 ]; then for i in 1 2; do SESSION sh -c "$0" "$0" $(($1 - 1)) & done; fi; exec sleep 15'
ORPHANS = NODE.replace("exec sleep 15", "[ $1 -gt 0 ] || exec sleep 15")
TREE = f"import subprocess\nnode = {NODE!r}\nsubprocess.run(['sh', '-c', node, node, '7'])\n"

HOSTILE = {
    "loops": ("while True:\n    pass\n", "was still being imported after 2 s"),
    "sleeps": ("import time\ndef doze():\n    time.sleep(900)\ndoze()\n", "was still being imported after 2 s"),
    "deaf": (
        "import signal, time\nfor number in (2, 10, 15):\n    signal.signal(number, signal.SIG_IGN)\ntime.sleep(900)\n",
        "was still being imported after 2 s",
    ),
    "closes": ("import os, time\nos.closerange(0, 200)\ntime.sleep(900)\n", "was still being imported after 2 s"),
    "exits": ("import sys\nsys.exit(3)\n", "calls sys.exit(3)"),
    "exits_at_once": ("import os\nos._exit(4)\n", "ended the process with exit code 4"),
    "exits_in_good_order": ("import os\nos._exit(0)\n", "ended the process with exit code 0"),
    "interrupts": ("raise KeyboardInterrupt\n", "KeyboardInterrupt"),
    "becomes_another": ("import os\nos.execv('/bin/true', ['true'])\n", "ended the process with exit code 0"),
    "kills_itself": ("import os\nos.kill(os.getpid(), 9)\n", "was killed by SIGKILL"),
    "kills_its_group": ("import os\nos.kill(0, 9)\n", "was killed by SIGKILL"),
    "kills_its_parent": (
        "import os, subprocess, time\nsubprocess.Popen(['sleep', '900'], start_new_session=True)\n"
        "os.kill(os.getppid(), 9)\ntime.sleep(900)\n",
        "stopped the process that watched",
    ),
    "crashes": ("import ctypes\nctypes.string_at(0)\n", "was killed by SIGSEGV"),
    "forks": ("import os\nfor _ in range(3):\n    os.fork()\n", "forks while it is imported"),
    "forks_unseen": (
        "import ctypes\nctypes.CDLL(None).fork()\n" + GOOD,
        "writes into descriptors that are not its own",
    ),
    "multiplies": (TREE.replace("SESSION", ""), "starts more than 64 processes"),
    "multiplies_in_sessions": (TREE.replace("SESSION", "setsid"), "starts more than 64 processes"),
    "multiplies_by_orphans": (
        TREE.replace(NODE, ORPHANS).replace("SESSION", "setsid") + "import time\ntime.sleep(15)\n",
        "starts more than 64 processes",
    ),
    "allocates": ("block = bytearray(4 * 1024**3)\n", "runs out of memory"),
    "allocates_bit_by_bit": ("blocks = []\nwhile True:\n    blocks.append(bytes(2**26))\n", "runs out of memory"),
    "fills_the_disk": (
        "import tempfile\nwith tempfile.TemporaryFile() as file:\n    while True:\n        file.write(bytes(2**22))\n",
        "File too large",
    ),
    "prints": ("print('x' * 100_000_000)\n", "prints more than 1024 KiB"),
    "prints_without_end": ("import os\nwhile True:\n    os.write(2, b'x' * 1000)\n", "prints more than 1024 KiB"),
    "scribbles": (
        "import contextlib, os\nfor number in range(3, 50):\n    with contextlib.suppress(OSError):\n"
        "        os.write(number, b'{}garbage')\n" + GOOD,
        "writes into descriptors that are not its own",
    ),
    "raises": ("raise ValueError('on purpose')\n", "ValueError: on purpose"),
    "raises_what_cannot_be_shown": (
        "class Silent(Exception):\n    def __str__(self):\n        raise RuntimeError\nraise Silent\n",
        "cannot be imported: ",
    ),
    "recurses": ("def down():\n    down()\ndown()\n", "RecursionError"),
    "is_cut_off": ("class Half(Job):\n    def run(", "SyntaxError"),
    "is_nested_too_deep": ("X = " + "(" * 5000 + ")" * 5000, "cannot be imported: "),
    "is_latin": (b"X = '\xe4\xf6'\n", "cannot be imported: SyntaxError"),
    "has_an_unknown_encoding": ("# coding: klingon\nX = 1\n", "cannot be imported: SyntaxError"),
    "is_binary": (bytes(range(256)) * 8, "cannot be imported: SyntaxError"),
    "defines_nothing": ("X = 1\n", "defines no Job"),
}


@dataclass(frozen=True)
class Scanned:
    root: Path
    scanner: Scanner
    result: ScanResult
    seconds: float

    def problem(self, stem: str) -> ScanProblem:
        (problem,) = [each for each in self.result.problems if Path(each.path).stem == stem]
        return problem


@pytest.fixture(scope="module")
def scanned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scanned]:
    root = tmp_path_factory.mktemp("hostile")
    (root / "jobs").mkdir()
    for stem, (text, _) in HOSTILE.items():
        (root / f"jobs/{stem}.py").write_bytes(text if isinstance(text, bytes) else text.encode())
    (root / "jobs/is_a_folder.py").mkdir()
    (root / "jobs/loops_by_link.py").symlink_to(root / "jobs/loops_by_link.py")
    os.mkfifo(root / "jobs/is_a_pipe.py")
    for stem in ("aaa", "mmm", "zzz"):
        (root / f"jobs/{stem}.py").write_text(GOOD)
    path, modules = list(sys.path), set(sys.modules)
    started = time.monotonic()
    one = scanner(root)
    result = one.scan()
    yield Scanned(root, one, result, time.monotonic() - started)
    sys.path[:] = path
    for name in {name for name in sys.modules if name.startswith("jobserver_loaded")} - modules:
        del sys.modules[name]


def scanner(root: Path, *, limit: float = LIMIT) -> Scanner:
    return Scanner(
        project_root=root,
        jobs_dir=Path("jobs"),
        plugins_dir=Path("plugins"),
        probe_timeout=timedelta(seconds=limit),
    )


@pytest.mark.parametrize("stem", HOSTILE)
def test_what_the_file_did_is_told(scanned: Scanned, stem: str) -> None:
    problem = scanned.problem(stem)
    assert HOSTILE[stem][1] in problem.message
    assert problem.message.startswith(f"{scanned.root}/jobs/{stem}.py: ")
    assert problem.job_name == f"api:{stem}"
    assert len(problem.traceback) < 10_000


def test_the_good_files_are_in_force(scanned: Scanned) -> None:
    assert list(scanned.result.definitions) == ["api:aaa", "api:mmm", "api:zzz"]
    assert {Path(problem.path).stem for problem in scanned.result.problems} == {
        *HOSTILE,
        "is_a_folder",
        "is_a_pipe",
        "loops_by_link",
    }


def test_each_hanging_file_costs_its_limit_at_most(scanned: Scanned) -> None:
    hanging = sum("was still being imported" in text for _, text in HOSTILE.values())
    assert scanned.seconds < hanging * (LIMIT + 0.5) + 10


@pytest.mark.parametrize(("stem", "line"), [("loops", "line "), ("sleeps", "line 3 in doze")])
def test_a_file_that_hangs_is_told_the_line(scanned: Scanned, stem: str, line: str) -> None:
    trace = scanned.problem(stem).traceback
    assert f'{stem}.py", {line}' in trace
    assert "jobserver/scanner" not in trace


def test_a_crash_and_a_fork_are_told_the_line(scanned: Scanned) -> None:
    assert 'crashes.py", line 2 in <module>' in scanned.problem("crashes").traceback
    assert 'forks.py", line 3, in <module>\n    os.fork()' in scanned.problem("forks").traceback


def test_nothing_of_it_is_left_running(scanned: Scanned) -> None:
    wait_for(lambda: not survivors(scanned.root))


def wait_for(state: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 15
    while not state():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def survivors(root: Path) -> list[psutil.Process]:
    """Processes that a job file of this project started, by what only they have in their environment or arguments."""
    found = []
    for process in psutil.process_iter():
        try:
            of_ours = str(root) in process.environ().get("PYTHONPATH", "")
        except psutil.Error:
            continue
        if of_ours and process.status() != psutil.STATUS_ZOMBIE:
            found.append(process)
    return found


def test_a_second_scan_tries_none_of_them_again(scanned: Scanned) -> None:
    started = time.monotonic()
    assert scanned.scanner.scan() == scanned.result
    assert time.monotonic() - started < LIMIT


def test_files_that_hang_are_tried_side_by_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "jobs").mkdir()
    for number in range(MOST_PARALLEL):
        (tmp_path / f"jobs/hang{number}.py").write_text("import time\ntime.sleep(900)\n")
    started = time.monotonic()
    assert len(scanner(tmp_path, limit=1.0).scan().problems) == MOST_PARALLEL
    assert time.monotonic() - started < MOST_PARALLEL * 1.0


def test_a_probe_is_not_given_the_way_to_the_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOBSERVER_MONGODB__URI", "mongodb://user:secret@db")
    monkeypatch.setenv("MONGO_URL", "secret")
    monkeypatch.setenv("SHOP_DB", "mongodb+srv://user:secret@db")
    monkeypatch.setenv("SHOP_COLOUR", "blue")
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs/tells.py").write_text("import os\nraise ValueError(sorted(os.environ.items()))\n")
    (problem,) = scanner(tmp_path).scan().problems
    assert "('SHOP_COLOUR', 'blue')" in problem.traceback
    assert "secret" not in problem.traceback
    kept = probe_environment({"JOBSERVER_MONGODB__DATABASE": "x", "HOME": "/home"})
    assert set(kept) == {"HOME", "PYTHONPATH", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"}


def test_a_probe_holds_nothing_open_but_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "jobs").mkdir()
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "jobs/tells.py").write_text("import os\nraise ValueError(os.listdir('/proc/self/fd'))\n")
    with (tmp_path / "secret").open() as held:
        os.set_inheritable(held.fileno(), True)
        (problem,) = scanner(tmp_path).scan().problems
    assert "['0', '1', '2', '3', '4']" in problem.message  # the last is the listing itself


def test_a_probe_that_is_killed_takes_its_trials_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs/hangs.py").write_text(
        f"open({str(tmp_path / 'begun')!r}, 'w').close()\nimport time\ntime.sleep(900)\n"
    )
    with ThreadPoolExecutor(1) as thread:
        scan = thread.submit(scanner(tmp_path, limit=60.0).scan)
        wait_for((tmp_path / "begun").exists)
        probe = next(
            process for process in psutil.Process().children() if "jobserver.scanner.probe" in process.cmdline()
        )
        os.killpg(probe.pid, signal.SIGKILL)
        (problem,) = scan.result().problems
    assert "hangs.py: could not be tried: the probe ended with -9" in problem.message
    wait_for(lambda: not survivors(tmp_path))


def test_a_server_that_is_killed_leaves_no_trial_behind(tmp_path: Path) -> None:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs/hangs.py").write_text(f"open({str(tmp_path / 'begun')!r}, 'w').close()\nwhile True:\n    pass\n")
    code = (
        "import sys; from pathlib import Path; from datetime import timedelta; from jobserver.scanner import Scanner\n"
        "root = Path(sys.argv[1])\n"
        "Scanner(project_root=root, jobs_dir=root / 'jobs', plugins_dir=root / 'plugins',"
        " probe_timeout=timedelta(seconds=2)).scan()"
    )
    server = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)])
    wait_for((tmp_path / "begun").exists)
    server.kill()
    server.wait()
    wait_for(lambda: not survivors(tmp_path))
