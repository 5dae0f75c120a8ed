"""Tell how much space is left: `python disk_space.py`, or as the job `api:disk_space`.

What it prints is the log of the run, and its exit code is how the run ends: 0 completed, 100 cancelled, others failed.
"""

import json
import os
import shutil
import sys

LEAST_PERCENT = 5

# As a job it may be told where to look: jobserver run api:disk_space --data '{"folder": "/var", "least_percent": 10}'
told = json.loads(os.environ.get("JOBSERVER_DATA", "{}"))
folder, least = told.get("folder", "/"), told.get("least_percent", LEAST_PERCENT)

usage = shutil.disk_usage(folder)
percent = round(100 * usage.free / usage.total, 1)
print(f"{folder}: {usage.free // 2**20:,} MiB of {usage.total // 2**20:,} are free, {percent} %")
if percent < least:
    sys.exit(f"less than {least} % are free")
