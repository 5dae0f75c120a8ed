"""What a hundred thousand recurring tasks cost that are not due, and how soon those start that are due together."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from pymongo.database import Database

from benchmarks.bench import Bench
from benchmarks.commands import Effort, effort_within
from benchmarks.figure import Bound, Figure, NotMeasured, Reading, Spread, Target, Unit
from benchmarks.flood import let_go
from benchmarks.mongod import Document, Mongod, mongod
from benchmarks.recurring import DAY, make_tasks
from benchmarks.rounds import Work, by_turns, rates, ratio, tell, work_readings
from benchmarks.servers import NOOP, Server, project, set_concurrency, started
from benchmarks.sizes import Sizes
from jobserver import SyncJobClient
from jobserver.store.collections import CollectionNames
from jobserver.store.indexes import ensure_indexes

BEGINS = "api:begins"
JOBS = ["noop", "begins"]
EMPTY, FULL = "empty collection", "with the tasks"
SETTLED_AFTER = 3.0
AHEAD = timedelta(seconds=8)  # from making the tasks that are due together to that moment


@dataclass(frozen=True, slots=True, kw_only=True)
class Starts:
    """Tasks that were due at one moment: milliseconds from it to the first and the last start, and what went wrong."""

    first: float
    last: float
    lost: int
    twice: int


def measure(bench: Bench) -> Figure:
    """On a mongod with the memory for it; what is due together waits in the full collection."""
    sizes = bench.sizes
    with mongod(cache_gb=2.0) as own, own.scratch_database() as filled:
        _fill(own, filled, sizes)
        idle = by_turns(sizes.long_rounds, _contenders(own, filled, partial(_idle, sizes=sizes)))
        works = by_turns(sizes.long_rounds, _contenders(own, filled, partial(_flood, sizes=sizes)))
        starts = [_together(own, filled, sizes.due_tasks) for _ in range(sizes.long_rounds)]
    readings = [
        *_idle_readings(idle[EMPTY], idle[FULL], sizes.idle_seconds),
        ratio("another job's jobs/s", rates(works[FULL]), rates(works[EMPTY]), Target(bound=Bound.AT_LEAST, limit=0.9)),
        *work_readings(EMPTY, works[EMPTY]),
        *work_readings(FULL, works[FULL]),
        *_start_readings(starts),
    ]
    facts = {"tasks not due": sizes.tasks, "due together": sizes.due_tasks, "idle seconds": sizes.idle_seconds}
    return Figure(title="recurring tasks", readings=tuple(readings), facts=facts)


def _fill(own: Mongod, filled: Database[Document], sizes: Sizes) -> None:
    tell(f"  inserting {sizes.tasks:,} recurring tasks")
    ensure_indexes(filled, CollectionNames())
    make_tasks(filled, BEGINS, sizes.tasks, start=datetime.now(UTC) + DAY, spread=30 * DAY)
    own.client.admin.command("fsync")  # or the checkpoint of all this comes while others are measured


def _contenders(own: Mongod, filled: Database[Document], run: Any) -> Mapping[str, Any]:
    def in_an_empty_one() -> Any:
        with own.scratch_database() as database:
            return run(own, database)

    return {EMPTY: in_an_empty_one, FULL: partial(run, own, filled)}


def _idle(own: Mongod, database: Database[Document], *, sizes: Sizes) -> Effort:
    with project(database.name, own.uri, JOBS) as folder, started(folder):
        time.sleep(SETTLED_AFTER)
        return effort_within(sizes.idle_seconds, own.uri)


def _flood(own: Mongod, database: Database[Document], *, sizes: Sizes) -> Work:
    set_concurrency(database, NOOP, 0)
    with project(database.name, own.uri, JOBS) as folder, started(folder) as server:
        return let_go(own, database, server, jobs=sizes.fewer_jobs).work


def _together(own: Mongod, database: Database[Document], count: int) -> Starts:
    """All of them at one moment, to the millisecond; they are gone afterwards."""
    tell(f"  {count:,} tasks in the same second")
    with project(database.name, own.uri, JOBS) as folder, started(folder) as server:
        due = (datetime.now(UTC) + AHEAD).replace(microsecond=0)
        ids = make_tasks(database, BEGINS, count, start=due, spread=timedelta())
        try:
            if datetime.now(UTC) >= due:
                raise NotMeasured(f"making {count:,} tasks took longer than {AHEAD.total_seconds():.0f} s")
            _await_ends(database, server, ids)
            return _starts(_calls(database, server, folder), due, count)
        finally:
            database.pulseJobs.delete_many({"_id": {"$gte": min(ids), "$lte": max(ids)}})


def _await_ends(database: Database[Document], server: Server, ids: Sequence[Any]) -> None:
    open_ones = {"_id": {"$gte": min(ids), "$lte": max(ids)}, "lastCompletedAt": {"$exists": False}}
    server.await_(
        lambda: not database.pulseJobs.count_documents(open_ones, limit=1), what=f"{len(ids):,} tasks", seconds=120
    )


def _calls(database: Database[Document], server: Server, folder: Path) -> list[tuple[int, int]]:
    written = folder / "calls.json"
    SyncJobClient(database).enqueue(BEGINS, {"write_to": str(written)})
    server.await_(written.exists, what="the moments of the calls", seconds=60)
    return [(number, at) for number, at in json.loads(written.read_text())]


def _starts(calls: Sequence[tuple[int, int]], due: datetime, count: int) -> Starts:
    times = Counter(number for number, _ in calls)
    after = sorted(at / 1e6 - due.timestamp() * 1e3 for _, at in calls)
    lost = sum(number not in times for number in range(count))
    return Starts(first=after[0], last=after[-1], lost=lost, twice=sum(n > 1 for n in times.values()))


def _idle_readings(empty: Sequence[Effort], full: Sequence[Effort], seconds: float) -> list[Reading]:
    before, after = ([effort.commands.total() / seconds for effort in efforts] for efforts in (empty, full))
    keys = [[effort.keys / seconds for effort in efforts] for efforts in (empty, full)]
    documents = [[effort.documents / seconds for effort in efforts] for efforts in (empty, full)]
    no_more, few = Target(bound=Bound.AT_MOST, limit=1.1), Target(bound=Bound.AT_MOST, limit=5)
    more = [after - before for before, after in zip(*keys, strict=True)]
    return [
        ratio("idle: commands against an empty collection", after, before, no_more),
        _reading("idle: index keys examined, more than there", more, Unit.PER_SECOND, few),
        _reading(f"idle: commands, {EMPTY}", before, Unit.PER_SECOND),
        _reading(f"idle: commands, {FULL}", after, Unit.PER_SECOND),
        _reading(f"idle: keys, {EMPTY}", keys[0], Unit.PER_SECOND),
        _reading(f"idle: keys, {FULL}", keys[1], Unit.PER_SECOND),
        _reading(f"idle: documents, {EMPTY}", documents[0], Unit.PER_SECOND),
        _reading(f"idle: documents, {FULL}", documents[1], Unit.PER_SECOND),
    ]


def _start_readings(starts: Sequence[Starts]) -> list[Reading]:
    none = Target(bound=Bound.AT_MOST, limit=0)
    return [
        _reading("due together: to the first start", [each.first for each in starts], Unit.MILLISECONDS),
        _reading("due together: to the last start", [each.last for each in starts], Unit.MILLISECONDS),
        _reading("due together: never started", [each.lost for each in starts], Unit.COUNT, none),
        _reading("due together: started more than once", [each.twice for each in starts], Unit.COUNT, none),
    ]


def _reading(what: str, values: Sequence[float], unit: Unit, target: Target | None = None) -> Reading:
    return Reading(what=what, unit=unit, spread=Spread.of(values), target=target)
