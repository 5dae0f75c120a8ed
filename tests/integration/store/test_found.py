"""Orders of events in which the stores once did something else than the model says, each kept as it was found."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from pymongo import MongoClient

from jobserver.store.states import Transition
from tests.model.acts import (
    LIMITED,
    LONG,
    Act,
    Cancel,
    Claim,
    Crash,
    End,
    Enqueue,
    Jump,
    Limit,
    Lost,
    Reap,
    Renew,
    Settle,
)
from tests.model.bench import Bench, a_bench
from tests.model.world import World

pytestmark = pytest.mark.timeout(60)

TIMES = 20  # which of the free slots a claim takes is left to chance


@pytest.fixture(scope="module")
def bench(mongo_uri: str, mongo_client: MongoClient[dict[str, Any]]) -> Iterator[Bench]:
    """One connection for all of them."""
    with a_bench(mongo_uri, mongo_client, f"test_{uuid4().hex}") as bench:
        yield bench


@pytest.fixture
def world(bench: Bench) -> World:
    """Three servers and nothing to do."""
    return World(bench)


def perform(world: World, *acts: Act) -> None:
    """One after the other, compared after each."""
    for act in acts:
        world.perform(act)


def the_end(transition: Transition = Transition.COMPLETE, which: int = 0) -> Settle:
    """The run of the newest claim ends, or that of an older one."""
    return Settle(ends=(End(which=which, transition=transition),))


def test_the_end_of_a_run_that_was_cancelled_and_taken_back_is_lost(world: World) -> None:
    """It was recognised by its token, as if it had been stored."""
    perform(world, Enqueue(), Claim(), Cancel(), Jump(minutes=100), Reap(why=Lost.STUCK), the_end())


def test_a_crash_is_recorded_that_comes_after_the_clock_was_set_back(world: World) -> None:
    perform(world, Enqueue(), Claim(), Jump(minutes=-20), Crash(seen=True))


def test_the_end_of_a_run_that_was_buried_is_lost(world: World) -> None:
    perform(world, Enqueue(), Claim(), Crash(seen=True), Claim(), Crash(seen=True))
    perform(world, Claim(), Crash(seen=True), the_end())


def test_the_end_of_a_run_that_was_failed_for_its_time_is_lost(world: World) -> None:
    perform(world, Enqueue(name=LONG), Claim(), Jump(minutes=100), Reap(why=Lost.OVERDUE), the_end())


@pytest.mark.parametrize("transition", [Transition.COMPLETE, Transition.REAP, Transition.RELEASE])
def test_a_run_that_ends_while_it_is_about_to_be_failed_for_its_time_is_not_taken_back(
    world: World, transition: Transition
) -> None:
    """The history said that it had failed, and the document that it was completed."""
    perform(world, Enqueue(name=LONG), Claim(), Jump(minutes=100))
    world.perform(Reap(why=Lost.OVERDUE), the_end(transition))
    assert world.bench.place.runs.count_documents({}) == 0


def test_a_server_that_renews_its_lease_in_the_last_moment_keeps_it_and_its_locks(world: World) -> None:
    perform(world, Enqueue(), Claim(), Jump(minutes=30))
    world.perform(Reap(why=Lost.DEAD, late=False), Renew())
    perform(world, the_end())


def test_what_a_dead_server_has_claimed_since_the_look_is_left_to_the_next(world: World) -> None:
    """It was taken back without an entry in the history."""
    perform(world, Enqueue(), Claim(), Jump(minutes=30))
    world.perform(Reap(why=Lost.DEAD), the_end(Transition.RELEASE), Claim())
    assert world.bench.place.runs.count_documents({}) == 0
    perform(world, Reap(why=Lost.DEAD))
    assert world.bench.place.runs.count_documents({}) == 1


def test_a_limit_that_was_lowered_holds_for_servers_that_claim_in_the_same_moment(bench: Bench) -> None:
    """Each took another of the slots that were free below the one still taken above the limit."""
    for _ in range(TIMES):
        world = World(bench)
        perform(world, Limit(most=3), *[Enqueue(name=LIMITED)] * 5, Claim(limit=3))
        slots = [bench.place.get(run.id)["globalSlot"] for run, _ in reversed(world.claims)]
        below = [End(which=which) for which, slot in enumerate(slots) if slot != "limited#2"]
        perform(world, Settle(ends=tuple(below)), Limit(most=2))
        world.perform(Claim(server=1), Enqueue(name=LIMITED, priority=5), Claim(server=2))
