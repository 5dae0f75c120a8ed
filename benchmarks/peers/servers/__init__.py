"""A fresh server per peer, on 127.0.0.1 and a free port, its data in a folder that goes with it."""

from __future__ import annotations

from benchmarks.peers.servers.mongodb import mongodb
from benchmarks.peers.servers.postgresql import postgresql
from benchmarks.peers.servers.redis import redis
from benchmarks.peers.servers.server import Server

__all__ = ["Server", "mongodb", "postgresql", "redis"]
