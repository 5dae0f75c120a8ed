"""What the log says of ended runs: each one, until there are too many to read; then a count per second.

The wording of everything that happens to a run lives here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import structlog

from jobserver.store.documents import Settlement
from jobserver.store.expressions import milliseconds
from jobserver.store.states import Transition

READABLE_PER_SECOND = 50

_log = structlog.get_logger("jobserver")

WORDS = {
    Transition.COMPLETE: "completed",
    Transition.RETRY: "failed, will be retried",
    Transition.FAIL: "failed",
    Transition.CANCEL: "cancelled",
    Transition.SKIP: "skipped",
    Transition.RELEASE: "given back",
    Transition.REAP: "stuck, stopped",
}


class RunReporter:
    """A listener of the settle loop."""

    def __init__(self, *, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._second = 0
        self._in_second: Counter[str] = Counter()
        self._unread: Counter[tuple[str, str]] = Counter()

    def settled(self, settlements: Sequence[Settlement], lost: Sequence[Settlement]) -> None:
        """Log these ends."""
        lost_ids = {id(settlement) for settlement in lost} if lost else ()
        for settlement in settlements:
            self._turn_second()
            name = settlement.job.name
            self._in_second[name] += 1
            status = "lock lost" if id(settlement) in lost_ids else WORDS[settlement.transition]
            if self._in_second[name] > READABLE_PER_SECOND:
                self._unread[name, status] += 1
            else:
                _report(settlement, status)

    def flush(self) -> None:
        """Log what was only counted so far."""
        for (name, status), count in self._unread.items():
            _log.info("runs ended", name=name, status=status, count=count)
        self._unread.clear()

    def _turn_second(self) -> None:
        second = int(self._monotonic())
        if second != self._second:
            self._second = second
            self._in_second.clear()
            self.flush()


def _report(settlement: Settlement, status: str) -> None:
    facts = {
        "name": settlement.job.name,
        "run": settlement.job.run_id,
        "status": status,
        "attempt": settlement.job.attempt,
        "duration_ms": milliseconds(settlement.duration),
    }
    if settlement.retry_in is not None:
        facts["retry_in_ms"] = milliseconds(settlement.retry_in)
    if settlement.reason:
        facts["reason"] = settlement.reason
    if settlement.error is not None:
        _log.warning("run ended", **facts, error=settlement.error.message, stack=settlement.error.stack)
    elif status == "lock lost":
        _log.warning("run ended", **facts)
    else:
        _log.info("run ended", **facts)
