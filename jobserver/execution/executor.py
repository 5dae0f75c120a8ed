"""The seam between a runner and the ways in which code is called."""

from __future__ import annotations

from typing import Protocol

from jobserver.definition import JobDefinition
from jobserver.execution.handles import Lifeline
from jobserver.execution.outcome import Outcome


class Executor(Protocol):
    """Calls the handler of a run, and stops it in three steps, each harsher than the one before.

    Whoever stops a run sets `run.cancelled` first, and waits between the steps. A step for a run that has ended, or
    that was never called here, does nothing.
    """

    async def call(self, definition: JobDefinition, run: Lifeline) -> Outcome:
        """Call the handler; how it ended, once its code has ended. Never raises."""
        ...

    def tell(self, run: Lifeline) -> None:
        """Ask the code to end; it may clean up and come to a word of its own."""
        ...

    def interrupt(self, run: Lifeline) -> None:
        """Break into what the code does, for code that has not listened."""
        ...

    def stop(self, run: Lifeline) -> None:
        """End it from outside, where that can be done: then `call` returns."""
        ...
