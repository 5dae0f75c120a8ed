"""Count, and remove, old files of the examples: `python tidy.py`, or as the job `api:tidy`.

What it prints is the log of the run; exit code 0 is completed, 100 cancelled, any other failed.
"""

import json
import os
import sys
import tempfile
import time
from pathlib import Path

DAY = 24 * 60 * 60
PATTERN = "jobserver-example-*"

given = json.loads(os.environ.get("JOBSERVER_DATA", "{}"))
oldest = time.time() - given.get("days", 1) * DAY
folder = Path(tempfile.gettempdir())
old = [path for path in folder.glob(PATTERN) if path.is_file() and path.stat().st_mtime < oldest]
if not old:
    print(f"nothing to do in {folder}")
    sys.exit(0)
for path in old:
    path.unlink(missing_ok=True)
    print(f"removed {path.name}")
