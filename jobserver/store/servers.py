"""The leases: one document per live server in `jobServers`, renewed on MongoDB's clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

from pymongo import ReturnDocument
from pymongo.errors import PyMongoError

from jobserver.errors import DatabaseError
from jobserver.store.connection import Document, SyncJobs, what_mongodb_said
from jobserver.store.expressions import NOW, from_now, literal

LEASE = timedelta(seconds=30)
GRACE = LEASE / 6  # a lease counts as over only this long after its end


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who a server says it is; `id` is new for every registration, so a dead one's locks are never mistaken."""

    id: str
    host: str
    pid: int
    version: str
    supervisor: str | None = None


class ServerStore:
    """Registers a server, renews its lease, ends it. Raises DatabaseError when MongoDB is away."""

    def __init__(self, collection: SyncJobs, *, lease: timedelta = LEASE) -> None:
        self._servers = collection
        self._lease = lease

    def register(self, identity: Identity, facts: Mapping[str, Any]) -> datetime:
        """Take a lease; returns the server's now."""
        fixed = {
            "host": identity.host,
            "pid": identity.pid,
            "version": identity.version,
            **({"supervisor": identity.supervisor} if identity.supervisor else {}),
        }
        changes = {**literals(fixed), "startedAt": NOW, **literals(facts)}
        return cast(datetime, self._write(identity.id, changes, upsert=True))

    def renew(self, id_: str, facts: Mapping[str, Any]) -> datetime | None:
        """Prolong the lease from now and refresh what it says; None when the lease was taken away."""
        return self._write(id_, literals(facts), upsert=False)

    def end(self, id_: str) -> None:
        """Sign off: nothing of it is held any more."""
        try:
            self._servers.delete_one({"_id": id_})
        except PyMongoError as error:
            raise DatabaseError(f"server {id_} could not sign off: {what_mongodb_said(error)}") from error

    def _write(self, id_: str, changes: Document, *, upsert: bool) -> datetime | None:
        change = {**changes, "heartbeatAt": NOW, "leaseUntil": from_now(self._lease)}
        try:
            found = self._servers.find_one_and_update(
                {"_id": id_}, [{"$set": change}], upsert=upsert, return_document=ReturnDocument.AFTER
            )
        except PyMongoError as error:
            raise DatabaseError(f"the lease of {id_} could not be renewed: {what_mongodb_said(error)}") from error
        return cast(datetime, found["heartbeatAt"]) if found else None


def literals(facts: Mapping[str, Any]) -> Document:
    """Facts as values, whatever they contain."""
    return {key: literal(value) for key, value in facts.items()}
