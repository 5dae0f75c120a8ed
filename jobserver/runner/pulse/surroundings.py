"""What the MongoDB runner is given from outside."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from jobserver.definition import JobDefinition
from jobserver.execution.run_log import UNKEPT, RunLogs
from jobserver.runner.pulse.lease import Lease
from jobserver.runner.told import Told
from jobserver.store.clock import ServerClock, boottime
from jobserver.store.collections import CollectionNames
from jobserver.store.connection import AsyncDb


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a runner is given: the database, its settings, who it is, and whom to tell of a rush of claims and wear.

    `define_stored` makes a definition of the handler in a one-off's document; it may block, and raise JobServerError.
    """

    uri: str
    database: AsyncDb
    names: CollectionNames
    clock: ServerClock
    version: str
    define_stored: Callable[[str, Mapping[str, Any]], JobDefinition]
    told: Told = field(default_factory=Told)
    supervisor: str | None = None
    monotonic: Callable[[], float] = boottime
    rush_began: Callable[[], None] = lambda: None
    rush_ended: Callable[[], None] = lambda: None
    worn_out: Callable[[str], None] = lambda reason: None
    run_logs: RunLogs = UNKEPT
    lease: Lease = field(default_factory=lambda: Lease(monotonic=boottime))

    def server_id(self) -> str:
        """Under which id this server is registered now."""
        return self.lease.owner
