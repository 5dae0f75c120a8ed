"""Draws what happens, how often each of it, and what comes in between."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import SystemRandom
from typing import TypeVar

from hypothesis import HealthCheck, Phase, Verbosity, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from jobserver.store.states import Transition
from tests.model.acts import (
    LIMITED,
    LONG,
    NAMES,
    PLAIN,
    TICK,
    Act,
    Cancel,
    CancelRun,
    Claim,
    Converge,
    Crash,
    Edit,
    End,
    Enqueue,
    GiveBack,
    Jump,
    Limit,
    Lost,
    Pause,
    Reap,
    Renew,
    Restore,
    Revive,
    Save,
    Settle,
    Touch,
    Withdraw,
)
from tests.model.bench import Bench
from tests.model.world import SERVERS, World

T = TypeVar("T")

ENDS = (
    *(Transition.COMPLETE, Transition.RETRY, Transition.FAIL, Transition.CANCEL, Transition.SKIP),
    *(Transition.RELEASE, Transition.REAP),
)

which = st.integers(0, 11)
servers = st.integers(0, SERVERS - 1)

enqueues = st.builds(
    Enqueue,
    name=st.sampled_from([PLAIN, LIMITED, LIMITED, LONG]),
    key=st.sampled_from([None, "one", "two"]),
    priority=st.sampled_from([0, 5, -5]),
    delay=st.sampled_from([0, 0, 0, 20]),
    together=st.sampled_from([1, 3]),
    recurs=st.sampled_from([False, False, True]),
)
claims = st.builds(
    Claim,
    server=servers,
    limit=st.sampled_from([1, 1, 2, 8]),
    names=st.sampled_from([NAMES, NAMES, (PLAIN,), (LIMITED,), (LONG,), (TICK,)]),
    ahead=st.booleans(),
    in_doubt=st.booleans(),
)
ends = st.builds(End, which=which, transition=st.sampled_from(ENDS), is_last=st.sampled_from([False, False, True]))
settles = st.builds(Settle, ends=st.lists(ends, min_size=1, max_size=3).map(tuple), again=st.booleans())
touches = st.builds(Touch, which=which, report=st.booleans())
renewals = st.builds(Renew, server=servers)
returns = st.builds(GiveBack, server=servers)
crashes = st.builds(Crash, server=servers, seen=st.booleans())
pauses = st.builds(Pause, server=servers)
reaps = st.builds(Reap, why=st.sampled_from(Lost), late=st.booleans())
cancels = st.one_of(st.builds(Cancel, which=which), st.builds(CancelRun, which=which))
withdrawals = st.builds(Withdraw, name=st.sampled_from(NAMES))
revivals = st.builds(Revive, which=which)
edits = st.builds(Edit, enabled=st.sampled_from([None, True, False]), schedule=st.sampled_from([None, "a", "b"]))
convergences = st.builds(Converge, afresh=st.booleans(), together=st.sampled_from([1, 3]))
limits = st.builds(Limit, most=st.integers(1, 3))
jumps = st.builds(Jump, minutes=st.sampled_from([10, 20, 30, 50, 100, -20]))

between = (claims, settles, settles, renewals, touches, returns, reaps, cancels, edits, enqueues)

# How often each comes: the road of a job often enough that there is always something for the rest to meet.
OFTEN = (
    *((5, enqueues), (9, claims), (8, settles), (6, reaps), (4, jumps), (2, touches), (2, renewals), (2, cancels)),
    *((3, convergences), (2, edits), (2, limits), (1, withdrawals), (1, revivals), (1, crashes), (1, pauses)),
    *((1, returns), (1, st.one_of(st.builds(Save), st.builds(Restore)))),
)


def one_of(choices: Sequence[st.SearchStrategy[T]]) -> st.SearchStrategy[T]:
    """One of these, each as often as it is there; hypothesis' own `one_of` takes those that are alike for one."""
    return st.integers(0, len(choices) - 1).flatmap(choices.__getitem__)


def claim_again(server: int) -> list[Act]:
    """A server gives back and claims the same: only the token tells the two claims apart."""
    return [GiveBack(server=server), Claim(server=server, limit=8)]


def overtake(server: int) -> list[Act]:
    """Something more urgent comes, and this server sees it first: both want the slots that were free."""
    return [Enqueue(name=LIMITED, priority=10), Claim(server=server, names=(LIMITED,), limit=2)]


anything = one_of([choice for times, choice in OFTEN for _ in range(times)])
claimed_again = servers.map(claim_again)
overtaken = servers.map(overtake)
# Servers that were taken for dead are not.
back_to_life = st.just([Renew(server=server) for server in range(SERVERS)])
in_between = one_of((st.lists(one_of(between), min_size=1, max_size=2), claimed_again, overtaken, back_to_life))
sometimes: st.SearchStrategy[list[Act]] = one_of((st.just([]), st.just([]), st.just([]), in_between))


class Machine(RuleBasedStateMachine):
    """What may happen to the documents of a few jobs at three servers."""

    def __init__(self, bench: Bench) -> None:
        super().__init__()
        self.world = World(bench)

    @initialize(acts=st.lists(enqueues, min_size=1, max_size=4))
    def begin(self, acts: list[Act]) -> None:
        """There is work, and the job with a schedule is known."""
        self.world.perform(Converge(together=3), *acts)

    @rule(act=anything, meanwhile=sometimes)
    def happen(self, act: Act, meanwhile: list[Act]) -> None:
        """Anything; what comes meanwhile comes between a server's look and what it then does."""
        self.world.perform(act, *meanwhile)


def explore(
    bench: Bench,
    *,
    examples: int,
    steps: int,
    number: int | None = None,
    shrink: bool = True,
    counted: Callable[[], None] = lambda: None,
) -> None:
    """Try so many examples; the shortest that differs is told with its acts, and with the seed that finds it again."""
    number = SystemRandom().getrandbits(32) if number is None else number

    def machine() -> Machine:
        counted()
        return Machine(bench)

    how = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        print_blob=True,
        report_multiple_bugs=False,  # one after the other: several come as a group, which says less
        verbosity=Verbosity.normal,
        phases=(Phase.generate, Phase.shrink) if shrink else (Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    try:
        run_state_machine_as_test(seed(number)(machine), settings=how)
    except Exception as found:
        found.add_note(f"found with seed {number}")
        raise
