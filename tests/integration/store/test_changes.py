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
            async with asyncio.timeout(10):
                while not condition():
                    self._moved.clear()
                    await self._moved.wait()
        except TimeoutError:
            pytest.fail("not within 10 seconds")


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
                async with asyncio.timeout(10):
                    await listener.run()
    assert polled == [True]
    assert [record["event"] for record in records] == ["no change streams"]
