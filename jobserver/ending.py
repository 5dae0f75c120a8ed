"""Ends tasks for certain."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

ONCE_MORE = 0.2  # seconds: closing a connection takes a moment, and for ever where MongoDB stands still


async def end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel these and wait until they have ended, however often it takes.

    Once is not enough: where a reply arrives in the same moment, `asyncio.wait_for` of Python 3.11 drops the
    cancellation, and PyMongo sends every command through it.
    """
    every = list(tasks)
    pending = {task for task in every if not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=ONCE_MORE)
    await asyncio.gather(*every, return_exceptions=True)
