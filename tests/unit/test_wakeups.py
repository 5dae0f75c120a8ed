"""Which jobs are worth a look, and when: hints come once, in time, and wake whoever waits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from jobserver.runner.pulse.rush import RUSH, WINDOW, Rush
from jobserver.runner.pulse.wakeups import MOST_TIMERS, Wakeups
from jobserver.store.clock import ServerClock

pytestmark = pytest.mark.timeout(20)

ALL = ["a", "b", "c"]
HOUR = timedelta(hours=1)
LONG = 60.0


class Clock:
    """Moves when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


async def quiet(clock: Callable[[], float]) -> Wakeups:
    """Wakeups whose first look at everything is over."""
    wakeups = Wakeups(monotonic=clock)
    wakeups.take(ALL)
    return wakeups


async def wakes(wakeups: Wakeups, cause: Callable[[], None]) -> None:
    """A waiter that would wait for long is woken by this."""
    waiting = asyncio.create_task(wakeups.wait(LONG))
    for _ in range(5):
        await asyncio.sleep(0)
    assert not waiting.done()
    cause()
    async with asyncio.timeout(5):
        await waiting


async def test_the_first_look_is_at_everything(clock: Clock) -> None:
    wakeups = Wakeups(monotonic=clock)
    assert wakeups.take(ALL) == {"a", "b", "c"}
    assert wakeups.take(ALL) == set()


async def test_a_hint_is_taken_once(clock: Clock) -> None:
    wakeups = await quiet(clock)
    wakeups.hint(["a", "b"])
    wakeups.hint(["a"])
    assert wakeups.take(ALL) == {"a", "b"}
    assert wakeups.take(ALL) == set()


async def test_a_hint_at_everything_includes_every_other(clock: Clock) -> None:
    wakeups = await quiet(clock)
    wakeups.hint(["a"])
    wakeups.hint_everything()
    assert wakeups.take(ALL) == {"a", "b", "c"}
    assert wakeups.take(ALL) == set()


async def test_a_timer_rings_at_its_moment_and_not_before(clock: Clock) -> None:
    wakeups = await quiet(clock)
    wakeups.hint_in(timedelta(seconds=10), "b")
    wakeups.hint_in(timedelta(seconds=5), "a")
    assert wakeups.take(ALL) == set()
    clock.now += 5.01
    assert wakeups.take(ALL) == {"a"}
    clock.now += 4.9
    assert wakeups.take(ALL) == set()
    clock.now += 0.2
    assert wakeups.take(ALL) == {"b"}
    assert wakeups.take(ALL) == set()


@pytest.mark.parametrize("delay", [timedelta(), -HOUR])
async def test_what_is_due_already_is_a_hint_now(clock: Clock, delay: timedelta) -> None:
    wakeups = await quiet(clock)
    await wakes(wakeups, lambda: wakeups.hint_in(delay, "a"))
    assert wakeups.take(ALL) == {"a"}


async def test_timers_of_one_job_at_one_moment_are_one(clock: Clock) -> None:
    """A thousand documents that are due together need one look, and one place among the timers."""
    wakeups = await quiet(clock)
    for _ in range(3 * MOST_TIMERS):
        wakeups.hint_in(HOUR, "a")
    wakeups.hint_in(HOUR, "b")
    clock.now += 3601
    assert wakeups.take(ALL) == {"a", "b"}
    wakeups.hint_in(HOUR, "a")
    clock.now += 3601
    assert wakeups.take(ALL) == {"a"}


async def test_more_timers_than_anyone_needs_are_left_to_polling(clock: Clock) -> None:
    wakeups = await quiet(clock)
    for number in range(MOST_TIMERS):
        wakeups.hint_in(HOUR + timedelta(seconds=number), "a")
    wakeups.hint_in(HOUR, "b")
    clock.now += 3601
    assert wakeups.take(ALL) == {"a"}


async def test_whoever_waits_is_woken_by_every_kind_of_hint(clock: Clock) -> None:
    wakeups = await quiet(clock)
    for cause in (
        lambda: wakeups.hint(["a"]),
        wakeups.hint_everything,
        lambda: wakeups.hint_in(HOUR, "b"),
        wakeups.nudge,
    ):
        await wakes(wakeups, cause)
        wakeups.take(ALL)


