"""Change streams as hints: what they tell, when they are open, and what they say when they are over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
from structlog.testing import capture_logs

from jobserver.ending import end
from jobserver.errors import DatabaseError
from jobserver.store.changes import CONFIG_HINTS, JOB_HINTS, Changes, ChangeStreamsUnsupported
from jobserver.store.connection import async_client, deciding
from jobserver.store.listener import Listener
from tests.faults import failing
from tests.stores import LONG_AGO, NAMES, Workplace

pytestmark = pytest.mark.timeout(30)


class Heard:
    """A stream, and what has come of it."""

    def __init__(self, changes: Changes) -> None:
        self.changes = changes
        self.events: list[dict[str, Any]] = []
        self.openings = 0
        self._moved = asyncio.Event()

    async def follow(self) -> None:
        async for event in self.changes.events(self.opened):
            self.hear(event)

    def opened(self) -> None:
        self.openings += 1
        self._moved.set()

    def hear(self, event: Any) -> None:
        self.events.append(event)
        self._moved.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        try:
            async with asyncio.timeout(20):
                while not condition():
                    self._moved.clear()
                    await self._moved.wait()
        except TimeoutError:
            pytest.fail("not within 20 seconds")


@asynccontextmanager
async def stream(
    place: Workplace, collection: str, hints: list[dict[str, Any]], *, app_name: str = "jobserver"
) -> AsyncIterator[Heard]:
    async with async_client(place.uri, app_name=app_name) as client:
        yield Heard(Changes(deciding(client[place.db.name])[collection], hints))


@asynccontextmanager
async def running(work: Coroutine[Any, Any, None]) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        await end([task])


async def test_an_insert_is_told_with_its_name_and_its_moment_and_nothing_of_its_data(place: Workplace) -> None:
    async with stream(place, NAMES.jobs, JOB_HINTS) as heard, running(heard.follow()):
        await heard.until(lambda: heard.openings == 1)
        id_ = place.put(data={"secret": 1})
        place.jobs.update_one({"_id": id_}, {"$set": {"progress": 1}})
        place.jobs.delete_one({"_id": id_})
        place.put(name="second")
        await heard.until(lambda: len(heard.events) == 2)
    told = [{key: event.get(key) for key in ("operationType", "name", "nextRunAt")} for event in heard.events]
    assert told == [
        {"operationType": "insert", "name": "job", "nextRunAt": LONG_AGO},
        {"operationType": "insert", "name": "second", "nextRunAt": LONG_AGO},
    ]
    assert "secret" not in str(heard.events)
    assert heard.openings == 1


async def test_what_an_update_puts_into_the_queue_is_told_and_no_other_update(place: Workplace) -> None:
    async with stream(place, NAMES.jobs, JOB_HINTS) as heard, running(heard.follow()):
        await heard.until(lambda: heard.openings == 1)
        id_ = place.put(status="running", lockToken="token", data={"secret": 1})
        place.jobs.update_one({"_id": id_}, {"$set": {"progress": 1}})
        place.jobs.update_one({"_id": id_}, [{"$set": {"status": "queued"}}, {"$unset": ["lockToken"]}])
        place.jobs.update_one({"_id": id_}, {"$set": {"status": "running"}})
        place.jobs.update_one({"_id": id_}, {"$set": {"status": "completed"}})
        place.put(name="last")
        await heard.until(lambda: len(heard.events) == 3)
    assert [event["operationType"] for event in heard.events] == ["insert", "update", "insert"]
    assert "secret" not in str(heard.events)


async def test_every_kind_of_edit_of_a_configuration_is_told(place: Workplace) -> None:
    async with stream(place, NAMES.configs, CONFIG_HINTS) as heard, running(heard.follow()):
        await heard.until(lambda: heard.openings == 1)
        place.configs.insert_one({"jobName": "job"})
        place.configs.update_one({}, {"$set": {"enabled": False}})
        place.configs.replace_one({}, {"jobName": "job"})
        place.configs.delete_one({})
        await heard.until(lambda: len(heard.events) == 4)
    assert [event["operationType"] for event in heard.events] == ["insert", "update", "replace", "delete"]


async def test_a_collection_that_is_dropped_ends_the_stream_in_our_own_words(place: Workplace) -> None:
    place.db["dropped"].insert_one({})
    async with stream(place, "dropped", CONFIG_HINTS) as heard, running(heard.follow()) as following:
        await heard.until(lambda: heard.openings == 1)
        place.db.drop_collection("dropped")
        with pytest.raises(DatabaseError, match="dropped or renamed"):
            await following


@pytest.mark.parametrize(
    ("code", "kind"), [(40573, ChangeStreamsUnsupported), (13, ChangeStreamsUnsupported), (286, DatabaseError)]
)
async def test_a_mongodb_without_change_streams_is_told_from_one_that_has_lost_the_place(
    place: Workplace, code: int, kind: type[DatabaseError]
) -> None:
    with failing(place.db.client, "aggregate", errorCode=code) as app_name:
        async with stream(place, NAMES.jobs, JOB_HINTS, app_name=app_name) as heard:
            with pytest.raises(DatabaseError) as caught:
                await heard.follow()
    assert type(caught.value) is kind
    assert heard.openings == 0


async def test_a_listener_looks_again_after_every_rest(place: Workplace) -> None:
    async with stream(place, NAMES.jobs, JOB_HINTS) as heard:
        listener = Listener(changes=heard.changes, what="jobs", hear=heard.hear, opened=heard.opened)
        async with running(listener.run()):
            await heard.until(lambda: heard.openings == 1)
            place.put()
            await heard.until(lambda: len(heard.events) == 1)
            listener.rest()
            listener.resume()
            await heard.until(lambda: heard.openings == 2)
            place.put()
            await heard.until(lambda: len(heard.events) == 2)


async def test_a_listener_whose_place_in_the_log_is_dead_hears_on_from_now(place: Workplace) -> None:
    """The end of a collection is the last that a stream tells: nothing can be resumed after it."""
    place.db["dropped"].insert_one({})
    async with stream(place, "dropped", JOB_HINTS) as heard:
        listener = Listener(changes=heard.changes, what="jobs", hear=heard.hear, opened=heard.opened)
        async with running(listener.run()):
            await heard.until(lambda: heard.openings == 1)
            place.db.drop_collection("dropped")
            await heard.until(lambda: heard.openings == 2)
            place.db["dropped"].insert_one({"name": "afterwards"})
            await heard.until(lambda: [event["name"] for event in heard.events] == ["afterwards"])


async def test_a_listener_without_change_streams_says_so_once_and_ends(place: Workplace) -> None:
    polled = []
    with failing(place.db.client, "aggregate", errorCode=40573) as app_name:
        async with stream(place, NAMES.jobs, JOB_HINTS, app_name=app_name) as heard:
            listener = Listener(
                changes=heard.changes,
                what="jobs",
                hear=heard.hear,
                opened=heard.opened,
                unsupported=lambda: polled.append(True),
            )
            with capture_logs() as records:
                async with asyncio.timeout(20):
                    await listener.run()
    assert polled == [True]
    assert [record["event"] for record in records] == ["no change streams"]


async def test_a_handler_that_raises_ends_no_stream_is_said_once_and_followed_by_a_look(place: Workplace) -> None:
    async with stream(place, NAMES.jobs, JOB_HINTS) as heard:

        def hear(event: Any) -> None:
            heard.hear(event)
            if len(heard.events) % 3:
                raise ValueError("not understood")

        listener = Listener(changes=heard.changes, what="jobs", hear=hear, opened=heard.opened)
        with capture_logs() as records:
            async with running(listener.run()):
                await heard.until(lambda: heard.openings == 1)
                place.put_many(1_000)
                await heard.until(lambda: len(heard.events) == 1_000)
                await heard.until(lambda: heard.openings >= 2)
    assert [record["event"] for record in records] == ["change event not understood"]
    assert heard.openings <= 3


@pytest.mark.parametrize(("command", "code"), [("getMore", 286), ("getMore", 280), ("getMore", 136), ("getMore", 6)])
async def test_a_stream_that_has_lost_its_place_opens_at_now_and_is_followed_by_a_look(
    place: Workplace, command: str, code: int
) -> None:
    with failing(place.db.client, command, times=1, errorCode=code) as app_name:
        async with stream(place, NAMES.configs, CONFIG_HINTS, app_name=app_name) as heard:
            listener = Listener(changes=heard.changes, what="configurations", hear=heard.hear, opened=heard.opened)
            with capture_logs() as records:
                async with running(listener.run()):
                    await heard.until(lambda: heard.openings == 1)
                    place.configs.insert_one({"jobName": f"job {code}"})
                    # What can be resumed is, by the driver; for all else there is a fresh stream and a look.
                    await heard.until(lambda: heard.openings == 2 or bool(heard.events))
                    before = len(heard.events)
                    place.configs.update_one({"jobName": f"job {code}"}, {"$set": {"enabled": True}})
                    await heard.until(lambda: len(heard.events) > before)
    assert len(records) <= 1
    assert heard.openings <= 2


async def test_a_stream_that_has_lasted_and_breaks_is_opened_again_soon_however_often_that_happens(
    place: Workplace,
) -> None:
    clock = iter(range(0, 10_000, 100))
    broken = {"times": 6, "errorCode": 286}
    with failing(place.db.client, "getMore", **broken) as app_name:
        async with stream(place, NAMES.configs, CONFIG_HINTS, app_name=app_name) as heard:
            listener = Listener(
                changes=heard.changes,
                what="configurations",
                hear=heard.hear,
                opened=heard.opened,
                monotonic=lambda: float(next(clock)),
            )
            with capture_logs() as records:
                async with running(listener.run()):
                    await heard.until(lambda: heard.openings == 7)
    assert {record["next_try_in"] for record in records} == {1.0}


@pytest.mark.parametrize("hints", [JOB_HINTS, CONFIG_HINTS], ids=["jobs", "configurations"])
async def test_documents_of_16_megabytes_break_no_stream(place: Workplace, hints: list[dict[str, Any]]) -> None:
    full = {"name": "job", "nextRunAt": LONG_AGO, "data": "x" * (16 * 1024 * 1024 - 200)}
    async with stream(place, NAMES.jobs, hints) as heard, running(heard.follow()) as following:
        await heard.until(lambda: heard.openings == 1)
        place.jobs.insert_one(dict(full))
        place.jobs.replace_one({}, full | {"data": "y" * (16 * 1024 * 1024 - 200)})
        place.jobs.update_one({}, {"$set": {"data": "z" * (16 * 1024 * 1024 - 200)}})
        place.put(name="last")
        await heard.until(lambda: len(heard.events) == (2 if hints is JOB_HINTS else 4))
        assert not following.done()
