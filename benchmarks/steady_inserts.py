"""Another process that asks for jobs at a steady pace, one at a time.

    python -m benchmarks.steady_inserts URI DATABASE JOB PER_SECOND SECONDS

Prints, for each job in order, the moments (ns) just before it was asked for and just after MongoDB had it.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from pymongo import MongoClient

from jobserver import SyncJobClient


def insert_steadily(client: SyncJobClient, job: str, *, per_second: float, seconds: float) -> list[tuple[int, int]]:
    """Keeps to a timetable: one slow insert does not move the others."""
    client.enqueue(job, {"number": -1})  # the first one also asks for the time and for the job's priority
    began = time.monotonic()
    moments = []
    for number in range(round(per_second * seconds)):
        time.sleep(max(0.0, began + number / per_second - time.monotonic()))
        sent = time.time_ns()
        client.enqueue(job, {"number": number})
        moments.append((sent, time.time_ns()))
    return moments


def main(uri: str, database: str, job: str, per_second: str, seconds: str) -> None:
    """Print the moments."""
    with MongoClient[dict[str, Any]](uri) as client:
        jobs = SyncJobClient(client[database])
        print(json.dumps(insert_steadily(jobs, job, per_second=float(per_second), seconds=float(seconds))))


if __name__ == "__main__":
    main(*sys.argv[1:])
