"""The embedded MongoDB: shared while anybody uses it, gone when nobody does, its data found again."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from pymongo import MongoClient, WriteConcern

from jobserver.embedded import EmbeddedMongo, find_mongod, running_uri
from jobserver.embedded.guard import GUARD_LOCK, MONGOD_LOCK, PORT, START_LOCK, STATE, STOP_GRACE, open_lock
from jobserver.embedded.launch import find_running
from jobserver.embedded.locks import is_held
from jobserver.embedded.state import read_state
from jobserver.embedded.waiting import Deadline
from jobserver.errors import EmbeddedMongoError

pytestmark = pytest.mark.timeout(90)

CACHE_GB = 0.25

USER = f"""
import sys
from pathlib import Path
from jobserver.embedded import EmbeddedMongo

with EmbeddedMongo.start(Path(sys.argv[1]), cache_gb={CACHE_GB}) as mongo:
    print(mongo.pid, mongo.uri, flush=True)
    sys.stdin.read()
"""


class User:
    """Another process that uses the mongod of a directory until it is told to leave, or killed."""

    def __init__(self, directory: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", USER, str(directory)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def joined(self) -> tuple[int, str]:
        """pid and URI of its mongod, as soon as it has one."""
        assert self.process.stdout
        pid, uri = self.process.stdout.readline().split()
        return int(pid), uri

    def told_to_leave(self) -> None:
        """From here on it ends as a program ends."""
        assert self.process.stdin
        self.process.stdin.close()

    def leave(self) -> int:
        """End as a program ends; returns the exit code."""
        self.told_to_leave()
        assert self.process.stdout
        self.process.stdout.close()
        return self.process.wait()

    def kill(self) -> None:
        """End without a chance to tidy up."""
        self.process.kill()
        self.leave()


Join = Callable[[], User]


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """A directory of its own, and no mongod left in it."""
    directory = tmp_path / ".jobserver"
    yield directory
    if directory.exists():
        eventually(lambda: not is_held(directory, MONGOD_LOCK))


@pytest.fixture
def join(directory: Path) -> Iterator[Join]:
    """Starts user processes of `directory`; those still there at the end are killed."""
    users: list[User] = []

    def join() -> User:
        users.append(User(directory))
        return users[-1]

    yield join
    for user in users:
        user.kill()


def start(directory: Path) -> EmbeddedMongo:
    return EmbeddedMongo.start(directory, cache_gb=CACHE_GB)


def eventually(condition: Callable[[], bool], *, seconds: float = 25.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not become true"
        time.sleep(0.02)


def runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """Signals other than SIGKILL reach the process only afterwards."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        if runs(pid):
            os.kill(pid, signal.SIGCONT)


@contextmanager
def held(directory: Path, name: str) -> Iterator[None]:
    lock = open_lock(directory, name)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def guard_of(directory: Path) -> int:
    state = read_state(directory)
    assert state
    return state.guard_pid


def remember(uri: str, word: str) -> None:
    with MongoClient[dict[str, Any]](uri) as client:
        client.memory.words.with_options(write_concern=WriteConcern("majority", j=True)).insert_one({"_id": word})


def remembered(uri: str) -> set[str]:
    with MongoClient[dict[str, Any]](uri) as client:
        return {str(document["_id"]) for document in client.memory.words.find()}


def test_two_processes_share_one_mongod_and_it_ends_with_the_last(join: Join) -> None:
    first, second = join(), join()
    pid, uri = first.joined()
    assert second.joined() == (pid, uri)
    assert first.leave() == 0
    remember(uri, "still here")
    assert second.leave() == 0
    assert not runs(pid)


def test_closing_waits_until_the_last_mongod_has_ended_and_can_be_repeated(directory: Path) -> None:
    mongo = start(directory)
    mongo.close()
    assert not runs(mongo.pid)
    mongo.close()


