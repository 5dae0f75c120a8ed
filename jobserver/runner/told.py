"""The program's own handlers: told of failed runs and of what runs post. They may fail, and hurt nobody."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from contextvars import Context
from typing import Any

import structlog

from jobserver.errors import RunFailed
from jobserver.execution.run_log import RunIdentity

ErrorHandler = Callable[[str, str, BaseException], Any]
MessageHandler = Callable[[str, str, Any], Any]

# Neither `sys.exit` nor a future that somebody has cancelled may end the server, or the run that is being settled.
WHAT_IT_RAISES = (Exception, asyncio.CancelledError, SystemExit)

_log = structlog.get_logger("jobserver")


class Told:
    """Calls them on the event loop; one that is async gets a task of its own."""

    def __init__(
        self, *, error_handler: ErrorHandler | None = None, message_handler: MessageHandler | None = None
    ) -> None:
        self.error_handler, self.message_handler = error_handler, message_handler
        self._tasks: set[asyncio.Task[None]] = set()

    def failed(self, run: RunIdentity, error: BaseException | None, message: str) -> None:
        """A run has failed; where no exception says why, as when its time was over, ours does."""
        if self.error_handler is not None:
            self._call("error handler", self.error_handler, run, error or RunFailed(run.name, message))

    def posted(self, run: RunIdentity, message: Any) -> None:
        """A run has posted a message."""
        if self.message_handler is not None:
            self._call("message handler", self.message_handler, run, message)

    def _call(self, which: str, handler: Callable[..., Any], run: RunIdentity, what: Any) -> None:
        # A context of its own: this may be called from a run, whose name must not be on our records.
        try:
            answer = Context().run(handler, run.name, run.run_id, what)
        except WHAT_IT_RAISES:
            _log.exception("handler failed", handler=which, name=run.name, run=run.run_id)
            return
        if inspect.isawaitable(answer):
            task = asyncio.create_task(_finished(answer, which, run), name=which, context=Context())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)


async def _finished(answer: Any, which: str, run: RunIdentity) -> None:
    try:
        await answer
    except WHAT_IT_RAISES:
        _log.exception("handler failed", handler=which, name=run.name, run=run.run_id)
