"""What a document of the Pulse library says for itself: `attempts`, `backoff`, `repeatInterval`, `repeatTimezone`.

Pulse counts `attempts` as retries after the first run, and waits `backoff.delay` times 2 to the power of the retry
for "exponential", always `backoff.delay` for "fixed". Our own documents carry none of these but the last two, which
stand beside `scheduleKey` for Pulse to read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jobserver.errors import ConfigError
from jobserver.retry import Retry
from jobserver.schedule import Schedule

DEFAULT_BACKOFF_DELAY = 1_000  # Pulse's own default, in milliseconds


def own_retry(document: Mapping[str, Any]) -> Retry | None:
    """The policy that the document brings, None when it brings none that can be read."""
    attempts = document.get("attempts")
    if not isinstance(attempts, int) or isinstance(attempts, bool) or attempts <= 0:
        return None
    backoff = document.get("backoff")
    backoff = backoff if isinstance(backoff, Mapping) else {}
    try:
        return Retry.parse(
            {
                "attempts": attempts,
                "delay": backoff.get("delay", DEFAULT_BACKOFF_DELAY),
                "backoff": backoff.get("type", "exponential"),
            }
        )
    except ConfigError:
        return None


def own_recurrence(document: Mapping[str, Any]) -> Schedule | None:
    """The schedule of a recurring document that another program owns, None for ours and for what cannot be read."""
    interval = document.get("repeatInterval")
    if "scheduleKey" in document or interval is None:
        return None
    zone = document.get("repeatTimezone")
    zone = zone if isinstance(zone, str) and zone else None
    try:
        if isinstance(interval, (int, float)) and not isinstance(interval, bool):
            return Schedule.parse({"type": "interval", "value": interval})
        return Schedule.parse(interval, zone)
    except ConfigError:
        return None