def test_closing_without_waiting_returns_at_once_and_mongod_still_ends(directory: Path) -> None:
    mongo = start(directory)
    mongo.close(wait=False)
    eventually(lambda: not runs(mongo.pid))


def test_several_shares_of_one_process_count_one_by_one(directory: Path) -> None:
    with start(directory) as outer:
        with start(directory) as inner:
            assert inner.pid == outer.pid
        assert runs(outer.pid)
    assert not runs(outer.pid)


def test_five_processes_that_start_at_once_get_one_mongod(join: Join) -> None:
    users = [join() for _ in range(5)]
    assert len({user.joined() for user in users}) == 1


def test_processes_that_leave_at_once_leave_no_mongod_behind(join: Join) -> None:
    users = [join() for _ in range(3)]
    (pid, _) = {user.joined() for user in users}.pop()
    for user in users:
        user.told_to_leave()
    assert [user.leave() for user in users] == [0, 0, 0]
    assert not runs(pid)


def test_killing_the_only_user_ends_mongod_and_the_next_start_finds_its_data_at_the_same_uri(
    directory: Path, join: Join
) -> None:
    user = join()
    pid, uri = user.joined()
    remember(uri, "kept")
    user.kill()
    eventually(lambda: not runs(pid))
    with start(directory) as mongo:
        assert mongo.uri == uri
        assert remembered(mongo.uri) == {"kept"}


def test_a_start_right_after_the_last_user_was_killed_gets_a_mongod_that_lasts(directory: Path, join: Join) -> None:
    user = join()
    user.joined()
    user.kill()
    with start(directory) as mongo:
        remember(mongo.uri, "lasts")
        assert running_uri(directory) == mongo.uri


def test_a_starter_killed_in_the_middle_leaves_nothing_that_hinders_the_next(directory: Path, join: Join) -> None:
    starter = join()
    eventually((directory / STATE).exists)
    starter.kill()
    with start(directory) as mongo:
        remember(mongo.uri, "fine")


def test_a_killed_mongod_is_replaced_by_the_next_start_with_its_data_at_the_same_uri(
    directory: Path, join: Join
) -> None:
    pid, uri = join().joined()
    remember(uri, "journalled")
    os.kill(pid, signal.SIGKILL)
    with start(directory) as mongo:
        assert mongo.pid != pid
        assert mongo.uri == uri
        assert remembered(uri) == {"journalled"}


def test_the_guard_ends_with_its_mongod_and_takes_the_state_file_along(directory: Path) -> None:
    mongo = start(directory)
    guard = guard_of(directory)
    os.kill(mongo.pid, signal.SIGKILL)
    eventually(lambda: not runs(guard))
    assert not (directory / STATE).exists()
    mongo.close()


def test_mongod_ends_with_a_killed_guard_and_a_start_waits_for_that(directory: Path, join: Join) -> None:
    pid, uri = join().joined()
    remember(uri, "kept")
    with frozen(pid):
        os.kill(guard_of(directory), signal.SIGKILL)
        late = join()
        eventually(lambda: is_held(directory, START_LOCK))
    late_pid, late_uri = late.joined()
    assert late_pid != pid
    assert not runs(pid)
    assert remembered(late_uri) == {"kept"}


def test_a_mongod_without_a_guard_is_not_joined_though_it_answers(directory: Path, tmp_path: Path) -> None:
    with start(directory):
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        shutil.copy(directory / STATE, elsewhere)
        with held(elsewhere, MONGOD_LOCK):
            with pytest.raises(EmbeddedMongoError, match="gave up waiting"):
                find_running(Deadline.after(0.2, elsewhere))
            with held(elsewhere, GUARD_LOCK):
                assert find_running(Deadline.after(5, elsewhere)) == read_state(directory)


def test_a_mongod_that_does_not_stop_is_no_longer_told_of_and_killed_in_the_end(directory: Path, join: Join) -> None:
    user = join()
    pid, _ = user.joined()
    with frozen(pid):
        user.kill()
        eventually(lambda: not (directory / STATE).exists(), seconds=STOP_GRACE / 2)
        assert runs(pid)
        eventually(lambda: not runs(pid), seconds=STOP_GRACE + 10)


