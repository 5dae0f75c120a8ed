"""The runner's second part: when jobs run by themselves, and one extra run now."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, assert_never

from jobserver.definition import JobSettings
from jobserver.runner.pulse.jobs import KnownJob, KnownJobs
from jobserver.runner.pulse.turns import Turns
from jobserver.runner.pulse.wakeups import Wakeups
from jobserver.schedule import Schedule, ScheduleKind
from jobserver.store.arming import Arming
from jobserver.store.clock import ServerClock
from jobserver.store.enqueue import Request, job_document
from jobserver.store.expressions import literal
from jobserver.store.jobs import JobStore
from jobserver.store.recurrence import first_moment, moved, pulse_fields


class PulseScheduler:
    """A `JobScheduler`: one `single` document per job holds its next moment."""

    def __init__(
        self,
        *,
        store: JobStore,
        jobs: KnownJobs,
        wakeups: Wakeups,
        clock: ServerClock,
        random: Callable[[], float],
        turns: Turns,
    ) -> None:
        self._store, self._jobs, self._wakeups, self._clock = store, jobs, wakeups, clock
        self._turns = turns
        self._random = random

    async def schedule(self, name: str, settings: JobSettings, *, afresh: bool = False) -> None:
        known = self._jobs.get(name)
        checksum = known.definition.checksum if known else ""
        schedule = settings.schedule
        first = first_moment(schedule, now=self._clock.now())
        arming = Arming(
            key=schedule_key(schedule, checksum),
            first=moved(schedule, first, self._random()),
            occurrence=first if schedule.jitter else None,
            recurs=recurs(schedule),
            enabled=settings.enabled,
            priority=settings.priority,
            fields=pulse_fields(schedule) | _data(known),
            afresh=afresh,
        )
        next_run_at = await self._store.arm(name, arming, create=schedule.kind is not ScheduleKind.MANUAL)
        if next_run_at is not None:
            self._wakeups.hint_in(next_run_at - self._clock.now(), name)

    async def run_job_now(
        self, name: str, settings: JobSettings, *, request: Any | None = None, data: Any = None
    ) -> None:
        asked = Request(name=name, data=data, requested_by=None if request is None else "runNow")
        document = job_document(asked, now=self._clock.now(), priority=settings.priority)
        if request is not None:
            document["_id"] = request
        known = self._jobs.get(name)
        if known is not None and known.definition.in_turn:  # before others can see the document, or it has no turn
            self._turns.add(document["_id"], known.definition)
        await self._store.insert(document)
        self._wakeups.hint([name])

    async def withdraw(self, name: str, *, reason: str) -> None:
        self._turns.forget(name)
        await self._store.withdraw_all(name, reason=reason)


def recurs(schedule: Schedule) -> bool:
    """Whether it fires again and again; if not, a moment that passed while it was disabled is still owed."""
    match schedule.kind:
        case ScheduleKind.CRON | ScheduleKind.INTERVAL:
            return True
        case ScheduleKind.ONCE | ScheduleKind.NOW | ScheduleKind.MANUAL:
            return False
        case other:
            assert_never(other)


def _data(known: KnownJob | None) -> dict[str, Any]:
    if known is None or known.definition.data is None:
        return {}
    return {"data": literal(known.definition.data)}


def schedule_key(schedule: Schedule, checksum: str) -> str:
    """Two equal keys fire at the same moments; `now` fires once per version of the code."""
    return f"{schedule.key}:{checksum}" if schedule.kind is ScheduleKind.NOW else schedule.key
