"""Fails when a disk is nearly full, every fifteen minutes.

Shows how a script becomes a job: `scripts/disk_space.py` knows nothing of jobserver and runs by itself, too.
"""

from jobserver import Job


class DiskSpace(Job):
    schedule = "every 15 minutes"
    run = "scripts/disk_space.py"
    max_execution_time = "1 minute"