def test_a_port_that_another_mongod_took_meanwhile_is_left_to_it_and_the_data_moves_along(
    directory: Path, tmp_path: Path
) -> None:
    with start(directory) as mongo:
        remember(mongo.uri, "moved")
        first_uri = mongo.uri
    other_directory = tmp_path / "other"
    other_directory.mkdir()
    shutil.copy(directory / PORT, other_directory)
    with start(other_directory) as other, start(directory) as mongo:
        assert other.uri == first_uri != mongo.uri
        assert remembered(other.uri) == set()
        assert remembered(mongo.uri) == {"moved"}
        moved_to = mongo.uri
    with start(directory) as mongo:
        assert mongo.uri == moved_to


def test_mongod_is_out_of_reach_of_the_terminal(directory: Path) -> None:
    with start(directory) as mongo:
        sessions = {os.getsid(pid) for pid in (mongo.pid, guard_of(directory))}
        assert os.getsid(0) not in sessions


def test_change_streams_and_transactions_work(directory: Path) -> None:
    with start(directory) as mongo, MongoClient[dict[str, Any]](mongo.uri) as client:
        words = client.memory.words
        words.insert_one({"_id": "before"})
        with words.watch() as changes:
            with client.start_session() as session, session.start_transaction():
                words.insert_one({"_id": "inside"}, session=session)
            assert next(changes)["documentKey"] == {"_id": "inside"}


def test_the_running_uri_is_told_only_while_it_runs(directory: Path) -> None:
    assert running_uri(directory) is None
    with start(directory) as mongo:
        assert running_uri(directory) == mongo.uri
    assert running_uri(directory) is None


def test_asking_for_the_running_uri_does_not_keep_mongod_alive(directory: Path, join: Join) -> None:
    user = join()
    pid, uri = user.joined()
    assert running_uri(directory) == uri
    user.kill()
    eventually(lambda: not runs(pid))
    assert running_uri(directory) is None


def test_a_state_file_left_over_does_not_pass_a_stranger_on_the_port_for_ours(directory: Path, tmp_path: Path) -> None:
    with start(directory) as mongo:
        left_over = (directory / STATE).read_text().replace(f'"pid": {mongo.pid}', '"pid": 1')
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        (elsewhere / STATE).write_text(left_over)
        assert running_uri(elsewhere) is None


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": 1}', "null"])
def test_an_unreadable_state_file_means_that_nothing_runs(tmp_path: Path, content: str) -> None:
    (tmp_path / STATE).write_text(content)
    assert running_uri(tmp_path) is None


def test_a_mongod_that_refuses_its_arguments_is_reported_with_its_own_words(directory: Path) -> None:
    with pytest.raises(EmbeddedMongoError, match="unrecognised option '--nonsense'"):
        EmbeddedMongo.start(directory, extra_args=("--nonsense",))
    with start(directory) as mongo:
        assert running_uri(directory) == mongo.uri


def test_a_directory_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EmbeddedMongoError, match=str(tmp_path / "file")):
        start(tmp_path / "file")


def test_a_missing_mongod_names_both_ways_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(EmbeddedMongoError, match=r"pip install 'jobserver\[embedded\]'.*mongodb\.uri"):
        find_mongod()


def test_a_mongod_on_the_path_is_preferred(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    on_path = tmp_path / "mongod"
    on_path.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_mongod() == on_path


def test_the_mongod_of_the_wheel_is_made_executable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    in_wheel = tmp_path / "site" / "fiftyone" / "db" / "bin" / "mongod"
    in_wheel.parent.mkdir(parents=True)
    in_wheel.touch(mode=0o644)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "path", [str(tmp_path / "site")])
    assert find_mongod() == in_wheel
    assert os.access(in_wheel, os.X_OK)
