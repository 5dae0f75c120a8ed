"""Runs until it is enough."""

import asyncio
from typing import Any

from jobserver import Job


class Waits(Job):
    schedule = "manual"

    async def run(self, db: Any) -> None:
        while await db.enough.find_one() is None:
            await asyncio.sleep(0.05)
