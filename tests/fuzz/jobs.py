"""Mutated `pulseJobs` documents on live servers: what is due is run, all else stays as it was written."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from bson import ObjectId
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo.errors import BulkWriteError, OperationFailure

from jobserver.store.codec import CODEC
from tests.fuzz.elements import Pairs, document, elements_of, of, pairs_of, value_of
from tests.fuzz.ground import Found, Ground, Tell
from tests.fuzz.nonsense import Nonsense
from tests.fuzz.onlookers import look_at_everything
from tests.project import Document, Project, until

RAW: CodecOptions[RawBSONDocument] = CODEC.with_options(document_class=RawBSONDocument)
JOBS = """
class {stem}(Job):
    schedule = "manual"
    concurrency = 20
    {more}
    {kind} run(self, data):
        {body}
"""
KNOWN = {
    "returns": {"kind": "async def", "body": "return data", "more": ""},
    "raises": {"kind": "async def", "body": "raise ValueError(str(data))", "more": ""},
    "threads": {"kind": "def", "body": "return data", "more": ""},
    "limited": {"kind": "async def", "body": "return [data]", "more": "global_concurrency = 3"},
}
NAMES = [f"api:{stem}" for stem in KNOWN]
FIELDS = (
    *("type", "priority", "status", "createdAt", "disabled", "fence", "attempt", "runCount", "finishedCount", "slots"),
    *("lockToken", "lockedAt", "lockedBy", "lockUntil", "globalSlot", "uniqueKey", "scheduledFor", "anchorAt"),
    *("failCount", "failedAt", "lastError", "crashes", "poison", "progress", "progressData", "result", "settledBy"),
    *("lastRunAt", "lastFinishedAt", "rearmAt", "heldRunAt", "scheduleKey", "attempts", "backoff", "repeatInterval"),
    *("repeatTimezone", "crashedToken", "cancelReason", "shouldSaveResult", "task", "startAt", "startAfter", "handler"),
    *("recurrence", "follows", "followsCompletion", "withdrawn", "cancelRequest", "oneOff", "byName", "occurrenceAt"),
)
DECIDE = {"lockToken", "lockedAt", "disabled", "withdrawn"}
MOVED_BY_OTHERS = {"lockToken", "lockedAt", "oneOff", "follows", "startAfter", "task", "handler", "byName"}
LARGEST_RUN = 13 * 1024 * 1024  # bytes; a little more is left alone
LARGEST_ID = 1024 * 1024  # bytes; MongoDB itself fails with more than half of what a document may have
BATCH = 250
LOOK_EVERY = 20  # batches: ten commands, a second each
WITHIN = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class JobCase:
    """A document, with whether it has to be run."""

    number: int
    raw: bytes
    name: Any
    runs: bool
    left_alone: bool


class JobCases:
    """Draws documents."""

    def __init__(self, random: Random) -> None:
        self._random, self._nonsense = random, Nonsense(random)
        # MongoDB 6.0 itself aborts when an update by pipeline keeps a field in which a mapping has a key twice.
        self._sole = Nonsense(random, repeats=False)

    def draw(self, number: int, batch: int, now: datetime) -> JobCase:
        """A real document of ours, of Pulse or of a hand, some of its fields spoilt."""
        random = self._random
        fields = dict(self._sound(now))
        name, due = value_of(fields["name"]), True
        if random.random() < 0.9:
            fields["data"] = self._nonsense.value()
        for each in random.sample(FIELDS, random.randint(0, 4)):
            fields[each] = self._sole.value()
        if random.random() < 0.08:
            fields["name"] = self._sole.value()
            name = value_of(fields["name"])
        if random.random() < 0.08:
            fields["nextRunAt"] = self._sole.value()
            due = False
        if random.random() < 0.04:
            id_ = self._sole.value()
            fields["_id"] = id_ if len(id_.payload) < LARGEST_ID else of("large")
        pairs: Pairs = [(key.encode(), item) for key, item in fields.items()]
        if random.random() < 0.3:
            random.shuffle(pairs)
        if random.random() < 0.2:
            pairs += [(key, self._nonsense.value()) for key in {self._nonsense.key()} if key not in (b"name", b"type")]
        raw = document([*pairs, *pairs_of({"fuzzBatch": batch, "fuzzNumber": number})])
        known = isinstance(name, str) and name in NAMES
        spoilt = any(key in fields and value_of(fields[key]) is not None for key in DECIDE) or "_id" in fields
        orphan = {"startAfter", "follows"} <= set(fields)  # a task whose parent nobody has
        runs = known and due and not spoilt and not orphan and len(raw) < LARGEST_RUN
        alone = not isinstance(name, str) and not MOVED_BY_OTHERS & set(fields)
        return JobCase(number=number, raw=raw, name=name, runs=runs, left_alone=alone)

    def _sound(self, now: datetime) -> Iterator[tuple[str, Any]]:
        random = self._random
        due = now - timedelta(seconds=random.choice((0, 1, 60, 86_400)))
        values: Document = {"name": random.choice(NAMES), "nextRunAt": due}
        ours = {"type": "normal", "priority": random.randint(-20, 20), "status": "queued", "createdAt": now}
        pulse = {"type": "normal", "priority": 0, "lockedAt": None, "lastModifiedBy": "node", "shouldSaveResult": True}
        retried = {"attempts": 2, "backoff": {"type": "exponential", "delay": 60_000}}
        again = {"repeatInterval": random.choice(("*/5 * * * *", 300_000, "5 minutes")), "repeatTimezone": None}
        values |= random.choice((ours, ours, pulse, {}, pulse | retried, pulse | again))
        for key, value in values.items():
            yield key, of(value)


class JobFuzz:
    """Batches of documents, each inserted, looked at until all that is due has run, and removed."""

    def __init__(self, project: Project, random: Random, found: Found, tell: Tell) -> None:
        self._project, self._random, self._found, self._tell = project, random, found, tell
        for stem, how in KNOWN.items():
            project.job(stem, JOBS.format(stem=stem.capitalize(), **how))
        self._ground = Ground(project, found, servers=2, max_concurrency=100, lease=5_000)
        found.judged.update(dict.fromkeys(("to be run", "to be left alone"), 0))

    async def run(self, documents: int, *, then: tuple[Random, int] | None = None) -> None:
        """Try so many documents, `then` so many more that are drawn in another way."""
        await self._ground.open()
        batches = await self._try(JobCases(self._random), documents)
        if then is not None:
            await self._try(JobCases(then[0]), then[1], batch=batches)
        await self._nothing_is_held()
        await self._ground.close()

    async def _try(self, cases: JobCases, documents: int, *, batch: int = 0) -> int:
        tried = 0
        while tried < documents:
            batch += 1
            now = self._project.now()
            drawn = [cases.draw(number, batch, now) for number in range(min(BATCH, documents - tried))]
            await self._batch(batch, drawn, now, look=batch % LOOK_EVERY == 1)
            tried += len(drawn)
            self._found.documents += len(drawn)
            self._tell(f"{tried} of {documents} job documents, {self._found.so_far}")
        return batch

    async def _batch(self, batch: int, cases: Sequence[JobCase], now: datetime, *, look: bool) -> None:
        written = {case.number: case for case in self._write(cases)}
        await self._ground.sing()
        self._ground.alive()
        due = {number for number, case in written.items() if case.runs}
        self._found.judged["to be run"] += len(due)
        self._found.judged["to be left alone"] += sum(case.left_alone for case in written.values())
        began = time.monotonic()
        try:
            await until(lambda: due <= self._have_run(batch, now), within=WITHIN)
        except AssertionError:
            for number in due - self._have_run(batch, now):
                self._found.wrong(f"not run within {time.monotonic() - began:.0f} s: {written[number].raw[:1_500]!r}")
        if look:
            look_at_everything(self._project, self._found)
        self._check_what_stays(batch, written)
        self._check_the_log(len(written))
        self._project.jobs.delete_many({"fuzzBatch": batch})

    def _write(self, cases: Sequence[JobCase]) -> list[JobCase]:
        """Those that MongoDB took."""
        # Written without `_id` they would get one that we do not see.
        whole = [RawBSONDocument(_with_id(case.raw), RAW) for case in cases]
        try:
            self._project.jobs.insert_many(whole, ordered=False)
            refused = set()
        except BulkWriteError as error:
            refused = {failure["index"] for failure in error.details["writeErrors"]}
        except OperationFailure:  # MongoDB fails over its own message where a large key is there twice
            refused = {index for index, document in enumerate(whole) if not self._is_written(document)}
        self._found.refused_by_mongodb += len(refused)
        return [case for index, case in enumerate(cases) if index not in refused]

    def _is_written(self, document: RawBSONDocument) -> bool:
        marks = {"fuzzBatch": document["fuzzBatch"], "fuzzNumber": document["fuzzNumber"]}
        if self._project.jobs.find_one(marks, {"_id": 1}):
            return True
        try:
            self._project.jobs.insert_one(document)
        except OperationFailure:
            return False
        return True

    def _have_run(self, batch: int, since: datetime) -> set[int]:
        ran = {"fuzzBatch": batch, "lastRunAt": {"$gte": since, "$lt": datetime(2900, 1, 1, tzinfo=UTC)}}
        return {each["fuzzNumber"] for each in self._project.jobs.find(ran, {"fuzzNumber": 1, "_id": 0})}

    def _check_what_stays(self, batch: int, written: dict[int, JobCase]) -> None:
        every = self._project.jobs.with_options(RAW).find({"fuzzBatch": batch})
        stored = {each["fuzzNumber"]: bytes(each.raw) for each in every}
        for number, case in written.items():
            if (now := stored.get(number)) is None:
                self._found.wrong(f"gone: {case.raw[:1_500]!r}")
            elif case.left_alone and _without_id(now) != _without_id(case.raw):
                self._found.wrong(f"changed, though nobody's: {case.raw[:1_500]!r}")
            elif _of(b"data", now) != _of(b"data", case.raw):
                self._found.wrong(f"its data were changed: {case.raw[:1_500]!r}")

    def _check_the_log(self, documents: int) -> None:
        said = self._ground.heard()
        if len(said) > 5 * documents + 200:
            self._found.wrong(f"{len(said)} records for {documents} job documents")

    async def _nothing_is_held(self) -> None:
        servers = self._project.db.jobServers.distinct("_id")
        held = {"lockedBy": {"$in": servers}, "lockedAt": {"$exists": True}}
        await until(lambda: self._project.jobs.find_one(held) is None, within=WITHIN)


def _with_id(raw: bytes) -> bytes:
    elements = elements_of(raw)
    if any(key == b"_id" for key, _ in elements):
        return raw
    body = b"\x07_id\0" + ObjectId().binary + raw[4:]
    return (len(body) + 4).to_bytes(4, "little") + body


def _without_id(raw: bytes) -> list[tuple[bytes, bytes]]:
    return [(key, item) for key, item in elements_of(raw) if key != b"_id"]


def _of(wanted: bytes, raw: bytes) -> list[bytes]:
    return [item for key, item in elements_of(raw) if key == wanted]
