"""Notes that it ran, under the name of its one-off."""

from typing import Any

from jobserver import Job


class Once(Job):
    schedule = "manual"

    async def run(self, db: Any, context: Any) -> None:
        await db.ran.insert_one({"name": context.name, "fence": context.fence})
