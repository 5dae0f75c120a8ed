"""The stores on a test's own database, and the documents that people, clients and servers put into it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient, WriteConcern
from pymongo.database import Database

from jobserver.store.chains import ChainStore
from jobserver.store.claims import ClaimStore
from jobserver.store.codec import CODEC
from jobserver.store.collections import CollectionNames
from jobserver.store.configs import ConfigStore
from jobserver.store.connection import AsyncJobs, async_client, deciding, deciding_sync
from jobserver.store.documents import ABSENT, ClaimedJob, ErrorRecord, Lane, Settlement
from jobserver.store.edits import Editor
from jobserver.store.indexes import PRIORITY_FIRST, ensure_indexes
from jobserver.store.jobs import JobStore
from jobserver.store.locks import LockStore
from jobserver.store.servers import Identity, ServerStore
from jobserver.store.states import Transition
from jobserver.store.strays import StrayStore

NAMES = CollectionNames()
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
FAR_AHEAD = datetime(2100, 1, 1, tzinfo=UTC)
LIFETIME = timedelta(minutes=10)
RETENTION, FAILED_RETENTION = timedelta(days=2), timedelta(days=20)
LOCK_FIELDS = {"lockToken", "lockedAt", "lockedBy", "lockUntil", "globalSlot"}


class Store(JobStore):
    """What a server has of the jobs collection: one part claims, the other settles."""

    def __init__(self, collection: AsyncJobs) -> None:
        super().__init__(collection, retention=RETENTION, failed_retention=FAILED_RETENTION)
        self.claims = ClaimStore(collection, sort=PRIORITY_FIRST)


class Workplace:
    """One database with its indexes, looked at from outside, and the stores that work on it."""

    def __init__(self, uri: str, database: Database[dict[str, Any]]) -> None:
        self.uri, self.db = uri, (database := database.with_options(codec_options=CODEC))
        self.jobs, self.configs = database[NAMES.jobs], database[NAMES.configs]
        self.runs, self.servers = database[NAMES.runs], database[NAMES.servers]
        self.history = database[NAMES.history]
        ensure_indexes(deciding_sync(database), NAMES)

    def clear(self) -> None:
        """Take every document away."""
        for name in (NAMES.jobs, NAMES.configs, NAMES.history, NAMES.runs, NAMES.servers):
            self.db[name].delete_many({})

    def put(self, **fields: Any) -> Any:
        """Insert one job document that is due unless it says otherwise; returns its id."""
        return self.jobs.insert_one({"name": "job", "nextRunAt": LONG_AGO, **fields}).inserted_id

    def put_many(self, count: int, **fields: Any) -> list[Any]:
        """Insert so many alike."""
        documents = [{"name": "job", "nextRunAt": LONG_AGO, **fields} for _ in range(count)]
        return list(self.jobs.insert_many(documents).inserted_ids)

    def get(self, id_: Any) -> dict[str, Any]:
        """The job document as it stands."""
        found = self.jobs.find_one({"_id": id_})
        assert found is not None
        return found

    def raw(self, id_: Any) -> bytes:
        """The job document byte for byte."""
        options: CodecOptions[RawBSONDocument] = CodecOptions(document_class=RawBSONDocument)
        found = self.jobs.with_options(options).find_one({"_id": id_})
        assert found is not None
        return bytes(found.raw)

    def now(self) -> datetime:
        """MongoDB's clock."""
        told: datetime = self.db.command("hello", codec_options=self.jobs.codec_options)["localTime"]
        return told

    def locks(self, client: MongoClient[dict[str, Any]] | None = None) -> LockStore:
        """The reaper's store, on a client of its own if there is one."""
        chores = deciding_sync(self.db if client is None else client[self.db.name].with_options(codec_options=CODEC))
        return LockStore(jobs=chores[NAMES.jobs], runs=chores[NAMES.runs], servers=chores[NAMES.servers])

    def strays(self) -> StrayStore:
        """The store that mends what others have left."""
        return StrayStore(jobs=deciding_sync(self.db)[NAMES.jobs])

    def chains(self) -> ChainStore:
        """The store that brings on what starts after other documents."""
        chores = deciding_sync(self.db)
        here = {"server": lambda: "this server", "retention": RETENTION}
        return ChainStore(jobs=chores[NAMES.jobs], runs=chores[NAMES.runs], **here)

    def editor(self) -> Editor:
        """A person's commands."""
        return Editor(self.db, NAMES, by="a test")

    def register(self, id_: str, *, lease: timedelta = timedelta(minutes=1), **facts: Any) -> None:
        """Give a server a lease of this length; a negative one is over."""
        supervisor, pid = facts.get("supervisor"), facts.get("pid", 1)
        identity = Identity(id=id_, host="here", pid=pid, version="1", supervisor=supervisor)
        ServerStore(deciding_sync(self.db)[NAMES.servers], lease=lease).register(identity, {})

    @asynccontextmanager
    async def store(
        self, *, uri: str | None = None, app_name: str = "jobserver", instead: WriteConcern | None = None
    ) -> AsyncIterator[Store]:
        """A server's view of the jobs collection, on a client of its own; `instead` of a majority is what none has."""
        async with async_client(uri or self.uri, app_name=app_name) as client:
            jobs = deciding(client[self.db.name])[NAMES.jobs]
            yield Store(jobs if instead is None else jobs.with_options(write_concern=instead))

    @asynccontextmanager
    async def several(self, count: int) -> AsyncIterator[list[Store]]:
        """So many servers' views at once."""
        async with AsyncExitStack() as stack:
            yield [await stack.enter_async_context(self.store()) for _ in range(count)]

    @asynccontextmanager
    async def config_stores(self, count: int = 1) -> AsyncIterator[list[ConfigStore]]:
        """So many servers' views of the configurations."""
        async with AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(async_client(self.uri)) for _ in range(count)]
            databases = [deciding(client[self.db.name]) for client in clients]
            yield [ConfigStore(configs=each[NAMES.configs], history=each[NAMES.history]) for each in databases]


