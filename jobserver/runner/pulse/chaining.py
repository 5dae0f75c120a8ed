"""What starts after runs that have ended: told soon; the reaper's sweep finds what is missed here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextvars import Context
from typing import Any

import structlog

from jobserver.errors import DatabaseError
from jobserver.runner.pulse.wakeups import Wakeups
from jobserver.store.chains import ChainStore
from jobserver.store.documents import Settlement
from jobserver.store.states import Transition

EVERY = 1.0  # seconds between two looks while nothing waits for anything
MOST_KEPT = 10_000  # ends that are looked behind together

_ENDS = (Transition.COMPLETE, Transition.FAIL, Transition.CANCEL)
_log = structlog.get_logger("jobserver")


class Chaining:
    """Brings on the tasks behind the runs that were settled: at once where chains are in use, else once a second.

    Whether a run has somebody waiting cannot be known from its claim, for a task may be scheduled after it meanwhile.
    So the look is behind all of them; where no chain exists it costs one small question a second.
    """

    def __init__(self, *, store: ChainStore, wakeups: Wakeups, monotonic: Callable[[], float]) -> None:
        self._store, self._wakeups, self._monotonic = store, wakeups, monotonic
        self._ended: list[Any] = []
        self._in_use = False
        self._next_look = 0.0
        self._later: asyncio.Task[None] | None = None

    async def settled(self, settlements: Sequence[Settlement]) -> None:
        """These are stored."""
        self._ended += [each.job.id for each in settlements if each.transition in _ENDS]
        del self._ended[:-MOST_KEPT]
        if self._in_use or self._monotonic() >= self._next_look:
            await self._look()
        elif self._ended and self._later is None:
            # A context of its own: this may be called from a run, whose name must not be on our records.
            self._later = asyncio.create_task(self._look_later(), name="chaining", context=Context())

    async def finish(self) -> None:
        """Look once more, at once: the server is going."""
        if self._later is not None:
            self._later.cancel()
            self._later = None
        await self._look()

    async def _look(self) -> None:
        """Behind all that have ended since the last time; none is forgotten unasked, however early this comes."""
        ended, self._ended = self._ended, []
        if not ended:
            return
        try:
            if not self._in_use or self._monotonic() >= self._next_look:
                self._next_look = self._monotonic() + EVERY
                self._in_use = await self._store.in_use()
            if self._in_use:
                self._wakeups.hint(await self._store.follow(ended))
        except DatabaseError as error:
            _log.warning("mongodb away", chore="chains", waiting=len(ended), error=str(error))

    async def _look_later(self) -> None:
        await asyncio.sleep(max(0.0, self._next_look - self._monotonic()))
        self._later = None
        await self._look()
