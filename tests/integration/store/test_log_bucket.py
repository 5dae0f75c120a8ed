"""Logs of runs in GridFS, as any GridFS tool and MongoDB itself see them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bson import ObjectId
from gridfs import GridFSBucket
from pymongo.database import Database
from structlog.testing import capture_logs

from jobserver.errors import DatabaseError
from jobserver.execution.run_log import RunLog
from jobserver.runlogs import Piece, RunFacts
from jobserver.store.connection import sync_client
from jobserver.store.log_bucket import CHUNK, GridFsBucket
from tests.faults import failing
from tests.run_logs import Speaking, has_ended, keeping, messages, until

pytestmark = pytest.mark.timeout(30)

Db = Database[dict[str, Any]]
DAYS = timedelta(days=3)
ID = "6740c2f09b1e8a5d3c7f1a20"
FACTS = RunFacts(run=f"{ID}:3", job="api:report", job_id=ID, server="here")


def piece(data: bytes, *, start: int = 0, ended: bool) -> Piece:
    return Piece(facts=FACTS, start=start, data=data, ended=ended)


def a_bucket(db: Db) -> GridFsBucket:
    return GridFsBucket(lambda: db, retention=DAYS)


def test_the_drivers_own_gridfs_reads_a_log_that_grew(db: Db) -> None:
    bucket, data = a_bucket(db), b"0123456789\n" * 20_000
    bucket.append([piece(data[:100], ended=False)])
    bucket.append([piece(data[: CHUNK + 5], ended=False)])
    bucket.append([piece(data[CHUNK:], start=CHUNK, ended=True)])
    theirs = GridFSBucket(db, "jobLogs")
    assert theirs.open_download_stream_by_name(FACTS.run).read() == data
    (file,) = theirs.find({"metadata.jobId": ObjectId(ID)})
    assert (file.filename, file.length, file.chunk_size) == (FACTS.run, len(data), CHUNK)
    assert file.metadata == {"job": "api:report", "jobId": ObjectId(ID), "server": "here", "ended": True}


def test_retention_counts_from_the_end_for_the_first_chunk_as_for_the_last(db: Db) -> None:
    bucket = a_bucket(db)
    bucket.append([piece(b"x" * 2 * CHUNK, ended=False)])
    assert db["jobLogs.chunks"].count_documents({"expireAt": {"$exists": True}}) == 0
    bucket.append([piece(b"x" * CHUNK, start=2 * CHUNK, ended=True)])
    ends = [each["expireAt"] for name in ("files", "chunks") for each in db[f"jobLogs.{name}"].find()]
    assert len(ends) == 4
    assert all(abs(each - datetime.now(UTC) - DAYS) < timedelta(minutes=1) for each in ends)


def test_what_is_past_its_retention_is_removed_by_mongodb(db: Db) -> None:
    a_bucket(db).append([piece(b"x", ended=True)])
    for name in ("files", "chunks"):
        index = db[f"jobLogs.{name}"].index_information()["retention"]
        assert (index["key"], index["expireAfterSeconds"]) == ([("expireAt", 1)], 0)
    assert db["jobLogs.chunks"].index_information()["files_id_1_n_1"]["unique"]


def test_the_log_of_a_run_that_nobody_ended_is_swept_after_its_retention(db: Db) -> None:
    bucket = a_bucket(db)
    bucket.append([piece(b"x" * 2 * CHUNK, ended=False)])
    bucket.sweep()
    assert bucket.read(FACTS.run, 0, 10) is not None
    db["jobLogs.files"].update_one({}, {"$set": {"uploadDate": datetime.now(UTC) - 2 * DAYS}})
    bucket.sweep()
    assert bucket.read(FACTS.run, 0, 10) is None
    assert db["jobLogs.chunks"].count_documents({}) == 0


def test_a_mongodb_that_is_away_is_an_error_of_ours(db: Db, mongo_uri: str) -> None:
    with (
        failing(db.client, "update", "find", errorCode=91) as app_name,
        sync_client(mongo_uri, app_name=app_name) as client,
    ):
        bucket = GridFsBucket(lambda: client[db.name], retention=DAYS)
        with pytest.raises(DatabaseError, match="run logs are out of reach"):
            bucket.append([piece(b"x", ended=True)])
        with pytest.raises(DatabaseError, match="run logs are out of reach"):
            bucket.read(FACTS.run, 0, 10)


def test_logs_wait_here_while_mongodb_fails_and_are_all_there_afterwards(db: Db, mongo_uri: str, tmp_path: Any) -> None:
    with capture_logs() as told, failing(db.client, "update", errorCode=91) as app_name:
        client = sync_client(mongo_uri, app_name=app_name)
        with keeping(tmp_path, bucket=GridFsBucket(lambda: client[db.name], retention=DAYS)) as logs:
            RunLog(run := Speaking(logs)).info("one")
            run.sink.end()
            until(lambda: [each for each in told if each["event"] == "run logs not shipped"])
            assert list((tmp_path / "spool").rglob("*.jsonl"))
            db.client.admin.command({"configureFailPoint": "failCommand", "mode": "off"})
            until(lambda: has_ended(a_bucket(db)))
            until(lambda: not list((tmp_path / "spool").rglob("*.jsonl")))
    assert messages(a_bucket(db)) == ["one"]