async def test_a_hint_that_came_before_the_wait_ends_it_at_once(clock: Clock) -> None:
    wakeups = await quiet(clock)
    wakeups.nudge()
    async with asyncio.timeout(5):
        await wakeups.wait(LONG)


async def test_a_wait_ends_with_its_time() -> None:
    wakeups = await quiet(time.monotonic)
    async with asyncio.timeout(5):
        await wakeups.wait(0.01)
        await wakeups.wait(0.0)
        await wakeups.wait(-1.0)


async def test_a_wait_ends_with_the_next_timer() -> None:
    wakeups = await quiet(time.monotonic)
    wakeups.hint_in(timedelta(milliseconds=20), "a")
    wakeups.take(ALL)
    async with asyncio.timeout(5):
        await wakeups.wait(LONG)
    assert wakeups.take(ALL) == {"a"}


async def test_a_look_that_took_the_hint_leaves_nothing_to_wake_up_for(clock: Clock) -> None:
    wakeups = await quiet(clock)
    wakeups.hint_in(timedelta(seconds=1), "a")
    clock.now += 2
    assert wakeups.take(ALL) == {"a"}
    await wakes(wakeups, lambda: wakeups.hint(["b"]))


async def test_a_wait_without_end_lets_the_others_on_the_loop_go_on(clock: Clock) -> None:
    wakeups = await quiet(clock)
    wakeups.nudge()
    turned = asyncio.create_task(asyncio.sleep(0))
    await wakeups.wait(0.0)
    await wakeups.wait(0.0)
    assert turned.done()


def test_a_rush_is_told_when_it_begins_and_when_it_is_over(clock: Clock) -> None:
    told: list[bool] = []
    rush = Rush(tell=told.append, monotonic=clock)
    rush.claimed(RUSH)
    assert told == []
    clock.now += WINDOW
    rush.claimed(1)
    assert (told, rush.is_on) == ([True], True)
    clock.now += WINDOW
    rush.claimed(RUSH)
    assert told == [True]
    clock.now += WINDOW
    rush.claimed(0)
    assert (told, rush.is_on) == ([True, False], False)


def test_a_burst_that_is_soon_over_is_no_rush(clock: Clock) -> None:
    told: list[bool] = []
    rush = Rush(tell=told.append, monotonic=clock)
    rush.claimed(RUSH)
    clock.now += 10
    rush.claimed(0)
    assert told == []


def test_the_clock_of_the_server_goes_on_from_what_it_told(clock: Clock) -> None:
    server = ServerClock(monotonic=clock)
    with pytest.raises(LookupError):
        server.now()
    assert server.is_older_than(timedelta(days=1))
    server.hear(datetime(2026, 1, 1), after=0.0)  # noqa: DTZ001
    clock.now += 90
    assert server.now() == datetime(2026, 1, 1, 0, 1, 30, tzinfo=UTC)
    assert server.is_older_than(timedelta(minutes=1))
    assert not server.is_older_than(timedelta(minutes=2))
    server.hear(datetime(2027, 1, 1, tzinfo=UTC), after=0.0)
    assert server.now() == datetime(2027, 1, 1, tzinfo=UTC)


def test_a_slow_reply_does_not_set_the_clock_back_but_a_server_whose_clock_was_set_back_does(clock: Clock) -> None:
    server, moment = ServerClock(monotonic=clock), datetime(2026, 1, 1, tzinfo=UTC)
    server.hear(moment, after=0.0)
    clock.now += 10
    server.hear(moment + timedelta(seconds=9.5), after=0.6)
    assert server.now() == moment + timedelta(seconds=10)
    server.hear(moment + timedelta(seconds=9.5), after=0.4)
    assert server.now() == moment + timedelta(seconds=9.5)


def test_a_guess_that_was_kept_is_as_fresh_as_what_was_told(clock: Clock) -> None:
    server, moment = ServerClock(monotonic=clock), datetime(2026, 1, 1, tzinfo=UTC)
    server.hear(moment, after=0.0)
    clock.now += 10
    server.hear(moment + timedelta(seconds=9.9), after=0.5)
    assert not server.is_older_than(timedelta(seconds=1))
