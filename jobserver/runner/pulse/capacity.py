"""How much more this server may claim: running counts against concurrency, held against the lock limits.

A run is *running* until its code has ended and *held* until MongoDB has its end, so that the next claim may overlap
the settling of the last one. A limit of 0 is none, except for a job's concurrency, where it is a pause.
Slots are counted beside that: of those a run takes as many as its document asks for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from jobserver.runner.pulse.jobs import KnownJob, KnownJobs
from jobserver.runner.pulse.slots import ServerSlots
from jobserver.store.documents import ClaimedJob, Lane


class Capacity:
    """Counts what was claimed here and says what may be. `in_turn` leaves out the jobs whose turn has not come."""

    def __init__(
        self,
        *,
        jobs: KnownJobs,
        slots: ServerSlots,
        max_concurrency: int,
        lock_limit: int,
        default_lock_limit: int,
        in_turn: Callable[[Iterable[str], Iterable[str]], Iterable[str]] | None = None,
    ) -> None:
        self.slots = slots
        self._jobs, self._in_turn = jobs, in_turn
        self._max_concurrency = max_concurrency
        self._lock_limit, self._default_lock_limit = lock_limit, default_lock_limit
        self._running: Counter[str] = Counter()
        self._held: Counter[str] = Counter()
        self.running = 0
        self.held = 0

    def claimed(self, names: Counter[str]) -> None:
        """So many documents of these jobs were claimed, as far as is known; they count from now on."""
        self._running += names
        self._held += names
        self.running += names.total()
        self.held += names.total()

    def missed(self, names: Counter[str]) -> None:
        """So many of them turned out to be others'."""
        self._running -= names
        self._held -= names
        self.running -= names.total()
        self.held -= names.total()

    def ended(self, job: ClaimedJob) -> None:
        """The run's code has ended, or never began."""
        self._running[job.name] -= 1
        self.running -= 1
        self.slots.give_back(job)

    def settled(self, name: str) -> None:
        """MongoDB has its end."""
        self._held[name] -= 1
        self.held -= 1

    def free(self) -> int:
        """How many more of any job."""
        free = self._max_concurrency - self.running
        return max(0, min(free, self._lock_limit - self.held) if self._lock_limit else free)

    def lanes(self, names: Iterable[str]) -> list[Lane]:
        """A lane for each of these jobs that may run here now; none when the server itself is full."""
        free = self.free()
        if free == 0 or self.slots.are_all_used:
            return []
        if self._jobs.in_turn and self._in_turn is not None:
            names = self._in_turn(names, [name for name, count in self._running.items() if count > 0])
        found = ((name, self._jobs.get(name)) for name in names)
        lanes = [self._lane(name, job, free) for name, job in found if job is not None]
        return [lane for lane in lanes if lane.limit > 0]

    def _lane(self, name: str, job: KnownJob, free: int) -> Lane:
        free = min(free, 1) if job.definition.in_turn else free
        limit = min(free, job.settings.concurrency - self._running[name])
        if self._default_lock_limit:
            limit = min(limit, self._default_lock_limit - self._held[name])
        return Lane(
            name=name,
            limit=limit,
            lock_lifetime=job.settings.lock_lifetime,
            global_limit=job.settings.global_concurrency,
            slots=job.settings.slots,
            longest_run=job.settings.max_execution_time,
        )
