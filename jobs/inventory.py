"""Records every Python distribution that is installed on this machine, in the collection `inventory`.

Idempotent: a run that starts again half-way writes the same documents again. What is gone is removed at the end.
"""

from datetime import timedelta
from importlib.metadata import Distribution, distributions
from typing import Any

from pymongo import UpdateOne

from jobserver import Job

BATCH = 20


class Inventory(Job):
    schedule = timedelta(seconds=30)

    def run(self, db: Any, progress: Any, context: Any, log: Any) -> dict[str, int]:
        found = sorted(distributions(), key=lambda each: each.metadata["Name"].lower())
        for start in range(0, len(found), BATCH):
            batch = found[start : start + BATCH]
            db.inventory.bulk_write([self.upsert(each, context.idempotency_key) for each in batch], ordered=False)
            progress(len(found), start + len(batch), f"recorded up to {batch[-1].metadata['Name']}")
        gone = db.inventory.delete_many({"seenBy": {"$ne": context.idempotency_key}}).deleted_count
        log.info("inventory recorded", {"distributions": len(found), "removed": gone})
        return {"distributions": len(found), "removed": gone}

    def upsert(self, distribution: Distribution, seen_by: str) -> UpdateOne:
        name = distribution.metadata["Name"]
        facts = {
            "version": distribution.version,
            "summary": distribution.metadata.get("Summary", ""),
            "requires": distribution.requires or [],
            "seenBy": seen_by,
        }
        return UpdateOne({"_id": name}, {"$set": facts}, upsert=True)
