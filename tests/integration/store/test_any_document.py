"""Whatever a hand may write into the collections, nothing fails on it, and the good documents beside it run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import bson
import pytest
from bson import Binary, Code, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.datetime_ms import DatetimeMS
from bson.raw_bson import RawBSONDocument
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymongo.errors import BulkWriteError

from jobserver.definition import JobDefaults, JobDefinition, JobSettings
from jobserver.execution.outcome import completed, failed
from jobserver.job import Job
from jobserver.retry import Retry
from jobserver.runner.pulse.jobs import KnownJob
from jobserver.runner.pulse.run import Run
from jobserver.runner.pulse.verdict import judge
from jobserver.schedule import Schedule
from jobserver.store.arming import Arming
from jobserver.store.documents import ClaimedJob, Settlement
from jobserver.store.views import OccurrenceView, RunView
from tests.stores import FAR_AHEAD, LONG_AGO, Store, Workplace, claim, ids, lane

pytestmark = pytest.mark.timeout(120)

EXAMPLES = 25  # of three to eight documents each
NOTHING: Any = None
HELD = {"nextRunAt": LONG_AGO, "lockToken": "t", "lockedAt": LONG_AGO, "lockedBy": "alive", "lockUntil": FAR_AHEAD}
EVERY_MINUTE = Schedule.parse("* * * * *")

VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.text(max_size=10),
    st.sampled_from(
        [
            *("$name", "$$ROOT", "$$REMOVE", "job", "single", "running", "2020-01-01", ""),
            *(LONG_AGO, FAR_AHEAD, datetime(1, 1, 1, tzinfo=UTC), DatetimeMS(2**63 - 1), DatetimeMS(-(2**63))),
            *(Int64(2**63 - 1), Int64(-(2**63)), Decimal128("NaN"), Decimal128("1E+6144"), float("nan")),
            *(ObjectId("6" * 24), Binary(b"x", 4), Regex("a+", "i"), Code("x"), Code("x", {"a": 1}), Timestamp(1, 1)),
            *(MinKey(), MaxKey(), {"$ref": "c", "$id": 1}, {"$ref": 5}, {"$literal": 1}, [[]], [LONG_AGO, "x"]),
        ]
    ),
)
ANYTHING = st.recursive(
    VALUES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["a", "$b", "c.d", ""]), inner, max_size=3)
    ),
    max_leaves=4,
)
FIELDS = (
    *("type", "data", "priority", "status", "createdAt", "disabled", "fence", "attempt", "runCount", "finishedCount"),
    *("lockToken", "lockedAt", "lockedBy", "lockUntil", "globalSlot", "uniqueKey", "scheduledFor", "anchorAt"),
    *("failCount", "failedAt", "lastError", "crashes", "poison", "progress", "progressData", "result", "settledBy"),
    *("lastRunAt", "lastFinishedAt", "rearmAt", "heldRunAt", "scheduleKey", "attempts", "backoff", "repeatInterval"),
    *("repeatTimezone", "crashedToken", "cancelReason", "shouldSaveResult", "expireAt"),
)
DOCUMENTS = st.builds(
    lambda name, due, rest: {"name": name, "nextRunAt": due, **rest},
    st.one_of(st.just("job"), st.just("job"), ANYTHING),
    st.one_of(st.just(LONG_AGO), st.just(LONG_AGO), ANYTHING),
    # MongoDB deletes what has expired by itself; a moment here would only make the test race with it.
    st.fixed_dictionaries({}, optional=dict.fromkeys((field for field in FIELDS if field != "expireAt"), ANYTHING)),
)


class Server:
    """What a server does with the collection, step by step."""

    def __init__(self, place: Workplace, store: Store) -> None:
        self.place, self.store = place, store

    async def look_after_everything(self) -> None:
        """All that there is to do: the first attempt at each document ends with its server, the next by itself."""
        self.mend()
        await self.arm()
        await self.claim_and_die()
        await self.claim_and_settle()
        await self.claim_and_settle()
        await self.arm(key="another", enabled=False)
        self.show()

    def mend(self) -> None:
        strays = self.place.strays()
        strays.adopt({"job": 0, "limited": 0})
        strays.restore_stripped(["job", "limited"])
        strays.release_foreign({"job": timedelta(), "limited": timedelta(hours=1)})
        self.place.locks().reap_dead_servers()
        self.place.locks().reap_stuck()

    async def arm(self, key: str = "one", *, enabled: bool = True) -> None:
        await self.store.arm(
            "job", Arming(key=key, first=LONG_AGO, recurs=False, enabled=enabled, priority=0, afresh=True), create=True
        )

    async def claim_and_die(self) -> None:
        claimed = await claim(self.store, lane(), lane("limited", everywhere=5), owner="dying")
        reaped = self.place.locks().reap_dead_servers()
        assert set(map(repr, ids(claimed))) <= set(map(repr, ids(reaped)))
        assert self.place.jobs.count_documents({"lockedBy": "dying", "lockToken": {"$gt": ""}}) == 0

    async def claim_and_settle(self) -> None:
        claimed = await claim(self.store, lane(), lane("limited", everywhere=5), owner="alive")
        ends = [self.end(job, number) for number, job in enumerate(claimed)]
        if ends:
            assert await self.store.settle(ends) == []
        assert self.place.jobs.count_documents({"lockToken": {"$in": [job.token for job in claimed]}}) == 0

    def end(self, job: ClaimedJob, number: int) -> Settlement:
        run = Run(job, known(), store=NOTHING, databases=NOTHING, server="alive", monotonic=lambda: 0.0)
        assert run.context.fence >= 1
        outcome = failed(ValueError("x")) if number % 3 == 2 else completed(job.document.get("data"))
        return judge(run, outcome, now=self.place.now, random=lambda: 0.5)

    def show(self) -> None:
        for document in self.place.jobs.find():
            OccurrenceView.of(document)
            RunView.under_way(document)


def known() -> KnownJob:
    defaults = JobDefaults(schedule=EVERY_MINUTE)
    definition = JobDefinition(
        name="job", path="job.py", checksum="c", job_class=Job, is_async=True, wants=(), defaults=defaults
    )
    in_force = JobSettings(
        schedule=EVERY_MINUTE,
        enabled=True,
        retry=Retry(attempts=1, delay=timedelta()),
        priority=0,
        concurrency=1,
        global_concurrency=None,
        lock_lifetime=timedelta(minutes=1),
    )
    return KnownJob(definition, in_force)


@pytest.fixture(scope="module")
def server(shared_place: Workplace) -> Iterator[Callable[[], None]]:
    """One server for all examples; calling it makes it do everything there is to do."""
    shared_place.register("alive", lease=timedelta(hours=1))
    with asyncio.Runner() as loop, ExitStack() as stack:
        store = shared_place.store()
        opened = loop.run(store.__aenter__())
        stack.callback(lambda: loop.run(store.__aexit__(None, None, None)))
        yield lambda: loop.run(Server(shared_place, opened).look_after_everything())


def tried(place: Workplace, server: Callable[[], None], documents: Sequence[Any]) -> None:
    """Put them among good documents and let a server do everything that servers do."""
    place.jobs.delete_many({})
    with suppress(BulkWriteError):  # some MongoDB itself refuses
        place.jobs.insert_many(documents, ordered=False)
    waiting = place.put(uniqueKey="mine", status="queued")
    good = {place.put(data={"n": 1}), place.put(name="limited", priority=0), waiting}

    server()
    ended = {
        "_id": {"$in": list(good)},
        "status": {"$in": ["completed", "failed"]},
        "lastFinishedAt": {"$type": "date"},
    }
    assert place.jobs.count_documents(ended) == len(good)


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(documents=st.lists(DOCUMENTS, min_size=3, max_size=8))
def test_any_job_documents_leave_the_good_ones_their_way(
    shared_place: Workplace, server: Callable[[], None], documents: list[dict[str, Any]]
) -> None:
    tried(shared_place, server, documents)


@pytest.mark.parametrize(
    "document",
    [
        {"name": ["job"], "nextRunAt": LONG_AGO},
        {"name": "job", "nextRunAt": [LONG_AGO]},
        {"name": "job", "nextRunAt": LONG_AGO, "attempt": -5, "fence": Int64(-(2**63))},
        {"name": "job", "nextRunAt": LONG_AGO, "fence": Int64(2**63 - 1), "attempt": Int64(2**63 - 1)},
        {"name": "job", "nextRunAt": LONG_AGO, "type": "single", "anchorAt": DatetimeMS(2**62)},
        {"name": "job", "nextRunAt": LONG_AGO, "type": "single", "repeatInterval": float("nan")},
        {"name": "job", "nextRunAt": LONG_AGO, "lockToken": 7, "lockedAt": "now"},
        {"name": "job", "nextRunAt": LONG_AGO, "globalSlot": ["x", None, []]},
        {"name": "job", "nextRunAt": LONG_AGO, "lockToken": "t", "lockedAt": LONG_AGO, "lockedBy": {"a": 1}},
        {"name": "job", "nextRunAt": LONG_AGO, "data": "x" * (16 * 1024 * 1024 - 200)},
        {"_id": {"a": {"b.c": 1}}, "name": "job", "nextRunAt": LONG_AGO},
        {"_id": None, "name": "job", "nextRunAt": LONG_AGO},
        {"_id": Code("x"), "name": "job", "nextRunAt": LONG_AGO},
        {"_id": {"$ref": "c", "$id": {"a": 1}}, "name": "job", "nextRunAt": LONG_AGO},
        {"name": "limited", **HELD, "globalSlot": ["x", Code("0")]},
        {"name": "job", **HELD, "lockedBy": Code("alive")},
        {"name": Code("job"), "nextRunAt": LONG_AGO},
        {"name": "job", "nextRunAt": LONG_AGO, "data": {"$ref": "c", "$id": {"$db": 1}}},
    ],
    ids=lambda document: str(document)[:60],
)
def test_documents_that_have_once_done_harm_do_none(
    shared_place: Workplace, server: Callable[[], None], document: dict[str, Any]
) -> None:
    tried(shared_place, server, [document])


def test_text_that_is_no_utf_8_does_no_harm(shared_place: Workplace, server: Callable[[], None]) -> None:
    """Python cannot write it; programs in other languages can."""
    sound = bson.encode({"_id": 1, "name": "job", "nextRunAt": LONG_AGO, "data": "abc", "lastError": "abc"})
    tried(shared_place, server, [RawBSONDocument(sound.replace(b"abc", b"a\xffc"))])
