"""Servers whose clock is off: what Python reads of the wall clock, in a process and in all that it starts.

MongoDB, `time.monotonic` and CLOCK_BOOTTIME stay true, as they do where somebody sets a machine's clock wrong.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

SKEWED = Path(__file__).with_name("skewed")


def skewed(environ: Mapping[str, str], *, ahead: timedelta) -> dict[str, str]:
    """This environment for a process whose clock is so far ahead; a negative length is behind."""
    path = os.pathsep.join(filter(None, [str(SKEWED), environ.get("PYTHONPATH", "")]))
    return {**environ, "PYTHONPATH": path, "CLOCK_AHEAD_SECONDS": str(ahead.total_seconds())}
