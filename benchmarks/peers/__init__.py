"""How fast other job queues run a no-op job on this machine.

Each peer gets a fresh server on 127.0.0.1, a driver program of ours that first queues its jobs and then, in a new
process, works them off with the best settings that the peer documents. The clock runs from telling the connected
worker to start until the last job is finished *in the database*.
"""

from __future__ import annotations

from benchmarks.peers.result import PeerResult
from benchmarks.peers.run import run_peers

__all__ = ["PeerResult", "run_peers"]
