"""How soon an edit of a configuration document is in force on every server."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from datetime import datetime
from typing import Any

from pymongo.database import Database

from benchmarks.bench import Bench
from benchmarks.figure import Bound, Figure, NotMeasured, Reading, Spread, Target, Unit, percentile
from benchmarks.mongod import Document
from benchmarks.rounds import tell
from benchmarks.servers import NOOP, Server, project, starting

SERVERS = 4
LONGEST = 75.0  # seconds; servers look at every document once a minute whatever they hear


def measure(bench: Bench) -> Figure:
    """Four separate commands; in force is when a server's log says so."""
    mongod, edits = bench.mongod(), bench.sizes.edits
    delays: list[float] = []
    with mongod.scratch_database() as database, ExitStack() as running:
        tell(f"  starting {SERVERS} servers")
        folders = [running.enter_context(project(database.name, mongod.uri, ["noop"])) for _ in range(SERVERS)]
        servers = [running.enter_context(starting(folder)) for folder in folders]
        for server in servers:
            server.await_start()
        tell(f"  {edits} edits")
        for edit in _edits(edits):
            delays += _delays(database, servers, edit)
            time.sleep(random.uniform(0, 0.05))  # else every edit would come in the same phase of the servers' loops
    readings = (
        _reading("$set → in force on a server, p99", percentile(delays, 99), Target(bound=Bound.AT_MOST, limit=1000)),
        _reading("$set → in force on a server, p50", percentile(delays, 50)),
        _reading("$set → in force on a server, longest", max(delays)),
    )
    return Figure(title=f"a config edit on {SERVERS} servers", readings=readings, facts={"edits": edits})


def _edits(count: int) -> Iterator[dict[str, Any]]:
    """Each differs from what was in force."""
    for number in range(count):
        yield {"concurrency": number + 1} if number % 2 else {"schedule": f"{number % 60} 0 1 1 *"}


def _delays(database: Database[Document], servers: Sequence[Server], edit: dict[str, Any]) -> list[float]:
    """Milliseconds, one per server."""
    sent = time.time()
    database.jobConfigs.update_one({"jobName": NOOP}, {"$set": edit})
    (field,) = edit
    return [(_in_force_at(server, field) - sent) * 1e3 for server in servers]


def _in_force_at(server: Server, field: str) -> float:
    found: list[float] = []

    def is_in_force() -> bool:
        applied = [record for record in server.new_records() if record.get("event") == "config applied"]
        found.extend(datetime.fromisoformat(record["timestamp"]).timestamp() for record in applied if field in record)
        return bool(found)

    server.await_(is_in_force, what=f"the new {field}", seconds=LONGEST)
    if len(found) > 1:
        raise NotMeasured(f"one edit of {field} came into force {len(found)} times")
    return found[0]


def _reading(what: str, value: float, target: Target | None = None) -> Reading:
    return Reading(what=what, unit=Unit.MILLISECONDS, spread=Spread.of([value]), target=target)
