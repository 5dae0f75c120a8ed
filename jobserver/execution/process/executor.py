"""The `Executor` whose runs are processes."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import structlog

from jobserver.definition import JobDefinition
from jobserver.errors import RemoteError
from jobserver.execution.handles import Lifeline, OnMessage, ignore
from jobserver.execution.outcome import Outcome, failed, interrupted
from jobserver.execution.process.conversation import Conversation, Sink, Terms
from jobserver.execution.process.wire import Codec
from jobserver.execution.process.zygotes import Zygotes
from jobserver.execution.run_log import log_for

COMMAND = (sys.executable, "-P", "-m", "jobserver.run_process")
"""-P: a project's own `queue.py` is not the library's."""

UNTIMED = "the kernel gives no timer, a machine that stands still may run on for a moment; see ulimit -i"

_log = structlog.get_logger("jobserver")


class ProcessExecutor:
    """Telling a run is a message to its process, interrupting it SIGTERM to its group, stopping it SIGKILL to all.

    `address` says where a run finds its database, `lease` gives a descriptor of the shared lease of a server id, or
    None for a past one; `grace` is how long a process may go on after its last word.
    """

    def __init__(
        self,
        *,
        codec: Codec,
        address: Mapping[str, Any],
        lease: Callable[[str], int | None],
        grace: timedelta,
        sink: Sink = log_for,
        on_message: OnMessage = ignore,
    ) -> None:
        self._terms = Terms(
            zygotes=Zygotes(codec=codec, command=COMMAND),
            codec=codec,
            address=address,
            lease=lease,
            sink=sink,
            on_message=on_message,
            untimed=self._tell_untimed,
            grace=grace,
        )
        self._has_told_untimed = False
        self._conversations: dict[str, Conversation] = {}

    async def call(self, definition: JobDefinition, run: Lifeline) -> Outcome:
        """Run it in a process, to the end of the process."""
        if definition.code is None:
            return failed(RemoteError(f"a process cannot find the code of {definition.name}: it is in no file"))
        conversation = self._conversations[run.run_id] = Conversation(self._terms, definition, definition.code, run)
        try:
            return await conversation.outcome()
        except asyncio.CancelledError as error:
            return interrupted(error)
        finally:
            del self._conversations[run.run_id]

    def tell(self, run: Lifeline) -> None:
        """The message "cancel", or SIGTERM for a script."""
        if run.run_id in self._conversations:
            self._conversations[run.run_id].tell()

    def interrupt(self, run: Lifeline) -> None:
        """SIGTERM."""
        if run.run_id in self._conversations:
            self._conversations[run.run_id].interrupt()

    def stop(self, run: Lifeline) -> None:
        """SIGKILL."""
        if run.run_id in self._conversations:
            self._conversations[run.run_id].stop()

    async def close(self) -> None:
        """End what is kept for further runs."""
        await self._terms.zygotes.close()

    def _tell_untimed(self) -> None:
        """Once: it may be so for every run."""
        if not self._has_told_untimed:
            _log.warning("runs not timed", note=UNTIMED)
        self._has_told_untimed = True
