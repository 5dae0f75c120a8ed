"""Tasks that start after others: brings each on to what has become of the task before it.

    parent completed              the child is due now; one that is running runs once more afterwards
    parent failed or cancelled    the child is cancelled, and then its own children; one that recurs with a parent
                                  that will run again skips this one occurrence
    parent skipped                nothing

The rule looks at states, not at events: a child's `follows` holds the parent's settlement that it has followed last,
so whoever comes by, however often and however late, does what is still to be done, once. `follows` is absent where
nothing is waited for any more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import groupby
from typing import Any

from pymongo.errors import PyMongoError

from jobserver.errors import DatabaseError
from jobserver.store import task_transitions
from jobserver.store.connection import Document, what_mongodb_said
from jobserver.store.expressions import NOW, Expression, literal
from jobserver.store.runs import cancelled_document
from jobserver.store.states import ENDED, Status
from jobserver.store.steps import Steps, carried_out, carried_out_plainly

NOTHING_YET = ""  # in `follows`: no settlement of the parent
GONE = "the task that it starts after is gone"
LONGEST_CHAIN = 1_000  # cancelled in one go; the next look takes up the rest


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """What is to be done with children that have followed the same parent up to the same settlement."""

    change: list[Document]
    follows: Any
    reason: str | None = None  # why a run that they were waiting for is cancelled
    wakes: bool = False


class ChainStore:
    """The chains, for a server. Raises DatabaseError when MongoDB is away."""

    def __init__(self, *, jobs: Any, runs: Any, server: Callable[[], str], retention: timedelta) -> None:
        self._jobs, self._runs, self._server, self._retention = jobs, runs, server, retention

    async def follow(self, parents: Sequence[Any]) -> set[str]:
        """Bring the children of these on; the names of jobs with due work. On collections of an AsyncDatabase."""
        with _in_our_words():
            return await carried_out(self._steps(parents))

    def sweep(self) -> set[str]:
        """The same for all children there are. On collections of a Database."""
        with _in_our_words():
            return carried_out_plainly(self._steps(None))

    def _steps(self, parents: Sequence[Any] | None) -> Steps[set[str]]:
        return follow(self._jobs, self._runs, parents, server=self._server(), retention=self._retention)


@contextmanager
def _in_our_words() -> Iterator[None]:
    try:
        yield
    except PyMongoError as error:
        raise DatabaseError(f"chains could not be brought on: {what_mongodb_said(error)}") from error


def follow(
    jobs: Any,
    runs: Any,
    parents: Sequence[Any] | None = None,
    *,
    server: str,
    retention: timedelta,
    session: Any = None,
) -> Steps[set[str]]:
    """Brings the children of these parents up to date, or all children; returns the names of jobs with due work."""
    woken: set[str] = set()
    for _ in range(LONGEST_CHAIN):
        cursor = yield jobs.aggregate(_behind(jobs.name, parents), session=session)
        children = yield cursor.to_list()
        cancelled: list[Any] = []
        for step, group in _steps(children, retention):
            if step.reason is not None:
                yield from _record(runs, group, step.reason, server=server, session=session)
                cancelled += [child["_id"] for child in group]
            unchanged = {"_id": {"$in": [child["_id"] for child in group]}, "follows": step.follows}
            yield jobs.update_many(unchanged, step.change, session=session)
            if step.wakes:
                woken.update(child["name"] for child in group if isinstance(child.get("name"), str))
        if not cancelled:
            break
        parents = cancelled
    return woken


def settlement_of(parent: Mapping[str, Any]) -> Any:
    """The mark of its last end."""
    return parent.get("settledBy", NOTHING_YET)


def runs_again(parent: Mapping[str, Any]) -> bool:
    """Whether it may end once more by itself."""
    if parent.get("withdrawn"):
        return parent.get("lockToken") is not None
    return any(parent.get(field) is not None for field in ("nextRunAt", "lockToken", "follows", "rearmAt"))


def _behind(collection: str, parents: Sequence[Any] | None) -> list[Document]:
    """The children that have not followed their parent's last end, each with its parent."""
    live: Document = {"follows": {"$exists": True}}
    live["startAfter"] = {"$exists": True} if parents is None else {"$in": list(parents)}
    settlement: Expression = {"$ifNull": ["$parent.settledBy", NOTHING_YET]}
    is_behind = {"$and": [{"$in": ["$parent.status", list(ENDED)]}, {"$ne": [settlement, "$follows"]}]}
    orphaned = {"$eq": [{"$type": "$parent"}, "missing"]}
    of_parent = ("status", "settledBy", "nextRunAt", "lockToken", "follows", "rearmAt", "withdrawn")
    return [
        {"$match": live},
        {"$project": dict.fromkeys(("name", "startAfter", "follows", "recurrence", "lockToken"), 1)},
        {"$lookup": {"from": collection, "localField": "startAfter", "foreignField": "_id", "as": "parent"}},
        {"$set": {"parent": {"$first": "$parent"}}},
        {"$match": {"$expr": {"$or": [orphaned, is_behind]}}},
        {
            "$project": {
                **dict.fromkeys(("name", "startAfter", "follows", "recurrence", "lockToken"), 1),
                **dict.fromkeys((f"parent.{field}" for field in of_parent), 1),
            }
        },
    ]


def _steps(children: Iterable[Document], retention: timedelta) -> Iterable[tuple[_Step, list[Document]]]:
    def alike(child: Document) -> str:
        return repr((child["startAfter"], child["follows"], child.get("recurrence") is True, "parent" in child))

    for _, group in groupby(sorted(children, key=alike), key=alike):
        same = list(group)
        yield _step(same[0], retention), same


def _step(child: Document, retention: timedelta) -> _Step:
    parent, follows, before = child.get("parent"), child["follows"], child["startAfter"]
    if parent is None:
        change = task_transitions.withdraw(settlement=f"gone:{before}", reason=GONE, retention=retention)
        return _Step(change=change, follows=follows, reason=GONE)
    settlement, recurs = settlement_of(parent), child.get("recurrence") is True
    match parent["status"]:
        case Status.COMPLETED:
            change = task_transitions.release_child(settlement, recurs=recurs)
            return _Step(change=change, follows=follows, wakes=True)
        case Status.SKIPPED:
            return _Step(change=task_transitions.follow_silently(settlement), follows=follows)
        case status:
            reason = (
                f"task {before}, after which it starts, {'has failed' if status == Status.FAILED else 'was cancelled'}"
            )
            if recurs and runs_again(parent):
                change = task_transitions.cancel_occurrence(settlement, reason=reason)
            else:
                change = task_transitions.withdraw(settlement=settlement, reason=reason, retention=retention)
            return _Step(change=change, follows=follows, reason=reason)


def _record(runs: Any, children: Sequence[Document], reason: str, *, server: str, session: Any) -> Steps[None]:
    """In the history first, under ids that are the same whoever does it: a crash in between writes them twice."""
    for child in children:
        if child.get("lockToken") is None:
            settlement = child.get("parent", {}).get("settledBy", NOTHING_YET)
            entry = cancelled_document(child, f"{child['_id']}:cancelled:{settlement}", server=server, reason=reason)
            there = {"_id": entry["_id"]}
            yield runs.update_one(there, _kept_or(entry), upsert=True, session=session)


def _kept_or(entry: Document) -> list[Document]:
    """An update that writes this entry, now, unless it is there."""
    moments = dict.fromkeys(("scheduledAt", "startedAt", "finishedAt"), NOW)
    return [{"$replaceWith": {"$mergeObjects": [literal(entry), moments, "$$ROOT"]}}]
