"""How a server is told to end, and what it does at that moment: every combination."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from itertools import product

GRACE = {"idle": 20.0, "busy": 20.0, "over grace": 0.5, "claiming": 1.0, "MongoDB away": 1.0}
BEYOND_GRACE = 5.0  # seconds: the promise
ELSEWHERE_WITHIN = 2.0
BACK_WITHIN = 5.0  # for others to see that MongoDB is back
LEASE = 2.0  # of the server that ends; 30 by default
LOST_WITHIN = 45.0 / 30.0 * LEASE + 2.0  # the promise for a lost host, with that lease; and reaping once a second

IN_ORDER, AWAY, HURRIED, QUIT, KILLED = 0, 69, 130, 131, 137


class Told(StrEnum):
    """What is sent; the last one is for a worker, everything else for the process that was started."""

    TERM = "TERM"
    INT = "INT"
    QUIT = "QUIT"
    KILL = "KILL"
    TERM_5 = "TERM x 5"
    KILL_WORKER = "KILL a worker"


class State(StrEnum):
    """What it does when the signal comes."""

    IDLE = "idle"
    BUSY = "busy"
    OVER_GRACE = "over grace"
    CLAIMING = "claiming"
    AWAY = "MongoDB away"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One combination; `workers` 1 is a server without a supervisor."""

    told: Told
    state: State
    workers: int

    def __str__(self) -> str:
        return f"{self.told}, {self.state}, {'1 process' if self.workers == 1 else f'{self.workers} workers'}"

    @property
    def grace(self) -> float:
        """Seconds that its runs have."""
        return GRACE[self.state]

    @property
    def is_hurried(self) -> bool:
        """Whether the grace period does not count."""
        return self.told in (Told.QUIT, Told.TERM_5)

    @property
    def is_killed(self) -> bool:
        """Whether the process that was started has no say in its end."""
        return self.told is Told.KILL

    @property
    def ends_within(self) -> float:
        """Seconds from the first signal to the end of every process."""
        return BEYOND_GRACE + (0.0 if self.is_hurried else self.grace)

    @property
    def leaves_locks(self) -> bool:
        """Whether what it held is for others to recover."""
        if self.told is Told.KILL_WORKER:
            return False
        return self.state is State.AWAY or (self.is_killed and self.workers == 1)

    @property
    def elsewhere_within(self) -> float:
        """Seconds until all that it held has begun elsewhere."""
        outage = BACK_WITHIN if self.state is State.AWAY else 0.0
        return outage + (LOST_WITHIN if self.leaves_locks else ELSEWHERE_WITHIN)

    @property
    def codes(self) -> set[int]:
        """The exit codes that tell the truth. Five signals may reach a server that has ended by the first."""
        match self.told:
            case Told.KILL:
                return {-9}
            case Told.TERM_5:
                in_order = {IN_ORDER} if self.state in (State.IDLE, State.CLAIMING) else set()
                killed = {KILLED} if self.workers > 1 else set()  # the third one kills workers
                return killed | ({AWAY} if self.state is State.AWAY else {HURRIED} | in_order)
            case Told.KILL_WORKER:
                return {IN_ORDER}
            case _ if self.state is State.AWAY:
                return {AWAY}
            case Told.QUIT:
                return {QUIT}
            case _:
                return {IN_ORDER}


def cases(workers: int) -> list[Case]:
    """All for so many workers."""
    told = [each for each in Told if workers > 1 or each is not Told.KILL_WORKER]
    return [Case(told=each, state=state, workers=workers) for state, each in product(State, told)]
