"""The machine's load, every five seconds, in the collection `machineLoad`; an hour of it is kept."""

import os
from datetime import UTC, datetime, timedelta
from typing import Any

from jobserver import Job

KEPT = timedelta(hours=1)


class Load(Job):
    schedule = "*/5 * * * * *"  # six fields: seconds first

    async def run(self, db: Any) -> dict[str, float]:
        one, five, fifteen = os.getloadavg()
        now = datetime.now(UTC)
        await db.machineLoad.insert_one({"at": now, "one": one, "five": five, "fifteen": fifteen})
        await db.machineLoad.delete_many({"at": {"$lt": now - KEPT}})
        return {"one": one}
