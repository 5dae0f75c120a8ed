"""Which settings, which MongoDB: what a command needs before it can ask anything."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pymongo
from pymongo import MongoClient
from pymongo.errors import ConfigurationError, OperationFailure, PyMongoError

from jobserver.cli.options import Where
from jobserver.embedded import running_uri
from jobserver.errors import DatabaseError, SettingsError
from jobserver.settings import Settings, load_settings, without_credentials
from jobserver.store.collections import CollectionNames
from jobserver.store.connection import Document, SyncDb, sync_client
from jobserver.store.reader import Reader

PATIENCE = 4.5  # seconds: a command that finds no MongoDB says so within five


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """An open database and the settings that led to it."""

    settings: Settings
    uri: str
    database: SyncDb
    names: CollectionNames
    reader: Reader


@contextmanager
def session(where: Where) -> Iterator[Session]:
    """Open the database. Raises SettingsError, or DatabaseError that says how to come by a MongoDB."""
    settings = load_settings(where.config, flags=where.flags)
    uri = known_uri(settings)
    if uri is None:
        raise DatabaseError(
            f"no MongoDB is known for {settings.project.root}: `jobserver start` brings one, or set mongodb.uri in "
            "config.yaml, JOBSERVER_MONGODB__URI or --mongodb-uri"
        )
    with connected(uri) as client:
        names = CollectionNames(jobs=settings.runner.config.db.collection)
        database = client[settings.mongodb.database]
        yield Session(settings=settings, uri=uri, database=database, names=names, reader=Reader(database, names))


def known_uri(settings: Settings) -> str | None:
    """The configured MongoDB, else the project's embedded one if it runs."""
    return settings.mongodb.uri or running_uri(settings.project.data_dir)


@contextmanager
def connected(uri: str) -> Iterator[MongoClient[Document]]:
    """A client whose MongoDB has answered. Raises SettingsError for a bad URI, DatabaseError when nothing answers."""
    with _client(uri) as client:
        try:
            with pymongo.timeout(PATIENCE):
                client.admin.command("ping")
        except OperationFailure as error:
            raise DatabaseError(f"MongoDB at {without_credentials(uri)} refuses: {error.details or error}") from error
        except PyMongoError as error:
            raise DatabaseError(f"MongoDB at {without_credentials(uri)} does not answer: {_brief(error)}") from error
        yield client


def _client(uri: str) -> MongoClient[Document]:
    try:
        return sync_client(uri, app_name="jobserver-cli")
    except (ConfigurationError, ValueError) as error:
        raise SettingsError("mongodb.uri", f"{without_credentials(uri)} cannot be used: {error}") from None


def _brief(error: PyMongoError) -> str:
    """Without the driver's description of the whole topology."""
    return re.split(r" \(configured timeouts|, Timeout: |, topology description", str(error), maxsplit=1, flags=re.I)[0]
