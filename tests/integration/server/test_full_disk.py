"""A MongoDB whose disk is really full: it dies, comes back when there is room, and no accepted job is lost."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo.errors import PyMongoError

from jobserver import SyncJobClient
from jobserver.errors import JobServerError
from tests.own_mongo import OwnMongo
from tests.project import Project, until

DISK = 450  # megabytes: what the journal of MongoDB takes, and some room
BLOCK = b"\0" * 2**20
ACCEPTED_BEFORE, ACCEPTED_AFTER = 20, 20
FILLING = {"text": "x" * 200_000}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK}m", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("only root may mount a small disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def mongo_folder(disk: Path) -> Path:
    """On that disk."""
    return disk / "mongo"


def fill(ballast: Path) -> None:
    """Until nothing fits any more."""
    with ballast.open("wb", buffering=0) as out:
        try:
            while out.write(BLOCK):
                os.fsync(out.fileno())
        except OSError:
            return


def accepted(client: SyncJobClient, name: str, count: int, **data: Any) -> list[Any]:
    """The ids that a client was given, until so many or until MongoDB has had enough."""
    ids = []
    try:
        while len(ids) < count:
            ids.append(client.enqueue(name, {"number": len(ids), **data}))
    except (JobServerError, PyMongoError):
        return ids
    return ids


async def test_a_disk_that_is_full_loses_no_accepted_job(own_project: Project, own_mongo: OwnMongo, disk: Path) -> None:
    project, mongo = own_project, own_mongo
    name = project.job("noted")
    process = await project.process().started()
    client = SyncJobClient(project.db)
    ids = accepted(client, name, ACCEPTED_BEFORE)
    await asyncio.to_thread(fill, disk / "ballast")
    ids += await asyncio.to_thread(accepted, client, name, 10_000, **FILLING)
    await until(lambda: mongo.has_ended, within=60)
    (disk / "ballast").unlink()
    mongo.end()
    await asyncio.to_thread(mongo.start)
    ids += await until(lambda: accepted(client, name, ACCEPTED_AFTER), within=60)
    completed = {"_id": {"$in": ids}, "status": "completed"}
    await until(lambda: project.jobs.count_documents(completed) == len(ids), within=60)
    assert ACCEPTED_BEFORE + ACCEPTED_AFTER <= len(ids) < 10_000
    assert process.code is None
