"""The claim loop beside everything else on the event loop."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import Any

from jobserver.runner.pulse.capacity import Capacity
from jobserver.runner.pulse.claiming import ClaimLoop
from jobserver.runner.pulse.jobs import KnownJobs
from jobserver.runner.pulse.lease import Lease
from jobserver.runner.pulse.rush import Rush
from jobserver.runner.pulse.slots import ServerSlots
from jobserver.runner.pulse.wakeups import Wakeups
from jobserver.store.admission import Line

NEVER_ASKED: Any = None
UNLIMITED = ServerSlots(available=None, line=Line(patience=timedelta(), monotonic=time.monotonic))


def claim_loop(wakeups: Wakeups, lease: Lease) -> ClaimLoop:
    jobs = KnownJobs()
    return ClaimLoop(
        store=NEVER_ASKED,
        jobs=jobs,
        capacity=Capacity(jobs=jobs, slots=UNLIMITED, max_concurrency=1, lock_limit=0, default_lock_limit=0),
        wakeups=wakeups,
        lease=lease,
        begin=lambda job: None,
        rush=Rush(tell=lambda on: None, monotonic=time.monotonic),
        process_every=timedelta(seconds=3),
        monotonic=time.monotonic,
    )


async def test_hints_without_a_lease_leave_the_event_loop_to_others() -> None:
    wakeups, lease = Wakeups(monotonic=time.monotonic), Lease(monotonic=time.monotonic)
    claims = claim_loop(wakeups, lease)
    wakeups.hint_everything()
    wakeups.hint_in(timedelta(milliseconds=1), "api:due")
    running = asyncio.create_task(claims.run())
    for _ in range(20):
        await asyncio.sleep(0.001)  # never returns when the claim loop spins
    claims.stop()
    await running


async def test_a_pending_hint_still_lets_the_event_loop_turn() -> None:
    wakeups = Wakeups(monotonic=time.monotonic)
    turns: list[None] = []
    asyncio.get_running_loop().call_soon(turns.append, None)
    wakeups.hint(["api:due"])
    await wakeups.wait(10.0)
    assert turns
