"""One mongod as a replica set of one: what change streams and transactions need."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from jobserver.embedded.guard import MongodState
from jobserver.embedded.waiting import Deadline
from jobserver.errors import EmbeddedMongoError

if TYPE_CHECKING:
    from pymongo import MongoClient

SET_NAME = "rs0"

_ALREADY_INITIALIZED, _NOT_YET_INITIALIZED = 23, 94
_CONNECT_SECONDS, _ANSWER_MS = 1.0, 3000


def answers(state: MongodState) -> bool:
    """Whether the mongod of that state is reached on its port, and not a stranger who got the port after it."""
    from pymongo.errors import PyMongoError

    if not _is_listening(state.port):
        return False
    try:
        with _connected(state) as client:
            status = client.admin.command("serverStatus", metrics=0, wiredTiger=0, repl=0)
    except PyMongoError:
        return False
    return int(status["pid"]) == state.pid


def make_primary(state: MongodState, deadline: Deadline) -> None:
    """Initiate the set, or move it to a changed port, and wait until its one member accepts writes."""
    from pymongo.errors import PyMongoError

    try:
        with _connected(state) as client:
            while not _is_configured(client, host=f"127.0.0.1:{state.port}"):
                deadline.pause("the embedded MongoDB to read its replica set configuration")
            while not client.admin.command("hello")["isWritablePrimary"]:
                deadline.pause("the embedded MongoDB to become primary")
    except PyMongoError as error:
        raise EmbeddedMongoError(f"the embedded MongoDB at {state.uri} refused to become primary: {error}") from error


def _is_listening(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=_CONNECT_SECONDS).close()
    except OSError:
        return False
    return True


@contextmanager
def _connected(state: MongodState) -> Iterator[MongoClient[dict[str, Any]]]:
    from pymongo import MongoClient

    client: MongoClient[dict[str, Any]] = MongoClient(
        "127.0.0.1",
        state.port,
        directConnection=True,
        serverSelectionTimeoutMS=_ANSWER_MS,
        socketTimeoutMS=_ANSWER_MS,
    )
    try:
        yield client
    finally:
        client.close()


def _is_configured(client: MongoClient[dict[str, Any]], *, host: str) -> bool:
    """Bring the set's configuration to that host; False: mongod is still reading its own, ask again."""
    from pymongo.errors import OperationFailure

    try:
        config = client.admin.command("replSetGetConfig")["config"]
    except OperationFailure as error:
        if error.code != _NOT_YET_INITIALIZED:
            raise
        # A mongod that has a configuration says so too until it has read it. That takes half a minute where something
        # mute has taken the port of the last run: mongod asks there whether that is itself.
        return client.local.system.replset.find_one() is None and _initiate(client, host=host)
    if [member["host"] for member in config["members"]] != [host]:
        config |= {"members": [{"_id": 0, "host": host}], "version": config["version"] + 1}
        # By force: with the old address in its configuration no member of the set is primary.
        client.admin.command("replSetReconfig", config, force=True)
    return True


def _initiate(client: MongoClient[dict[str, Any]], *, host: str) -> bool:
    from pymongo.errors import OperationFailure

    try:
        client.admin.command("replSetInitiate", {"_id": SET_NAME, "members": [{"_id": 0, "host": host}]})
    except OperationFailure as error:
        if error.code != _ALREADY_INITIALIZED:  # it has not yet seen that there is none
            raise
        return False
    return True
