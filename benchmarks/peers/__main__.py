"""`python -m benchmarks.peers`: a table, or JSON, of other queues' no-op jobs per second."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from dataclasses import asdict
from types import FrameType

from benchmarks.peers.catalogue import PEERS, UnknownPeer
from benchmarks.peers.run import run_peers
from benchmarks.peers.table import render


def main() -> int:
    """Exit code 0 where at least one peer was measured, 1 where none was, 2 for wrong arguments."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    families = ",".join(dict.fromkeys(peer.family for peer in PEERS))
    parser.add_argument("--only", default=families, metavar="NAMES", help=f"some of {families}")
    parser.add_argument("--mongodb-uri", help="measure MongoDB peers there (default: an embedded MongoDB each)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, _leave)
    try:
        results = run_peers(arguments.only.split(","), mongodb_uri=arguments.mongodb_uri)
    except UnknownPeer as error:
        parser.error(str(error))
    print(json.dumps([asdict(it) for it in results], indent=2) if arguments.json else render(results))
    return 0 if any(it.jobs_per_second for it in results) else 1


def _leave(number: int, _frame: FrameType | None) -> None:
    # As an exception, so that every block on the way out ends its server.
    sys.exit(128 + number)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