def lane(
    name: str = "job", limit: int = 1000, *, lifetime: timedelta = LIFETIME, everywhere: int | None = None
) -> Lane:
    """A share of a claim."""
    return Lane(name=name, limit=limit, lock_lifetime=lifetime, global_limit=everywhere)


async def claim(
    store: Store,
    *lanes: Lane,
    limit: int = 1000,
    owner: str = "this server",
    token: str | None = None,
    ahead: bool = False,
) -> list[ClaimedJob]:
    """Lock and read back, with a token of its own; without lanes, whatever is named `job`."""
    token = token or uuid4().hex
    locked = await store.claims.lock(lanes or [lane()], limit=limit, token=token, owner=owner, ahead=ahead)
    return await store.claims.read(locked) if locked.locked else []


async def claim_one(store: Store, *lanes: Lane, **how: Any) -> ClaimedJob:
    """Claim, and exactly one is due."""
    (job,) = await claim(store, *lanes, **how)
    return job


def ending(
    job: ClaimedJob, transition: Transition, *, error: str | None = None, stack: str = "", **facts: Any
) -> Settlement:
    """How the run of this claim came to its end."""
    record = None if error is None else ErrorRecord(message=error, stack=stack)
    return Settlement(job=job, transition=transition, duration=timedelta(milliseconds=5), error=record, **facts)


def completed(job: ClaimedJob, result: Any = ABSENT, **facts: Any) -> Settlement:
    """It went well."""
    return ending(job, Transition.COMPLETE, result=result, **facts)


def failed(job: ClaimedJob, error: str = "broken", **facts: Any) -> Settlement:
    """It failed for good."""
    return ending(job, Transition.FAIL, error=error, **facts)


def to_retry(job: ClaimedJob, after: timedelta = timedelta(minutes=1), **facts: Any) -> Settlement:
    """It failed and is tried again."""
    return ending(job, Transition.RETRY, error=facts.pop("error", "broken"), retry_in=after, **facts)


def ids(jobs: Sequence[ClaimedJob]) -> list[Any]:
    """Which documents these claims are of."""
    return [job.id for job in jobs]


def locks_in(document: Mapping[str, Any]) -> set[str]:
    """Which fields of a lock it carries."""
    return LOCK_FIELDS & set(document)
