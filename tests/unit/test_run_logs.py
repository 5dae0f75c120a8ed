"""From what a run says to the bucket: caps, the local file, shipping; on real files."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog

from jobserver.console.records import RecordWriter, recording
from jobserver.execution.run_log import RunLog, current_run, record
from jobserver.runlogs import Caps
from jobserver.runlogs.bucket import BucketError
from jobserver.runlogs.folder import FolderBucket
from jobserver.runlogs.spool import SpoolFolder, file_name
from tests.run_logs import RUN, Speaking, a_bucket, has_ended, keeping, kept, messages, until

pytestmark = pytest.mark.timeout(30)


@contextmanager
def only_our_handlers() -> Iterator[None]:
    """Pytest's own stand for nothing that a server meets: they format everything."""
    root = logging.getLogger()
    others, root.handlers[:] = root.handlers[:], []
    try:
        yield
    finally:
        root.handlers[:] = others


@contextmanager
def speaking(run: Speaking) -> Iterator[None]:
    """Code of this run."""
    token = current_run.set(run)
    try:
        yield
    finally:
        current_run.reset(token)


@contextmanager
def server_log(path: Path) -> Iterator[None]:
    """As `jobserver start` records; into a file."""
    with path.open("w") as stream, recording(RecordWriter(stream, line_of=lambda each: json.dumps(each, default=str))):
        yield


