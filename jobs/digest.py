"""One digest over the whole inventory, so that two machines can be compared at a glance.

Shows retrying: the first two attempts act as if the inventory were still being written, the third one succeeds.
"""

import hashlib
from typing import Any

from jobserver import Job, Retry, RetryableError


class Digest(Job):
    schedule = "* * * * *"
    retry = Retry(attempts=3, delay="2 seconds", backoff="exponential", factor=2)

    async def run(self, db: Any, context: Any) -> dict[str, Any]:
        if context.attempt < 3:
            raise RetryableError(f"the inventory is still being written (attempt {context.attempt})")
        digest, count = hashlib.sha256(), 0
        async for entry in db.inventory.find({}, {"version": 1}).sort("_id"):
            digest.update(f"{entry['_id']} {entry['version']}\n".encode())
            count += 1
        return {"distributions": count, "sha256": digest.hexdigest()}
