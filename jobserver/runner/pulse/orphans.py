"""Gives back what this server has locked and does not know of.

A claim whose answer never came is looked up, and where it has locked nothing it is forgotten. But it may only have
been late: what a network has held back, or a MongoDB that stood still, is carried out when nobody waits for it any
more. Such documents carry the name of a server that lives, so no other would take them back before their lock ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from jobserver.errors import DatabaseError
from jobserver.runner.pulse.wakeups import Wakeups
from jobserver.store.jobs import JobStore

LOOKS_FOR_ORPHANS = 1 / 3  # of a lease, from one look to the next

_log = structlog.get_logger("jobserver")


class Orphans:
    """A chore. `known` are the tokens of the claims, runs and ends that are under way here."""

    def __init__(
        self,
        *,
        store: JobStore,
        known: Callable[[], set[str]],
        owner: Callable[[], str],
        wakeups: Wakeups,
        every: float,
    ) -> None:
        self._store, self._known, self._owner = store, known, owner
        self._wakeups, self._every = wakeups, every
        self._suspected: set[str] = set()

    async def run(self) -> None:
        """Look every so many seconds; while MongoDB is away there is nothing to see."""
        while True:
            await asyncio.sleep(self._every)
            try:
                await self.look()
            except DatabaseError as error:
                _log.debug("orphans not looked for", error=str(error))

    async def look(self) -> int:
        """Give back what was unknown at the last look, too; returns how many documents."""
        owner, before = self._owner(), self._known()
        held = await self._store.held_tokens(owner=owner)
        # Before: it may have ended since. After: it may have been claimed since. Twice: a read may be a moment old.
        unknown = held - before - self._known()
        orphans, self._suspected = unknown & self._suspected, unknown
        if not orphans:
            return 0
        count = await self._store.release(owner=owner, tokens=orphans)
        _log.warning("locks given back", server=owner, count=count, reason="a claim that was given up has come through")
        self._wakeups.hint_everything()
        return count
