"""Change events of the jobs collection → wake-ups."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from jobserver.runner.pulse.wakeups import Wakeups
from jobserver.store.clock import ServerClock
from jobserver.store.codec import is_text

HORIZON = timedelta(minutes=10)  # what is due later is left to polling


class JobHints:
    """What a new job document, or one that is back in the queue, says about due work."""

    def __init__(self, *, wakeups: Wakeups, clock: ServerClock, one_off: Callable[[], None]) -> None:
        self._wakeups, self._clock, self._one_off = wakeups, clock, one_off

    def hear(self, event: Any) -> None:
        """Wake the claim for the document's job, at the moment it is due; an update does not say whose it is."""
        if event["operationType"] == "update":
            self._wakeups.hint_everything()
            return
        name, due = event.get("name"), event.get("nextRunAt")
        if not is_text(name) or not isinstance(due, datetime):
            return
        delay = due - self._clock.now()
        if delay <= HORIZON:
            self._wakeups.hint_in(delay, name)
        if event.get("oneOff") is True:
            self._one_off()
