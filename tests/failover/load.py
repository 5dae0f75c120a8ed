"""Work that keeps coming while MongoDB fails: asked for until it is acknowledged, noted on disk when it runs."""

from __future__ import annotations

import threading
import time
from collections import Counter
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

from bson import ObjectId
from pymongo import MongoClient, WriteConcern
from pymongo.errors import DuplicateKeyError, PyMongoError

from tests.project import Project

AGAIN = 0.1  # seconds between tries
# On disk: what runs while the database is away is noted all the same.
NOTED = """
class Load(Job):
    schedule = "manual"
    concurrency = 200
    async def run(self, context):
        with open(os.path.dirname(__file__) + "/runs", "a") as runs:
            runs.write(context.run_id + "\\n")
"""


class Load:
    """So many runs a second, asked for in a thread of its own under ids of ours: asking twice is asking once."""

    def __init__(self, project: Project, *, per_second: float, uri: str | None = None) -> None:
        self._project, self._pause = project, 1 / per_second
        self._uri = uri or project.uri
        self._name = project.job("load", NOTED)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._ask, name="load", daemon=True)
        self.acknowledged: list[ObjectId] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Ask for nothing more; returns when the last one is acknowledged."""
        self._stopping.set()
        self._thread.join()

    def unfinished(self) -> int:
        """How many of those that were acknowledged have not come to their end."""
        ended = {"name": self._name, "status": "completed", "lockedAt": {"$exists": False}}
        return len(self.acknowledged) - self._project.jobs.count_documents(ended)

    def claimed_after(self, moment: datetime) -> datetime | None:
        """When the first claim after this moment was made, by MongoDB's clock."""
        claimed = {"name": self._name, "lastRunAt": {"$gt": moment}}
        found = self._project.jobs.find_one(claimed, sort=[("lastRunAt", 1)])
        return found["lastRunAt"] if found else None

    def differences(self) -> list[str]:
        """What is not as it should be, once all has ended: each run once, and each recorded."""
        documents = {document["_id"]: document for document in self._project.jobs.find({"name": self._name})}
        ran = Counter((self._project.root / "jobs" / "runs").read_text().split())
        recorded = Counter(run["jobId"] for run in self._project.runs(self._name, status="completed"))
        found = [f"{id_} was acknowledged and is gone" for id_ in self.acknowledged if id_ not in documents]
        for id_, document in documents.items():
            facts = (document["status"], document["fence"], ran[f"{id_}:1"], recorded[id_])
            if facts != ("completed", 1, 1, 1):
                found.append("{}: {}, fence {}, begun {} times, recorded {} times".format(id_, *facts))
        return found

    def _ask(self) -> None:
        with MongoClient[dict[str, Any]](self._uri, serverSelectionTimeoutMS=2000, socketTimeoutMS=1000) as client:
            jobs = client[self._project.name].get_collection("pulseJobs", write_concern=WriteConcern("majority"))
            while not self._stopping.is_set():
                self._insert(jobs, ObjectId())
                self._stopping.wait(self._pause)

    def _insert(self, jobs: Any, id_: ObjectId) -> None:
        document = {"_id": id_, "name": self._name, "type": "normal", "priority": 0, "status": "queued"}
        while True:
            try:
                jobs.insert_one({**document, "nextRunAt": datetime.now(UTC)})
            except DuplicateKeyError:
                pass  # an earlier try has come through, whatever we were told
            except PyMongoError:
                time.sleep(AGAIN)
                continue
            self.acknowledged.append(id_)
            return
