"""Looks for prime numbers until somebody has had enough: `jobserver run api:primes`, then `jobserver cancel`.

Shows a run that listens: it looks at `context.cancelled` now and then, stores what it has found and ends at once.
Without that it would be interrupted after half of `cancel_grace`. The next run goes on where this one has stopped.
"""

from typing import Any

from jobserver import Job, JobCancelled

BETWEEN_LOOKS = 20_000
ENOUGH = 10**9


class Primes(Job):
    schedule = "manual"
    max_execution_time = "1 hour"

    def run(self, db: Any, context: Any, progress: Any) -> dict[str, int]:
        known = db.primes.find_one({"_id": "largest"}) or {"value": 2}
        largest, looked_at = known["value"], known["value"]
        while looked_at < ENOUGH:
            block = range(looked_at + 1, looked_at + BETWEEN_LOOKS)
            largest = max(filter(is_prime, block), default=largest)
            looked_at = block[-1]
            db.primes.update_one({"_id": "largest"}, {"$set": {"value": largest}}, upsert=True)
            if context.cancelled:
                raise JobCancelled(f"stopped at {largest:,}")
            progress(ENOUGH, looked_at, f"{largest:,} is prime")
        return {"largest": largest}


def is_prime(number: int) -> bool:
    """By trial division: slow on purpose."""
    return number > 1 and all(number % divisor for divisor in range(2, int(number**0.5) + 1))
