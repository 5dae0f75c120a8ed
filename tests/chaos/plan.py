"""How much of everything: the short form for every commit, the long one for figures that can be published."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.chaos.faults import Kind

SERVERS = (Kind.WORKER_KILLED, Kind.SUPERVISOR_KILLED, Kind.HOST_KILLED, Kind.RUN_KILLED)
PAUSES = (Kind.PAUSED,)
MONGODS = (
    *(Kind.PRIMARY_KILLED, Kind.SECONDARY_KILLED, Kind.STEPPED_DOWN, Kind.PRIMARY_FROZEN, Kind.MAJORITY_LOST),
    *(Kind.DISK_FULL, Kind.REFUSED, Kind.BLOCKED),
)
NETWORK = (Kind.PARTITIONED, Kind.ONE_WAY, Kind.LATE, Kind.SLOW, Kind.RESET, Kind.REPLIES_LOST)
PEOPLE = (Kind.CONFIG_STORM, Kind.FILES_CHANGED)
ALL = {
    "faults": tuple(Kind),
    "kills": SERVERS,
    "pauses": PAUSES,
    "primary kills": (Kind.PRIMARY_KILLED,),
    "partitions": (Kind.PARTITIONED, Kind.ONE_WAY),
}
LANES = {"servers": SERVERS, "pauses": PAUSES, "mongods": MONGODS, "network": NETWORK, "people": PEOPLE}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """`jobs` over `seconds`, beside so many faults of each kind; `lease` and `skew` in seconds.

    Then so many faults come `alone`, each on otherwise sound machines: how long recovery takes is measured there, for
    beside others it takes as long as those last. Fewer than `least`, by the names in `ALL`, prove nothing.
    """

    jobs: int
    seconds: float
    faults: Mapping[Kind, int]
    alone: Mapping[Kind, int]
    least: Mapping[str, int]
    lease: float = 6.0
    hosts: Mapping[str, int] = field(default_factory=lambda: {"first": 2, "second": 1})  # name: workers
    skew: float = 3600.0
    seed: int = 0

    @property
    def patience(self) -> float:
        """Seconds until all that is left has ended, once nothing disturbs any more."""
        return 120.0 + self.jobs / 50

    def lanes(self) -> dict[str, dict[Kind, int]]:
        """Which faults follow each other; lanes go on beside each other."""
        chosen = {name: {kind: self.faults.get(kind, 0) for kind in kinds} for name, kinds in LANES.items()}
        return {name: counts for name, counts in chosen.items() if any(counts.values())}


SHORT = Plan(
    jobs=2_000,
    seconds=60,
    least={"faults": 20},
    alone={Kind.WORKER_KILLED: 3, Kind.HOST_KILLED: 1, Kind.PRIMARY_KILLED: 1, Kind.PARTITIONED: 2},
    faults={
        Kind.WORKER_KILLED: 4,
        Kind.SUPERVISOR_KILLED: 1,
        Kind.HOST_KILLED: 2,
        Kind.RUN_KILLED: 3,
        Kind.PAUSED: 2,
        Kind.PRIMARY_KILLED: 2,
        Kind.STEPPED_DOWN: 1,
        Kind.PRIMARY_FROZEN: 1,
        Kind.MAJORITY_LOST: 1,
        Kind.DISK_FULL: 1,
        Kind.REFUSED: 1,
        Kind.BLOCKED: 1,
        Kind.PARTITIONED: 2,
        Kind.ONE_WAY: 1,
        Kind.RESET: 1,
        Kind.REPLIES_LOST: 3,
        Kind.CONFIG_STORM: 2,
        Kind.FILES_CHANGED: 3,
    },
)
LONG = Plan(
    jobs=100_000,
    seconds=1_500,
    least={"kills": 200, "pauses": 50, "primary kills": 30, "partitions": 30},
    alone={Kind.WORKER_KILLED: 30, Kind.HOST_KILLED: 10, Kind.PRIMARY_KILLED: 10},
    hosts={"first": 2, "second": 2, "third": 1},
    faults={
        Kind.WORKER_KILLED: 100,
        Kind.SUPERVISOR_KILLED: 15,
        Kind.HOST_KILLED: 40,
        Kind.RUN_KILLED: 60,
        Kind.PAUSED: 55,
        Kind.PRIMARY_KILLED: 32,
        Kind.SECONDARY_KILLED: 5,
        Kind.STEPPED_DOWN: 10,
        Kind.PRIMARY_FROZEN: 10,
        Kind.MAJORITY_LOST: 10,
        Kind.DISK_FULL: 8,
        Kind.REFUSED: 10,
        Kind.BLOCKED: 10,
        Kind.PARTITIONED: 32,
        Kind.ONE_WAY: 15,
        Kind.LATE: 15,
        Kind.SLOW: 15,
        Kind.RESET: 30,
        Kind.REPLIES_LOST: 60,
        Kind.CONFIG_STORM: 60,
        Kind.FILES_CHANGED: 100,
    },
)
