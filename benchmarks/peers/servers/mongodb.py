"""A database of our own on a real mongod."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pymongo
from pymongo.errors import PyMongoError

from benchmarks.peers.result import LeftOut
from benchmarks.peers.servers.server import Server, data_folder


@contextmanager
def mongodb(uri: str | None) -> Iterator[Server]:
    """On the server at `uri`, else on an embedded one; the database is dropped in the end."""
    if uri is not None:
        with _own_database(uri) as server:
            yield server
        return
    from jobserver.embedded import EmbeddedMongo

    with (
        data_folder("mongodb") as folder,
        closing(EmbeddedMongo.start(folder)) as embedded,
        _own_database(embedded.uri) as server,
    ):
        yield server


@contextmanager
def _own_database(uri: str) -> Iterator[Server]:
    name = f"bench_peers_{uuid4().hex}"
    try:
        with pymongo.MongoClient[dict[str, Any]](uri) as client:
            description = _description(client)
            try:
                yield Server(url=_with_database(uri, name), description=description)
            finally:
                client.drop_database(name)
    except PyMongoError as error:
        raise LeftOut(f"MongoDB refused or went away: {str(error)[:200]}") from error


def _description(client: pymongo.MongoClient[dict[str, Any]]) -> str:
    replicated = "setName" in client.admin.command("hello")
    promise = "majority writes, journaled" if replicated else "standalone, acknowledged writes"
    return f"MongoDB {client.server_info()['version']}, {promise}"


def _with_database(uri: str, name: str) -> str:
    parts = urlsplit(uri)
    query = parts.query
    if "@" in parts.netloc and "authSource=" not in query:  # the path would now say where the user is defined
        query = f"{query}&authSource={parts.path.strip('/') or 'admin'}"
    return parts._replace(path=f"/{name}", query=query.lstrip("&")).geturl()
