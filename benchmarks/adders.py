"""`python -m benchmarks.adders URI DATABASE COUNT`: two threads add the same one-offs, each name once."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pymongo import MongoClient

from jobserver import AlreadyAdded, SyncJobClient

THREADS = 2


def add(uri: str, database: str, count: int) -> int:
    """How many of these names this thread was the first to add."""
    with MongoClient[dict[str, Any]](uri) as mongo:
        client, first = SyncJobClient(mongo[database]), 0
        for number in range(count):
            try:
                client.add_one_off_job(name=f"one-off {number}", job="api:once")
                first += 1
            except AlreadyAdded:
                continue
        return first


if __name__ == "__main__":
    uri, database, count = sys.argv[1:]
    with ThreadPoolExecutor(THREADS) as threads:
        print(sum(threads.map(lambda _: add(uri, database, int(count)), range(THREADS))))
