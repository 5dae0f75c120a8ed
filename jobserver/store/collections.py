"""Which collections belong to one job server."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionNames:
    """Only the jobs collection can be renamed: people and other programs know the rest by these names."""

    jobs: str = "pulseJobs"
    configs: str = "jobConfigs"
    history: str = "jobConfigHistory"
    runs: str = "jobRuns"
    servers: str = "jobServers"
