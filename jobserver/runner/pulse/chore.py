"""One loop shape for chores that have a thread and a database client of their own."""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog

_log = structlog.get_logger("jobserver")


class Chore:
    """Does `step` again and again: it returns the seconds until the next one. A step that raises does not end it."""

    def __init__(self, name: str, step: Callable[[], float], *, after_error: float) -> None:
        self._name, self._step, self._after_error = name, step, after_error
        self._wake = threading.Event()
        self._stopping = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin; a second start is harmless."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()

    def wake(self) -> None:
        """Do the next step now."""
        self._wake.set()

    def stop(self) -> None:
        """End after the step under way; a second stop is harmless."""
        self._stopping = True
        self._wake.set()

    def join(self, timeout: float) -> None:
        """Wait for its end, so many seconds at the longest."""
        if self._thread is not None:
            self._thread.join(timeout)

    def _run(self) -> None:
        while not self._stopping:
            delay = self._guarded_step()
            self._wake.wait(delay)
            self._wake.clear()

    def _guarded_step(self) -> float:
        try:
            return self._step()
        except Exception as error:
            _log.warning("chore failed", chore=self._name, error=str(error), next_try_in=self._after_error)
            return self._after_error
