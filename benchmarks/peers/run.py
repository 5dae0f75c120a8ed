"""Measuring peers, one after the other."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import assert_never

from benchmarks.peers import processes, servers
from benchmarks.peers.catalogue import Needs, Peer, chosen
from benchmarks.peers.packages import CACHE
from benchmarks.peers.result import LeftOut, PeerResult
from jobserver.errors import DatabaseError

_DRIVER_SECONDS = 180.0  # for queueing, and again for working


def run_peers(names: Sequence[str], *, mongodb_uri: str | None) -> list[PeerResult]:
    """Results in the catalogue's order; without a URI, MongoDB peers get an embedded one each. Raises UnknownPeer."""
    return [_measured_or_left_out(peer, mongodb_uri) for peer in chosen(names)]


def _measured_or_left_out(peer: Peer, mongodb_uri: str | None) -> PeerResult:
    try:
        return _measure(peer, mongodb_uri)
    except (LeftOut, DatabaseError) as reason:
        return PeerResult(peer=peer.name, jobs=peer.jobs, left_out=str(reason))


def _measure(peer: Peer, mongodb_uri: str | None) -> PeerResult:
    folder = CACHE / peer.family
    _tell(f"{peer.name}: installing")
    peer.packages.install(folder)
    _tell(f"{peer.name}: starting {peer.needs}")
    with _server(peer.needs, mongodb_uri) as server:
        _tell(f"{peer.name}: queueing {peer.jobs:,} jobs")
        _drive(peer, "queue", server)
        _tell(f"{peer.name}: working")
        facts = json.loads(_drive(peer, "work", server))
    return PeerResult(**{**facts, "settings": {**facts["settings"], "server": server.description}})


def _server(needs: Needs, mongodb_uri: str | None) -> AbstractContextManager[servers.Server]:
    match needs:
        case Needs.MONGODB:
            return servers.mongodb(mongodb_uri)
        case Needs.POSTGRESQL:
            return servers.postgresql()
        case Needs.REDIS:
            return servers.redis()
        case _:
            assert_never(needs)


def _drive(peer: Peer, phase: str, server: servers.Server) -> str:
    folder = CACHE / peer.family
    command = [*peer.packages.command(peer.driver, folder), phase, server.url, str(peer.jobs), *peer.arguments]
    return processes.run(command, folder=folder, log=CACHE / f"{peer.name}.{phase}.log", timeout=_DRIVER_SECONDS)


def _tell(what: str) -> None:
    print(what, file=sys.stderr, flush=True)
