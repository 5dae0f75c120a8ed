"""Writes run history; what MongoDB does not take is tried again for a while, beside everything else.

An election between a run's end and its entry must not cost the entry. A history that can never be written, because
somebody's rule for the collection forbids it, must not hold up the runs: so there are bounds to it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextvars import Context
from typing import TYPE_CHECKING

import structlog

from jobserver.errors import DatabaseError
from jobserver.store.documents import RunRecord

if TYPE_CHECKING:
    from jobserver.store.runs import RunStore

PAUSES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 5.0, 5.0, 5.0, 5.0)  # seconds; each try may take as long as a selection
MOST_WAITING = 10_000  # entries

_log = structlog.get_logger("jobserver")


class Recording:
    """Entries are known by their run, so writing one twice is writing it once."""

    def __init__(self, *, store: RunStore) -> None:
        self._store = store
        self._trying: set[asyncio.Task[None]] = set()
        self._waiting = 0

    async def record(self, records: Sequence[RunRecord]) -> None:
        """Store these entries, now or in a moment."""
        try:
            await self._store.record(records)
        except DatabaseError as error:
            if self._waiting + len(records) > MOST_WAITING:
                _tell_lost(records, error)
                return
            self._waiting += len(records)
            # A context of its own: the name of a run must not be on our records.
            task = asyncio.create_task(self._try_again(records), name="recording", context=Context())
            self._trying.add(task)
            task.add_done_callback(self._trying.discard)

    async def finish(self) -> None:
        """Wait for what is still being tried."""
        while self._trying:
            await asyncio.wait(set(self._trying))

    def abandon(self) -> None:
        """Try no more."""
        for task in self._trying:
            task.cancel()

    async def _try_again(self, records: Sequence[RunRecord]) -> None:
        try:
            for pause in PAUSES:
                await asyncio.sleep(pause)
                try:
                    await self._store.record(records)
                    return
                except DatabaseError as error:
                    last = error
            _tell_lost(records, last)
        finally:
            self._waiting -= len(records)


def _tell_lost(records: Sequence[RunRecord], error: DatabaseError) -> None:
    _log.warning("run history not stored", runs=len(records), error=str(error))
