"""Live servers on one database, a canary that has to go on singing, and what the servers' logs say meanwhile."""

from __future__ import annotations

import asyncio
import json
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.project import Document, Project, ServerProcess, until

CANARY, LAST = "canary", "zz_last"
NO_RECORDS = (
    "internal fault",
    "settling broke",
    "mongodb away",
    "run history not stored",
    "handler failed",
    "chore failed",
)
WITHIN = 60.0  # seconds for a canary on a busy machine
LONGEST_LINE = 64 * 1024

Tell = Callable[[str], None]


@dataclass(slots=True)
class Found:
    """What was tried, and what should not have been; MongoDB itself refuses some.

    `judged` counts what could have gone wrong, by what it is: where it is none of a kind, nothing is shown of that.
    """

    documents: int = 0
    refused_by_mongodb: int = 0
    log_lines: int = 0
    judged: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)

    @property
    def lacks(self) -> list[str]:
        """What there was too little of to show anything."""
        found = [f"nothing was {what}" for what, count in self.judged.items() if not count]
        if self.refused_by_mongodb >= self.documents / 4:
            found.append(f"MongoDB refused {self.refused_by_mongodb} of {self.documents} documents")
        return found

    @property
    def so_far(self) -> str:
        """For who waits for the end."""
        count = f"{len(self.violations)} violations"
        return f"{count}, the last: {self.violations[-1][:300]}" if self.violations else count

    def wrong(self, what: str) -> None:
        """Count one that a person should see; the first hundred are kept in words."""
        if len(self.violations) < 100:
            self.violations.append(what[:2_000])


class Tail:
    """The log of a server, read on from where it was read to."""

    def __init__(self, path: Path) -> None:
        self._path, self._position, self._rest = path, 0, b""

    def new(self) -> list[bytes]:
        """The whole lines since the last call."""
        with self._path.open("rb") as log:
            log.seek(self._position)
            read = self._rest + log.read()
            self._position = log.tell()
        *lines, self._rest = read.split(b"\n")
        return lines


class Ground:
    """So many servers of one project, as processes."""

    def __init__(self, project: Project, found: Found, *, servers: int, **runner: Any) -> None:
        self.project, self.found = project, found
        self._count, self._runner = servers, runner
        self._servers: list[ServerProcess] = []
        self._tails: list[Tail] = []
        self._stamp = 0

    async def open(self) -> None:
        """Write the jobs that tell whether servers work, and start them."""
        self.project.job(CANARY)
        self.project.job(LAST, schedule="0 0 1 1 *")
        self._servers = [self.project.process(**self._runner) for _ in range(self._count)]
        self._tails = [Tail(self.project.root / f"server-{number}.log") for number in range(self._count)]
        for server in self._servers:
            await server.started(within=WITHIN)
        self._say_anything_wrong()

    async def sing(self) -> None:
        """A job that is asked for now comes to its end."""
        id_ = self.project.enqueue(f"api:{CANARY}")
        await until(lambda: self.project.jobs.find_one({"_id": id_, "status": "completed"}), within=WITHIN)
        self.project.jobs.delete_one({"_id": id_})
        self.project.db.notes.delete_many({})

    async def read_by_all(self) -> list[Document]:
        """Wait until every server has read each configuration as it was when this was called; what they said meanwhile.

        Documents are read all at once, and applied in the order in which their jobs were found: this one comes last.
        """
        self._stamp = self._stamp % 9_000 + 1
        self.project.edit(f"api:{LAST}", {"$set": {"concurrency": self._stamp}})
        waiting, said = set(range(self._count)), []
        deadline = asyncio.get_running_loop().time() + WITHIN
        while waiting:
            for number, record in self._records():
                said.append(record)
                applied = record.get("event") == "config applied" and record.get("name") == f"api:{LAST}"
                if applied and record.get("concurrency") == self._stamp:
                    waiting.discard(number)
            assert asyncio.get_running_loop().time() < deadline, f"servers {waiting} do not read configurations"
            await asyncio.sleep(0.01)
        return said

    def heard(self) -> list[Document]:
        """What servers have said since the last time anybody asked."""
        return [record for _, record in self._records()]

    async def close(self) -> None:
        """Every server ends in good order."""
        self.alive()
        for server in self._servers:
            server.send(signal.SIGTERM)
        for server in self._servers:
            if (code := await server.exit_code(within=WITHIN)) != 0:
                self.found.wrong(f"a server ended with {code}")
        self._say_anything_wrong()

    def alive(self) -> None:
        """No server has gone."""
        for number, server in enumerate(self._servers):
            if server.has_ended():
                self.found.wrong(f"server {number} has ended")
                raise AssertionError(f"server {number} has ended")

    def _say_anything_wrong(self) -> None:
        for _ in self._records():
            pass

    def _records(self) -> Iterator[tuple[int, Document]]:
        for number, tail in enumerate(self._tails):
            for line in tail.new():
                self.found.log_lines += 1
                if (record := self._record(line)) is not None:
                    yield number, record

    def _record(self, line: bytes) -> Document | None:
        if len(line) > LONGEST_LINE:
            self.found.wrong(f"a line of {len(line)} bytes in the log: {line[:300]!r}")
        try:
            said = line.decode()
            record: Document = json.loads(said)
        except ValueError:
            self.found.wrong(f"no record in the log: {line[:1_000]!r}")
            return None
        if not said.isprintable():
            self.found.wrong(f"not printable in the log: {said[:1_000]!r}")
        if record.get("event") in NO_RECORDS or "never retrieved" in said:
            self.found.wrong(f"in the log: {said[:1_000]}")
        return record
