"""Removes what the example jobs have written into the folder of temporary files more than a day ago.

Shows how a script becomes a job: `scripts/tidy.py` knows nothing of jobserver and runs by itself, too.
"""

from jobserver import Job


class Tidy(Job):
    schedule = "every day at 3:00"
    run = "scripts/tidy.py"
    max_execution_time = "5 minutes"
