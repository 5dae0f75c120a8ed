"""What starts after a run that has ended: told at once; the reaper's sweep finds what is missed here."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from jobserver.errors import DatabaseError
from jobserver.runner.pulse.wakeups import Wakeups
from jobserver.store.chains import ChainStore
from jobserver.store.documents import Settlement
from jobserver.store.states import Transition

_ENDS = (Transition.COMPLETE, Transition.FAIL, Transition.CANCEL)
_log = structlog.get_logger("jobserver")


class Chaining:
    """Brings on the tasks behind the runs that have just been settled."""

    def __init__(self, *, store: ChainStore, wakeups: Wakeups) -> None:
        self._store, self._wakeups = store, wakeups

    async def settled(self, settlements: Sequence[Settlement]) -> None:
        """Look behind all of them: what a claim has read says nothing of what was scheduled during the run."""
        parents = [each.job.id for each in settlements if each.transition in _ENDS]
        if not parents:
            return
        try:
            self._wakeups.hint(await self._store.follow(parents))
        except DatabaseError as error:
            _log.warning("mongodb away", chore="chains", waiting=len(parents), error=str(error))
