"""Change events of the jobs collection → wake-ups."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from jobserver.runner.pulse.wakeups import Wakeups
from jobserver.store.clock import ServerClock

HORIZON = timedelta(minutes=10)  # what is due later is left to polling


class JobHints:
    """What an event of the jobs collection says about due work."""

    def __init__(self, *, wakeups: Wakeups, clock: ServerClock) -> None:
        self._wakeups, self._clock = wakeups, clock
        self._holders: dict[str, str] = {}

    def know_holder(self, id_: Any, name: str) -> None:
        """Updates do not say the name; the documents of recurring jobs are known by their ids."""
        self._holders[repr(id_)] = name

    def hear(self, event: Any) -> None:
        """Wake the claim for what is due, at the moment it is."""
        due = event.get("nextRunAt")
        if not isinstance(due, datetime):
            return
        name = event.get("name") or self._holders.get(repr(event.get("documentKey", {}).get("_id")), "")
        delay = due - self._clock.now()
        if delay <= HORIZON:
            self._wakeups.hint_in(delay, name if isinstance(name, str) else "")
