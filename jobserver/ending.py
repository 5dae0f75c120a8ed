"""Ends tasks for certain.

Python 3.11 may drop a cancellation: where a reply arrives in the same moment, its `asyncio.wait_for` returns that
reply instead, and PyMongo sends every command through it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from typing import Any, TypeVar

T = TypeVar("T")

ONCE_MORE = 0.2  # seconds: closing a connection takes a moment, and for ever where MongoDB stands still


async def end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel these and wait until they have ended, however often it takes: once may be dropped."""
    every = list(tasks)
    pending = {task for task in every if not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=ONCE_MORE)
    await asyncio.gather(*every, return_exceptions=True)


async def heeding(work: Awaitable[T]) -> T:
    """Await this; a cancellation that came meanwhile and was dropped by it is raised after it."""
    task = asyncio.current_task()
    assert task is not None
    before = task.cancelling()
    try:
        done = await work
    except Exception:
        _heed(task, before)
        raise
    _heed(task, before)
    return done


def _heed(task: asyncio.Task[Any], before: int) -> None:
    if task.cancelling() > before:
        raise asyncio.CancelledError
