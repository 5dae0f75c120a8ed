"""What goes on in the background goes on after a fault: a server that had lost a chore would look alive."""

from __future__ import annotations

import asyncio
import threading

import pytest
from structlog.testing import capture_logs

from jobserver.runner.pulse import lifecycle
from jobserver.runner.pulse.chore import Chore

SECONDS = 10


def test_a_step_that_raises_is_told_and_followed_by_the_next_one_in_a_thread_of_its_own() -> None:
    threads: list[int] = []
    again = threading.Event()

    def step() -> float:
        threads.append(threading.get_ident())
        if len(threads) < 3:
            raise RuntimeError("broken")
        again.set()
        return 60.0

    chore = Chore("counting", step, after_error=0.0)
    with capture_logs() as records:
        chore.start()
        went_on = again.wait(SECONDS)
        chore.stop()
        chore.join(SECONDS)
    assert went_on, "it was not begun again"
    assert [(each["event"], each["chore"], each["error"]) for each in records] == [
        ("chore failed", "counting", "broken")
    ] * 2
    assert threading.get_ident() not in threads


async def test_a_chore_of_the_event_loop_that_raises_is_begun_again_until_it_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lifecycle, "AFTER_FAULT", 0.0)
    begun = 0

    async def chore() -> None:
        nonlocal begun
        begun += 1
        if begun < 3:
            raise RuntimeError("broken")

    with capture_logs() as records:
        async with asyncio.timeout(SECONDS):
            await lifecycle.kept_up("counting", chore)
    assert begun == 3
    assert [(each["event"], each["chore"]) for each in records] == [("chore failed", "counting")] * 2
