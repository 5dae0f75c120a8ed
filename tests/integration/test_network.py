"""The bad network itself: what it is told to do to messages is what happens to them, on a real mongod."""

from __future__ import annotations

import math
import random
import socket
import time
from collections.abc import Iterator
from typing import Any

import bson
import pytest
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import AutoReconnect, NetworkTimeout, ServerSelectionTimeoutError

from tests.integration.conftest import eventually
from tests.network import Network, Towards, Way
from tests.network_talk import Loss, Weather
from tests.wire import FLAGS_AND_KIND, HEADER, OP_MSG

pytestmark = pytest.mark.timeout(30)

PATIENCE_MS = 300


@pytest.fixture(scope="module")
def network(mongo_uri: str) -> Iterator[Network]:
    with Network.start(mongo_uri, seed=7) as network:
        yield network


@pytest.fixture
def way(network: Network) -> Way:
    return network.way()


def connected(way: Way, **options: Any) -> MongoClient[dict[str, Any]]:
    """A client on this way that gives up soon and repeats nothing by itself."""
    patience = {"connectTimeoutMS": PATIENCE_MS, "socketTimeoutMS": PATIENCE_MS, "serverSelectionTimeoutMS": 2_000}
    return MongoClient(way.uri, **{"retryReads": False, "retryWrites": False, **patience, **options})


@pytest.fixture
def client(way: Way) -> Iterator[MongoClient[dict[str, Any]]]:
    with connected(way) as client:
        client.admin.command("ping")
        yield client


@pytest.fixture
def things(client: MongoClient[dict[str, Any]], db: Database[dict[str, Any]]) -> Any:
    """The collection of this test, through the network."""
    return client[db.name].things


def test_a_driver_sees_no_other_address_than_the_doors_of_its_way(
    network: Network, way: Way, client: MongoClient[dict[str, Any]]
) -> None:
    doors = {f"{host}:{port}" for host, port in client.nodes}
    assert doors == set(way.uri.split("/")[2].split(","))
    assert doors.isdisjoint(network.addresses)
    told = client.admin.command("hello")
    assert set(told["hosts"]) == {told["me"]} == {told["primary"]} == doors


def test_messages_come_later_and_in_order(way: Way, client: MongoClient[dict[str, Any]]) -> None:
    way.latency(0.05, jitter=0.05)
    began = time.monotonic()
    for number in range(3):
        assert client.admin.command({"ping": 1, "comment": number})["ok"]
    assert time.monotonic() - began >= 3 * 2 * 0.05
    way.heal()
    assert client.admin.command("ping")["ok"]


def test_a_slow_line_carries_so_many_bytes_a_second(way: Way, db: Database[dict[str, Any]]) -> None:
    with connected(way, socketTimeoutMS=10_000) as client:
        client.admin.command("ping")
        way.slow(1_000_000)
        began = time.monotonic()
        client[db.name].things.insert_one({"filling": b"." * 200_000})
        assert time.monotonic() - began >= 0.2


def test_what_a_black_hole_has_swallowed_arrives_when_it_ends(
    way: Way, things: Any, db: Database[dict[str, Any]]
) -> None:
    way.black_hole()
    with pytest.raises(NetworkTimeout):
        things.insert_one({"_id": 1})
    assert db.things.find_one() is None
    way.heal()
    assert eventually(db.things.find_one) == {"_id": 1}


@pytest.mark.parametrize(("towards", "carried_out"), [(Towards.CLIENT, True), (Towards.MONGODB, False)])
def test_a_black_hole_may_be_in_one_direction(
    way: Way, things: Any, db: Database[dict[str, Any]], towards: Towards, carried_out: bool
) -> None:
    way.black_hole(towards=towards)
    with pytest.raises(NetworkTimeout):
        things.insert_one({"_id": 1})
    assert bool(db.things.count_documents({})) is carried_out


def test_a_black_hole_is_one_clients_and_no_others(network: Network, way: Way) -> None:
    way.black_hole()
    with connected(network.way()) as other:
        assert other.admin.command("ping")["ok"]


def test_a_reset_breaks_the_connections_that_are_there(way: Way, client: MongoClient[dict[str, Any]]) -> None:
    """One that no driver watches over: a driver may have a new one before it is asked for anything."""
    document = bson.encode({"ping": 1, "$db": "admin"})
    ping = HEADER.pack(HEADER.size + FLAGS_AND_KIND + len(document), 1, 0, OP_MSG) + bytes(FLAGS_AND_KIND) + document
    with socket.create_connection(next(iter(client.nodes)), timeout=5) as connection:
        connection.sendall(ping)
        assert connection.recv(4096)
        way.reset()
        with pytest.raises(ConnectionResetError):
            connection.recv(4096)


def test_a_refusal_is_of_new_connections_only(way: Way, things: Any) -> None:
    way.refuse()
    things.insert_one({"_id": 1})
    with connected(way, serverSelectionTimeoutMS=PATIENCE_MS) as other, pytest.raises(ServerSelectionTimeoutError):
        other.admin.command("ping")
    way.heal()
    with connected(way) as other:
        assert other.admin.command("ping")["ok"]


def test_the_reply_of_the_third_such_command_is_lost_and_the_command_carried_out(
    way: Way, things: Any, db: Database[dict[str, Any]]
) -> None:
    way.lose_reply("insert", of="things", nth=3)
    things.database.others.insert_one({})
    things.insert_one({"_id": 1})
    things.insert_one({"_id": 2})
    with pytest.raises(AutoReconnect):
        things.insert_one({"_id": 3})
    things.insert_one({"_id": 4})
    assert db.things.count_documents({}) == 4
    assert way.lost == ["insert"]


def test_a_lost_request_is_not_carried_out(way: Way, things: Any, db: Database[dict[str, Any]]) -> None:
    way.lose_request("insert")
    with pytest.raises(AutoReconnect):
        things.insert_one({"_id": 1})
    assert db.things.count_documents({}) == 0


def test_one_connection_may_hang_and_its_request_arrive_when_nobody_waits_for_it(
    way: Way, things: Any, db: Database[dict[str, Any]]
) -> None:
    way.lose_request("insert", hang=True)
    with pytest.raises(NetworkTimeout):
        things.insert_one({"_id": 1})
    things.insert_one({"_id": 2})
    assert db.things.distinct("_id") == [2]
    way.heal()
    eventually(lambda: db.things.distinct("_id") == [1, 2])


def test_the_same_seed_loses_the_same_replies() -> None:
    def lost(seed: int) -> list[bool]:
        losing = Loss(command="find", reply=True, times=math.inf, share=0.3)
        weather = Weather(random.Random(seed), losses=[losing])
        return [weather.loses(("find", "things"), "a node", reply=True) is losing for _ in range(100)]

    first = lost(1)
    assert 10 < sum(first) < 50
    assert lost(1) == first
    assert lost(2) != first
