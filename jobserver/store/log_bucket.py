"""Logs of runs in GridFS, written as the driver's own GridFS cannot: a file grows while its run is under way.

A file is one document in `jobLogs.files`, `_id` and `filename` the run's id, and chunks of 64 KiB in `jobLogs.chunks`;
the last chunk is written again with every piece, so its size is the price of reading along. Any GridFS tool reads it.
Chunks are stored before the length that covers them: what a reader is told of is there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from bson import Binary
from pymongo import ASCENDING, IndexModel, UpdateMany, UpdateOne
from pymongo.errors import PyMongoError

from jobserver.errors import DatabaseError
from jobserver.runlogs.bucket import LogPart, Piece
from jobserver.store.connection import Document, SyncDb, SyncJobs, closed, what_mongodb_said
from jobserver.store.expressions import NOW, ago, from_now, literal
from jobserver.store.indexes import create_indexes
from jobserver.store.reader import id_of

CHUNK = 64 * 1024
INDEXED_FOR = 60.0  # seconds; whoever drops the collections takes their indexes along
LOGS = "jobLogs"


class GridFsBucket:
    """A `Bucket`; it connects, and makes its indexes, when the first log comes."""

    grain: int | None = CHUNK

    def __init__(self, connect: Callable[[], SyncDb], *, retention: timedelta) -> None:
        self._connect, self._retention = connect, retention
        self._database: SyncDb | None = None
        self._indexed_until = 0.0

    def append(self, pieces: Sequence[Piece]) -> None:
        """Two bulk commands for all of them."""
        with _storing():
            self._index()
            self._chunks.bulk_write([each for piece in pieces for each in self._chunk_writes(piece)], ordered=False)
            self._files.bulk_write([self._file_write(piece) for piece in pieces], ordered=False)

    def read(self, run: str, start: int, at_most: int) -> LogPart | None:
        """What the length of the file covers."""
        with _storing():
            file = self._files.find_one({"_id": run}, {"length": 1, "chunkSize": 1, "metadata": 1})
            if file is None:
                return None
            length, size = int(file.get("length") or 0), int(file.get("chunkSize") or CHUNK)
            end = min(length, start + at_most)
            data = self._bytes(run, size, start, end) if start < end else b""
        ended = bool((file.get("metadata") or {}).get("ended"))
        return LogPart(data=data, ended=ended and start + len(data) >= length)

    def sweep(self) -> None:
        """Ended logs go by the TTL indexes; here those that nobody has ended: their machine has never come back."""
        if self._database is None:
            return
        with _storing():
            old = {"metadata.ended": False, "$expr": {"$lt": ["$uploadDate", ago(self._retention)]}}
            for file in self._files.find(old, {"_id": 1}):
                self._chunks.delete_many({"files_id": file["_id"]})
                self._files.delete_one({"_id": file["_id"]})

    def close(self) -> None:
        """Disconnect, where it has connected."""
        if self._database is not None:
            closed(self._database.client)

    @property
    def _files(self) -> SyncJobs:
        return self._db[f"{LOGS}.files"]

    @property
    def _chunks(self) -> SyncJobs:
        return self._db[f"{LOGS}.chunks"]

    @property
    def _db(self) -> SyncDb:
        if self._database is None:
            self._database = self._connect()
        return self._database

    def _index(self) -> None:
        if time.monotonic() >= self._indexed_until:
            create_indexes(self._files, file_indexes())
            create_indexes(self._chunks, chunk_indexes())
            self._indexed_until = time.monotonic() + INDEXED_FOR

    def _chunk_writes(self, piece: Piece) -> Iterator[UpdateOne | UpdateMany]:
        run = piece.facts.run
        for position in range(0, len(piece.data), CHUNK):
            number = (piece.start + position) // CHUNK
            data = Binary(piece.data[position : position + CHUNK])
            change = {"$set": {"data": literal(data), **self._end(piece)}}
            yield UpdateOne({"files_id": run, "n": number}, [change], upsert=True)
        if piece.ended and piece.start:
            yield UpdateMany({"files_id": run, "n": {"$lt": piece.start // CHUNK}}, [{"$set": self._end(piece)}])

    def _file_write(self, piece: Piece) -> UpdateOne:
        facts = piece.facts
        told = {
            "filename": literal(facts.run),
            "length": piece.start + len(piece.data),
            "chunkSize": CHUNK,
            "uploadDate": NOW,
            "metadata": literal(
                {"job": facts.job, "jobId": id_of(facts.job_id), "server": facts.server, "ended": piece.ended}
            ),
            **self._end(piece),
        }
        return UpdateOne({"_id": facts.run}, [{"$set": told}], upsert=True)

    def _end(self, piece: Piece) -> Document:
        """Retention counts from the end of the run: what a run of months said first is there as long as the rest."""
        return {"expireAt": from_now(self._retention)} if piece.ended else {}

    def _bytes(self, run: str, size: int, start: int, end: int) -> bytes:
        first, last = start // size, (end - 1) // size
        which: Any = {"files_id": run, "n": {"$gte": first, "$lte": last}}
        data = b"".join(bytes(chunk["data"]) for chunk in self._chunks.find(which).sort("n", ASCENDING))
        return data[start - first * size : end - first * size]


def file_indexes() -> list[IndexModel]:
    """Those of every GridFS tool, and the end of retention."""
    return [
        IndexModel([("filename", ASCENDING), ("uploadDate", ASCENDING)]),
        # sweep: the few that have not ended
        IndexModel([("metadata.ended", ASCENDING)], name="live", partialFilterExpression={"metadata.ended": False}),
        IndexModel([("expireAt", ASCENDING)], name="retention", expireAfterSeconds=0),
    ]


def chunk_indexes() -> list[IndexModel]:
    """Those of every GridFS tool, and the end of retention."""
    return [
        IndexModel([("files_id", ASCENDING), ("n", ASCENDING)], unique=True),
        IndexModel([("expireAt", ASCENDING)], name="retention", expireAfterSeconds=0),
    ]


@contextmanager
def _storing() -> Iterator[None]:
    try:
        yield
    except PyMongoError as error:
        raise DatabaseError(f"run logs are out of reach: {what_mongodb_said(error)}") from error
