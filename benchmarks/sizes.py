"""How much is done for each figure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Counts, and lengths in seconds."""

    rounds: int
    long_rounds: int  # of what takes long
    jobs: int
    fewer_jobs: int  # where four workers or a slow line share them
    insert_rate: int  # jobs per second
    insert_seconds: float
    insert_rounds: int
    idle_seconds: float
    idle_jobs: int
    completed: int
    future: int
    held: int
    tasks: int  # recurring, not due
    due_tasks: int  # recurring, due in the same second
    edits: int
    commands: int
    kills: int
    stuck: int  # runs of each kind that do not listen
    killed: int  # process runs of a server that is killed
    runs: int  # in processes, or one after the other
    flood_seconds: float
    one_offs: int  # each is added eight times


FULL = Sizes(
    rounds=5,
    long_rounds=3,
    jobs=50_000,
    fewer_jobs=20_000,
    insert_rate=100,
    insert_seconds=10.0,
    insert_rounds=2,
    idle_seconds=30.0,
    idle_jobs=100,
    completed=1_000_000,
    future=300_000,
    held=200_000,
    tasks=100_000,
    due_tasks=10_000,
    edits=50,
    commands=20,
    kills=2,
    stuck=100,
    killed=200,
    runs=300,
    flood_seconds=60.0,
    one_offs=1_000,
)
QUICK = Sizes(
    rounds=1,
    long_rounds=1,
    jobs=5_000,
    fewer_jobs=3_000,
    insert_rate=100,
    insert_seconds=1.5,
    insert_rounds=1,
    idle_seconds=4.0,
    idle_jobs=100,
    completed=10_000,
    future=3_000,
    held=2_000,
    tasks=5_000,
    due_tasks=1_000,
    edits=10,
    commands=8,
    kills=1,
    stuck=10,
    killed=10,
    runs=40,
    flood_seconds=4.0,
    one_offs=30,
)
