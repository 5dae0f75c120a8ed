"""Which peers there are. Their job counts make each take some seconds; their settings stand in their drivers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from benchmarks.peers.packages import NodePackages, Packages, PythonPackages
from jobserver.errors import JobServerError, did_you_mean


class Needs(StrEnum):
    """The server that a peer keeps its jobs in."""

    MONGODB = "mongodb"
    POSTGRESQL = "postgresql"
    REDIS = "redis"


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A job queue to measure; peers of one `family` share a driver and an installation."""

    name: str
    family: str
    driver: str
    packages: Packages
    needs: Needs
    jobs: int
    arguments: tuple[str, ...] = ()


class UnknownPeer(JobServerError):
    """No peer, and no family of peers, has that name."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        known = sorted(known)
        super().__init__(f"unknown peer {name!r}{did_you_mean(name, known)}; known peers: {', '.join(known)}")
        self.name, self.known = name, known


_PGQUEUER = PythonPackages(("pgqueuer[asyncpg]==1.6.0", "asyncpg==0.32.0", "uvloop==0.23.0"))

PEERS = (
    Peer(
        name="pulse",
        family="pulse",
        driver="pulse.mjs",
        packages=NodePackages({"@pulsecron/pulse": "1.6.8", "tslib": "2.9.1"}),  # it forgets to ask for tslib
        needs=Needs.MONGODB,
        jobs=3_000,
    ),
    Peer(
        name="agenda",
        family="agenda",
        driver="agenda.mjs",
        packages=NodePackages({"agenda": "6.2.6", "@agendajs/mongo-backend": "4.0.3"}),
        needs=Needs.MONGODB,
        jobs=3_000,
    ),
    Peer(
        name="apscheduler",
        family="apscheduler",
        driver="apscheduler_driver.py",
        packages=PythonPackages(("apscheduler==4.0.0a6", "pymongo==4.20.0")),
        needs=Needs.MONGODB,
        jobs=2_000,
    ),
    Peer(
        name="pgqueuer-10",
        family="pgqueuer",
        driver="pgqueuer_driver.py",
        packages=_PGQUEUER,
        needs=Needs.POSTGRESQL,
        jobs=50_000,
        arguments=("10",),
    ),
    Peer(
        name="pgqueuer-100",
        family="pgqueuer",
        driver="pgqueuer_driver.py",
        packages=_PGQUEUER,
        needs=Needs.POSTGRESQL,
        jobs=50_000,
        arguments=("100",),
    ),
    Peer(
        name="bullmq",
        family="bullmq",
        driver="bullmq.mjs",
        packages=NodePackages({"bullmq": "6.7.0", "ioredis": "6.0.0"}),
        needs=Needs.REDIS,
        jobs=100_000,
    ),
)


def chosen(names: Sequence[str]) -> list[Peer]:
    """The peers of these names or families, in the catalogue's order. Raises UnknownPeer."""
    known = {name for peer in PEERS for name in (peer.name, peer.family)}
    for name in names:
        if name not in known:
            raise UnknownPeer(name, known)
    return [peer for peer in PEERS if peer.name in names or peer.family in names]
