"""The SHA-256 of every source file of the standard library, in the collection `fingerprints`.

Shows a long run on a short lock: the lock lives ten seconds, the run longer, for each progress report extends it.
A run that is stopped half-way goes on where it was.
"""

import asyncio
import hashlib
import sysconfig
from datetime import timedelta
from pathlib import Path
from typing import Any

from pymongo import UpdateOne

from jobserver import Job

BATCH = 25
REST = 0.2  # seconds between batches: this job is in no hurry, and leaves the disk to others


class Fingerprint(Job):
    schedule = "now"
    lock_lifetime = timedelta(seconds=10)

    async def run(self, db: Any, progress: Any) -> dict[str, int]:
        files = await asyncio.to_thread(self.source_files)  # walking a tree blocks, and the event loop is shared
        done = set(await db.fingerprints.distinct("_id"))
        waiting = [path for path in files if str(path) not in done]
        for start in range(0, len(waiting), BATCH):
            batch = waiting[start : start + BATCH]
            await db.fingerprints.bulk_write(await asyncio.to_thread(self.fingerprints, batch), ordered=False)
            recorded = len(files) - len(waiting) + start + len(batch)
            await progress(len(files), recorded, f"{recorded} of {len(files)} files")
            await asyncio.sleep(REST)
        return {"files": len(files), "new": len(waiting)}

    def source_files(self) -> list[Path]:
        library = Path(sysconfig.get_path("stdlib"))
        return sorted(path for path in library.rglob("*.py") if "site-packages" not in path.parts)

    def fingerprints(self, paths: list[Path]) -> list[UpdateOne]:
        digests = ((path, hashlib.sha256(path.read_bytes()).hexdigest()) for path in paths)
        return [UpdateOne({"_id": str(path)}, {"$set": {"sha256": digest}}, upsert=True) for path, digest in digests]