def said_by_server(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_all_ways_to_log_come_into_one_log_in_their_order_and_once(tmp_path: Path) -> None:
    with server_log(tmp_path / "server.log"), keeping(tmp_path) as keeper:
        run = Speaking(keeper)
        with speaking(run):
            RunLog(run).info("ours", {"rows": 1, "job": "mine"})
            logging.getLogger("lib").warning("plain %d", 2, extra={"shelf": 3})
            structlog.get_logger("their").error("structured", rows=4)
            RunLog(run).debug("detail")
        run.sink.end()
    found = kept(a_bucket(tmp_path))
    assert [(each["level"], each["message"], each.get("logger"), each.get("fields")) for each in found] == [
        ("info", "ours", None, {"rows": 1, "job": "mine"}),
        ("warning", "plain 2", "lib", {"shelf": 3}),
        ("error", "structured", "their", {"rows": 4}),
        ("debug", "detail", None, None),
    ]
    shown = said_by_server(tmp_path / "server.log")
    assert [each["event"] for each in shown] == ["ours", "plain 2", "structured"]  # debug records only when asked for
    assert all((each["run"], each["job"]) == (RUN, "api:report") for each in shown)


def test_an_exception_is_kept_with_its_traceback_whoever_logs_it(tmp_path: Path) -> None:
    with server_log(tmp_path / "server.log"), keeping(tmp_path) as keeper:
        run = Speaking(keeper)
        with speaking(run):
            try:
                raise ValueError("lost")
            except ValueError as error:
                logging.getLogger("lib").exception("plain")
                structlog.get_logger().exception("structured")
                RunLog(run).error("ours", {"exc_info": error})
    found = kept(a_bucket(tmp_path))
    assert [each["message"] for each in found] == ["plain", "structured", "ours"]
    assert all(each["exception"].endswith("ValueError: lost\n") for each in found)
    assert all("exc_info" not in each.get("fields", {}) for each in found)
    shown = said_by_server(tmp_path / "server.log")
    assert all(each["exception"].endswith("ValueError: lost\n") for each in shown)


def test_plain_logging_is_kept_without_the_console_of_a_server(tmp_path: Path) -> None:
    with keeping(tmp_path) as keeper:
        with speaking(Speaking(keeper)):
            logging.getLogger("lib").warning("inside")
        logging.getLogger("lib").warning("outside")
    assert messages(a_bucket(tmp_path)) == ["inside"]


def test_a_record_from_another_process_keeps_its_own_time(tmp_path: Path) -> None:
    with keeping(tmp_path) as keeper:
        record(Speaking(keeper), "odd level", "crossed", {"stream": "stdout"}, at=datetime(2026, 1, 2, tzinfo=UTC))
    (found,) = kept(a_bucket(tmp_path))
    assert (found["time"], found["level"], found["fields"]) == (
        "2026-01-02T00:00:00.000Z",
        "info",
        {"stream": "stdout"},
    )


def test_a_flood_is_cut_off_for_the_log_and_for_the_server_and_counted(tmp_path: Path) -> None:
    now = 100.0
    with (
        server_log(tmp_path / "server.log"),
        keeping(tmp_path, caps=Caps(records_per_second=5), monotonic=lambda: now) as keeper,
    ):
        run = Speaking(keeper)
        with speaking(run):
            for number in range(4):
                RunLog(run).info(f"ours {number}")
                logging.getLogger("lib").warning("plain %d", number)
                structlog.get_logger().info("structured")
            now = 101.5
            logging.getLogger("lib").warning("later")
    found = messages(a_bucket(tmp_path))
    dropped = "7 records dropped: more than 5 or than 1 MiB in a second"
    assert found == ["ours 0", "plain 0", "structured", "ours 1", "plain 1", dropped, "later"]
    shown = [each["event"] for each in said_by_server(tmp_path / "server.log")]
    assert shown == ["ours 0", "plain 0", "structured", "ours 1", "plain 1", "later"]


def test_what_is_dropped_is_never_formatted(tmp_path: Path) -> None:
    class Costly:
        def __str__(self) -> str:
            raise AssertionError("formatted")

    caps = Caps(records_per_second=1)
    with (
        only_our_handlers(),
        keeping(tmp_path, caps=caps, monotonic=lambda: 1.0) as keeper,
        speaking(Speaking(keeper)),
    ):
        logging.getLogger("lib").warning("first")
        logging.getLogger("lib").warning("%s", Costly())
    assert messages(a_bucket(tmp_path))[0] == "first"
    assert len(messages(a_bucket(tmp_path))) == 2


def test_a_line_that_is_too_long_is_cut_for_the_server_too(tmp_path: Path) -> None:
    with server_log(tmp_path / "server.log"), keeping(tmp_path, caps=Caps(line=1024)) as keeper:
        run = Speaking(keeper)
        with speaking(run):
            RunLog(run).info("a" * 100_000)
            logging.getLogger("lib").warning("b" * 100_000)
            structlog.get_logger().warning("c" * 100_000)
    assert all(len(message) <= 1024 for message in messages(a_bucket(tmp_path)))
    shown = said_by_server(tmp_path / "server.log")
    assert [each["event"][0] for each in shown] == ["a", "b", "c"]
    assert all(len(each["event"]) <= 1024 for each in shown)


def test_many_threads_of_one_run_share_one_log_and_lose_nothing(tmp_path: Path) -> None:
    with keeping(tmp_path, caps=Caps(records_per_second=100_000)) as keeper:
        run = Speaking(keeper)

        def speak(thread: int) -> None:
            for number in range(200):
                RunLog(run).info("said", {"thread": thread, "number": number})

        threads = [threading.Thread(target=speak, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    fields = [each["fields"] for each in kept(a_bucket(tmp_path))]
    assert len(fields) == 1_600
    for thread in range(8):
        assert [each["number"] for each in fields if each["thread"] == thread] == list(range(200))


def test_a_run_that_logs_nothing_leaves_nothing_anywhere(tmp_path: Path) -> None:
    with keeping(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_log_is_in_the_bucket_while_its_run_is_under_way_and_gone_from_here_after_it(tmp_path: Path) -> None:
    bucket = a_bucket(tmp_path)
    with keeping(tmp_path) as keeper:
        run = Speaking(keeper)
        RunLog(run).info("one")
        until(lambda: messages(bucket) == ["one"])
        assert not has_ended(bucket)
        RunLog(run).info("two")
        until(lambda: messages(bucket) == ["one", "two"])
        assert list((tmp_path / "spool").rglob("*.jsonl"))
        run.sink.end()
        until(lambda: has_ended(bucket))
        until(lambda: not list((tmp_path / "spool").rglob("*.jsonl")))
    assert not list((tmp_path / "spool").iterdir())


def test_whoever_speaks_after_the_end_is_heard_by_the_server_alone(tmp_path: Path) -> None:
    with server_log(tmp_path / "server.log"), keeping(tmp_path) as keeper:
        run = Speaking(keeper)
        RunLog(run).info("before")
        run.sink.end()
        RunLog(run).info("after")
    assert messages(a_bucket(tmp_path)) == ["before"]
    assert [each["event"] for each in said_by_server(tmp_path / "server.log")] == ["before", "after"]


class Away(FolderBucket):
    """A bucket that cannot be reached for a while."""

    away = True

    def append(self, pieces: Any) -> None:
        if self.away:
            raise BucketError("away")
        super().append(pieces)


def test_a_bucket_that_is_away_costs_time_and_no_record(tmp_path: Path) -> None:
    bucket = Away(tmp_path / "bucket", retention=timedelta(days=1))
    with server_log(tmp_path / "server.log"), keeping(tmp_path, bucket=bucket) as keeper:
        RunLog(run := Speaking(keeper)).info("one")
        run.sink.end()
        RunLog(Speaking(keeper, run_id="other:1")).info("still there")
        until(lambda: "run logs not shipped" in (tmp_path / "server.log").read_text())
        bucket.away = False
        until(lambda: has_ended(bucket))
        until(lambda: messages(bucket, "other:1"))
    told = [each["event"] for each in said_by_server(tmp_path / "server.log") if each["logger"] == "jobserver"]
    assert told == ["run logs not shipped", "run logs shipped again"]
    assert messages(bucket) == ["one"]


def test_what_a_bucket_did_not_take_before_the_end_is_shipped_by_the_next_start(tmp_path: Path) -> None:
    bucket = Away(tmp_path / "bucket", retention=timedelta(days=1))
    with keeping(tmp_path, bucket=bucket) as keeper:
        RunLog(Speaking(keeper)).info("one")
    assert list((tmp_path / "spool").rglob("*.jsonl"))
    bucket.away = False
    with keeping(tmp_path, bucket=bucket, server="server:2:def"):
        until(lambda: has_ended(bucket))
        until(lambda: not list((tmp_path / "spool").iterdir()))
    assert messages(bucket) == ["one"]


def test_the_folder_of_a_server_that_lives_is_left_alone(tmp_path: Path) -> None:
    bucket = Away(tmp_path / "bucket", retention=timedelta(days=1))
    with keeping(tmp_path, bucket=bucket) as keeper:
        RunLog(Speaking(keeper)).info("one")
        (path,) = until(lambda: list((tmp_path / "spool").rglob("*.jsonl")))
        with keeping(tmp_path, bucket=a_bucket(tmp_path), server="server:2:def") as other:
            RunLog(second := Speaking(other, run_id="other:1")).info("two")
            second.sink.end()
            until(lambda: has_ended(bucket, "other:1"))
        assert path.exists()
        assert bucket.read(RUN, 0, 100) is None


def test_half_a_line_of_a_process_that_died_is_left_out(tmp_path: Path) -> None:
    folder = SpoolFolder(tmp_path / "spool" / "dead")
    folder.own()
    path = tmp_path / "spool" / "dead" / file_name(RUN)
    header = json.dumps({"run": RUN, "job": "api:x", "jobId": "6740", "server": "dead"})
    path.write_text(f'{header}\n{{"message":"whole"}}\n{{"mess')
    (tmp_path / "spool" / "dead" / "empty.jsonl").touch()
    folder.close()
    with keeping(tmp_path):
        until(lambda: has_ended(a_bucket(tmp_path)))
        until(lambda: not list((tmp_path / "spool").iterdir()))
    assert messages(a_bucket(tmp_path)) == ["whole"]


def test_a_folder_that_cannot_be_written_costs_records_which_are_counted_once_it_can(tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("in the way")
    with server_log(tmp_path / "server.log"), keeping(tmp_path) as keeper:
        run = Speaking(keeper)
        RunLog(run).info("one")
        until(lambda: "run log not written" in (tmp_path / "server.log").read_text())
        RunLog(run).info("two")
        until(lambda: keeper.open(run)._log.lost == 2)
        (tmp_path / "spool").unlink()
        RunLog(run).info("three")
        until(lambda: messages(a_bucket(tmp_path)))
        RunLog(run).info("four")
    assert messages(a_bucket(tmp_path)) == [
        "2 records dropped: the disk was full or could not be written",
        "three",
        "four",
    ]
    told = [each["event"] for each in said_by_server(tmp_path / "server.log")]
    assert told.count("run log not written") == 1


HALF_WRITTEN = """
import resource, sys
from pathlib import Path
from jobserver.runlogs import RunFacts
from jobserver.runlogs.spool import SpoolFolder, SpooledLog
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
log = SpooledLog(SpoolFolder(Path({where!r}) / "dead"), RunFacts(run="a:1", job="api:x", job_id="a", server="dead"))
log.write(b"kept\\n")
try:
    log.write(b"lost\\n" * 10_000)
except OSError:
    print(log.path.stat().st_size == len(log.header) + log.written == len(log.header) + 5)
"""


def test_a_spool_that_somebody_removes_costs_what_was_in_it_and_is_made_again(tmp_path: Path) -> None:
    bucket = a_bucket(tmp_path)
    with keeping(tmp_path, bucket=bucket) as keeper:
        begun = Speaking(keeper)
        record(begun, "info", "before")
        until(lambda: list((tmp_path / "spool").rglob("*.jsonl")))
        shutil.rmtree(tmp_path / "spool")
        record(begun, "info", "in a file that is gone")
        after = Speaking(keeper, run_id="7:1")
        record(after, "info", "after")
        after.sink.end()
        until(lambda: has_ended(bucket, "7:1"))
        assert messages(bucket, "7:1") == ["after"]
        assert len(list((tmp_path / "spool").rglob(".lock"))) == 1
    assert not list((tmp_path / "spool").iterdir())


def test_what_does_not_fit_on_the_disk_leaves_nothing_of_itself_there(tmp_path: Path) -> None:
    program = HALF_WRITTEN.format(where=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)
    assert done.stdout == "True\n", done.stderr


FULL_DISK = """
import resource, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from jobserver.execution.run_log import RunLog
from tests.run_logs import Speaking, keeping, until, a_bucket, messages
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
where = Path({where!r})
with keeping(where) as keeper:
    run = Speaking(keeper)
    for number in range(100):
        RunLog(run).info("x" * 990, {{"number": number}})
        if number % 10 == 0:
            until(lambda: keeper._writer._waiting == 0)
    RunLog(Speaking(keeper, run_id="small:1")).info("fits")
print("went on")
"""


def test_a_disk_that_is_full_never_hurts_the_run_and_leaves_whole_lines(tmp_path: Path) -> None:
    program = FULL_DISK.format(root=str(Path(__file__).parents[2]), where=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)
    assert done.stdout.splitlines()[-1:] == ["went on"], done.stderr
    numbers = [each["fields"]["number"] for each in kept(a_bucket(tmp_path)) if "fields" in each]
    assert numbers == sorted(numbers)
    assert 5 < len(numbers) < 25
    assert messages(a_bucket(tmp_path), "small:1") == ["fits"]


def test_two_ids_never_share_a_file_however_long_they_are() -> None:
    names = {file_name(id_) for id_ in ("a:1", "a.1", "a/1", "x" * 5_000 + "1", "x" * 5_000 + "2", "\udc80:1")}
    assert len(names) == 6
    assert all(len(name) <= 255 and "/" not in name for name in names)


def test_a_folder_removes_what_is_past_its_retention(tmp_path: Path) -> None:
    bucket = FolderBucket(tmp_path / "bucket", retention=timedelta(0))
    with keeping(tmp_path, bucket=bucket) as keeper:
        RunLog(run := Speaking(keeper)).info("old")
        run.sink.end()
        until(lambda: has_ended(bucket))
    (tmp_path / "bucket" / "notes.txt").touch()
    bucket.sweep()
    assert [path.name for path in (tmp_path / "bucket").iterdir()] == ["notes.txt"]
