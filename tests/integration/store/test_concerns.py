"""What decides is written on the primary and confirmed by a majority, whatever the URI asks for."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from pymongo import AsyncMongoClient, MongoClient
from pymongo.monitoring import CommandListener, CommandStartedEvent

from jobserver.store.arming import Arming
from jobserver.store.connection import deciding, deciding_sync
from jobserver.store.documents import ProgressReport
from jobserver.store.locks import LockStore
from jobserver.store.servers import Identity, ServerStore
from tests.stores import LIFETIME, LONG_AGO, NAMES, Store, Workplace, claim, completed, lane

WRITES = {"insert", "update", "delete", "findAndModify"}


class Written(CommandListener):
    """The write concern of each command that a client has sent."""

    def __init__(self) -> None:
        self.concerns: list[tuple[str, Any]] = []

    def started(self, event: CommandStartedEvent) -> None:
        if event.command_name in WRITES:
            self.concerns.append((event.command_name, event.command.get("writeConcern", {}).get("w")))

    def succeeded(self, event: Any) -> None:
        pass

    def failed(self, event: Any) -> None:
        pass


async def test_every_write_of_a_server_waits_for_a_majority(place: Workplace) -> None:
    written = Written()
    careless = {"w": 0, "event_listeners": [written]}
    place.put_many(3)
    async with AsyncMongoClient[dict[str, Any]](place.uri, **careless) as client:
        store = Store(deciding(client[place.db.name])[NAMES.jobs])
        first, *_ = await claim(store, lane(lifetime=-timedelta(milliseconds=1)))
        await store.touch(first, lock_lifetime=LIFETIME, report=ProgressReport(total=2, current=1, message=None))
        await store.settle([completed(first)])
        await store.arm("job", Arming(key="k", first=LONG_AGO, recurs=True, enabled=True, priority=0), create=True)
        await store.release(owner="nobody")
    with MongoClient[dict[str, Any]](place.uri, **careless) as client:
        database = deciding_sync(client[place.db.name])
        servers = ServerStore(database[NAMES.servers])
        servers.register(Identity(id="me", host="here", pid=1, version="1"), {})
        servers.renew("me", {})
        servers.end("me")
        LockStore(jobs=database[NAMES.jobs], runs=database[NAMES.runs], servers=database[NAMES.servers]).reap_stuck()
    assert {command for command, _ in written.concerns} == WRITES
    assert [each for each in written.concerns if each[1] != "majority"] == []
