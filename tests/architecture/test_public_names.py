"""The public names, pinned: others build on them."""

from __future__ import annotations

import subprocess
import sys

import jobserver
import jobserver.testing

PUBLIC = [
    "DstPolicy",
    "FatalError",
    "Job",
    "JobCancelled",
    "JobClient",
    "JobContext",
    "JobServer",
    "JobServerError",
    "Limits",
    "LockLost",
    "Misfire",
    "Priority",
    "Retry",
    "RetryableError",
    "Schedule",
    "SyncJobClient",
    "Task",
    "validate_config",
]


def test_the_public_names_are_these_and_sorted() -> None:
    assert jobserver.__all__ == PUBLIC == sorted(PUBLIC, key=str.lower)


def test_every_public_name_is_there() -> None:
    assert all(getattr(jobserver, name).__name__ == name for name in PUBLIC)


def test_a_name_that_is_not_public_is_refused() -> None:
    assert not hasattr(jobserver, "Nonsense")


def test_the_public_names_of_the_kit_for_tests_are_these() -> None:
    names = ["AsyncTimeline", "ProgressReport", "Status", "SyncTimeline", "VirtualJobs", "VirtualRun"]
    assert jobserver.testing.__all__ == names


def test_importing_what_a_job_file_needs_loads_no_database_driver() -> None:
    program = (
        "import sys\n"
        "from jobserver import DstPolicy, FatalError, Job, JobCancelled, Misfire, Priority, Retry, RetryableError\n"
        "from jobserver import Schedule\n"
        "assert not {'pymongo', 'bson', 'motor', 'pydantic'} & set(sys.modules), sorted(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
