"""The local files of one server's run logs, and those that a dead one has left.

`<spool>/<server>/<run>.jsonl` begins with a line that says whose log it is; the log follows. A folder belongs to the
process that holds the lock on its file `.lock`: the kernel lets go of it however the process ends, so a folder whose
lock is free was left behind. Ids of servers would not do: a server that was cut off for a while gets a new one.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

from jobserver.runlogs.bucket import RunFacts

SUFFIX = ".jsonl"
LOCK = ".lock"
LONGEST_NAME = 200  # bytes; file systems take 255
PATIENCE = 50  # tries


class SpooledLog:
    """One run's log on this machine; positions count from the beginning of the log, the first line is not part of it.

    `written`, `lost` and `ended` are the writer's to change, `shipped` the shipper's; `lost` are records that could not
    be written.
    """

    __slots__ = ("ended", "facts", "folder", "header", "lost", "path", "shipped", "written")

    def __init__(self, folder: SpoolFolder, facts: RunFacts) -> None:
        self.folder, self.facts, self.path = folder, facts, folder.path / file_name(facts.run)
        self.header = _header(facts)
        self.written = self.shipped = self.lost = 0
        self.ended = False

    def write(self, data: bytes) -> None:
        """Add these lines, all of them or none. Raises OSError."""
        self.folder.own()
        begun = self.written > 0
        # One that was removed behind our back must not come back with a hole in it.
        file = os.open(self.path, os.O_WRONLY | os.O_CLOEXEC | (0 if begun else os.O_CREAT), 0o600)
        try:
            position = len(self.header) + self.written if begun else 0
            _write_all(file, data if begun else self.header + data, position)
        finally:
            os.close(file)
        self.written += len(data)

    def read(self, start: int, at_most: int) -> bytes:
        """What is there from this byte of the log on. Raises OSError."""
        with self.path.open("rb") as file:
            file.seek(len(self.header) + start)
            return file.read(at_most)

    def remove(self) -> None:
        """It is in the bucket."""
        with suppress(OSError):
            self.path.unlink()


class SpoolFolder:
    """The logs of one server on this machine."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: int | None = None

    def own(self) -> None:
        """Make it this process's, waiting for one that just tidies it up. Raises OSError where that cannot be."""
        if self._lock is not None and not _is_still(self.path / LOCK, self._lock):
            os.close(self._lock)  # the folder was removed behind our back; the logs to come need one
            self._lock = None
        tries = 0
        while self._lock is None:
            try:
                self._lock = _locked(self.path)
            except BlockingIOError:
                tries += 1
                if tries == PATIENCE:
                    raise
                time.sleep(0.02)

    def found(self) -> Iterator[SpooledLog]:
        """The logs that are there: whoever wrote them has ended, and so have their runs."""
        for path in sorted(self.path.glob(f"*{SUFFIX}")):
            with suppress(OSError, ValueError, KeyError, TypeError):
                if path.stat().st_size == 0:
                    path.unlink()  # its writer died between two calls
                else:
                    yield self._left_behind(path)

    def close(self) -> None:
        """Let go of it; remove it if nothing is left in it."""
        if self._lock is None:
            return
        with suppress(OSError):
            if all(path.name == LOCK for path in self.path.iterdir()):
                (self.path / LOCK).unlink()
                self.path.rmdir()
        os.close(self._lock)
        self._lock = None

    @classmethod
    def taken_over(cls, path: Path) -> SpoolFolder:
        """A folder that was left behind. Raises OSError where its owner lives, or another process was faster."""
        folder = cls(path)
        folder._lock = _locked(path)
        return folder

    def _left_behind(self, path: Path) -> SpooledLog:
        with path.open("rb") as file:
            header = file.readline()
            told = json.loads(header)
            facts = RunFacts(run=told["run"], job=told["job"], job_id=told["jobId"], server=told["server"])
            log = SpooledLog(self, facts)
            log.path, log.header, log.ended = path, header, True
            log.written = max(0, _whole_lines(file) - len(header))
        return log


def left_folders(spool: Path) -> Iterator[SpoolFolder]:
    """The folders whose owners have ended, taken over one by one."""
    for path in sorted(spool.iterdir()) if spool.is_dir() else ():
        if path.is_dir():
            with suppress(OSError):
                yield SpoolFolder.taken_over(path)


def file_name(id_: str) -> str:
    """A name for the file of any id: readable where it is short, and never one for two ids."""
    name = quote(id_, safe="", errors="backslashreplace").replace(".", "%2E")
    if len(name) > LONGEST_NAME:
        digest = hashlib.sha256(id_.encode("utf-8", "backslashreplace")).hexdigest()
        name = f"{name[: LONGEST_NAME - 33]}-{digest[:32]}"
    return name + SUFFIX


def _locked(path: Path) -> int:
    """The lock of a folder, which is made if it is not there. Raises BlockingIOError where another process has it."""
    path.mkdir(parents=True, exist_ok=True)
    lock = os.open(path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not _is_still(path / LOCK, lock):  # its last owner has removed it meanwhile
            raise BlockingIOError(f"{path} was being removed")
    except BaseException:
        os.close(lock)
        raise
    return lock


def _whole_lines(file: BinaryIO) -> int:
    """Where the last whole line ends: its writer may have died in the middle of the next."""
    end = os.fstat(file.fileno()).st_size
    while end > 0:
        start = max(0, end - 65_536)
        file.seek(start)
        if (last := file.read(end - start).rfind(b"\n")) >= 0:
            return start + last + 1
        end = start
    return 0


def _header(facts: RunFacts) -> bytes:
    told = {"run": facts.run, "job": facts.job, "jobId": facts.job_id, "server": facts.server}
    return json.dumps(told).encode() + b"\n"


def _write_all(file: int, data: bytes, position: int) -> None:
    done = 0
    try:
        while done < len(data):
            done += os.pwrite(file, memoryview(data)[done:], position + done)
    except OSError:
        os.ftruncate(file, position)  # half a line must not stay in front of the next one
        raise


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
