"""Tasks that start after others: brings each on to what has become of the task before it.

    parent completed              the child is due now; one that is running runs once more afterwards
    parent failed or cancelled    the child is cancelled, and then its own children; one that recurs with a parent
                                  that will run again skips this one occurrence
    parent skipped                nothing

The rule looks at states, not at events: a child's `follows` holds the parent's settlement that it has followed last,
`followsCompletion` the last one of those that went well, so whoever comes by, however often and however late, does
what is still to be done, once. Both are absent where nothing is waited for any more. A completion counts also where
the parent has been claimed again since, or has failed: it may recur faster than anybody looks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import groupby
from typing import Any

from pymongo import UpdateOne
from pymongo.errors import PyMongoError

from jobserver.errors import DatabaseError
from jobserver.store import task_transitions
from jobserver.store.codec import is_text
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
    reason: str | None = None  # why a run that they were waiting for is cancelled
    wakes: bool = False
    again: bool = False  # the parent has ended once more since the completion that is followed


class ChainStore:
    """The chains, for a server. Raises DatabaseError when MongoDB is away."""

    def __init__(self, *, jobs: Any, runs: Any, server: Callable[[], str], retention: timedelta) -> None:
        self._jobs, self._runs, self._server, self._retention = jobs, runs, server, retention

    async def in_use(self) -> bool:
        """Whether anything waits for the end of another document. On collections of an AsyncDatabase."""
        with _in_our_words():
            return await self._jobs.find_one(waiting_for(None), {"_id": 1}) is not None

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
        look_again: list[Any] = []
        for step, group in _steps(children, retention):
            if step.reason is not None:
                yield from _record(runs, group, step.reason, server=server, session=session)
                look_again += [child["_id"] for child in group]
            # One alone is sent again by the driver when its reply is lost; many are not.
            update = jobs.update_one if len(group) == 1 else jobs.update_many
            yield update(_unchanged(group), step.change, session=session)
            if step.again:
                look_again.append(group[0]["startAfter"])
            if step.wakes:
                woken.update(child["name"] for child in group if is_text(child.get("name")))
        if not look_again:
            break
        parents = look_again
    return woken


def _unchanged(alike: Sequence[Document]) -> Document:
    """These children, where nobody has brought them on since they were read."""
    ids = [child["_id"] for child in alike]
    read = {field: {"$eq": alike[0].get(field)} for field in ("follows", "followsCompletion")}
    return {"_id": {"$in": ids}, **read}


def settlement_of(parent: Mapping[str, Any]) -> Any:
    """The mark of its last end."""
    return _stated(parent, "settledBy")


def completion_of(parent: Mapping[str, Any]) -> Any:
    """The mark of its last end that went well."""
    return _stated(parent, "completedBy")


def _stated(document: Mapping[str, Any], mark: str) -> Any:
    stated = document.get(mark)
    return NOTHING_YET if stated is None else stated


def runs_again(parent: Mapping[str, Any]) -> bool:
    """Whether it may end once more by itself."""
    if parent.get("withdrawn"):
        return parent.get("lockToken") is not None
    return any(parent.get(field) is not None for field in ("nextRunAt", "lockToken", "follows", "rearmAt"))


def waiting_for(parents: Sequence[Any] | None) -> Document:
    """What waits for the end of these documents, or of any."""
    one_of: Document = {} if parents is None else {"$in": list(parents)}
    # A parent whose `_id` is null would have every document without the field for its child.
    return {"startAfter": {**one_of, "$exists": True}, "follows": {"$exists": True}}


def _behind(collection: str, parents: Sequence[Any] | None) -> list[Document]:
    """The children that have not followed their parent's last end, each with its parent."""
    has_ended = {"$and": [{"$in": ["$parent.status", list(ENDED)]}, {"$ne": [_mark("parent.settledBy"), "$follows"]}]}
    has_completed = {"$ne": [_mark("parent.completedBy"), _mark("followsCompletion")]}
    orphaned = {"$eq": [{"$type": "$parent"}, "missing"]}
    of_child = ("name", "startAfter", "follows", "followsCompletion", "recurrence", "lockToken")
    of_parent = ("status", "settledBy", "completedBy", "nextRunAt", "lockToken", "follows", "rearmAt", "withdrawn")
    return [
        {"$match": waiting_for(parents)},
        {"$project": dict.fromkeys(of_child, 1)},
        {"$lookup": {"from": collection, "localField": "startAfter", "foreignField": "_id", "as": "parent"}},
        {"$set": {"parent": {"$first": "$parent"}}},
        {"$match": {"$expr": {"$or": [orphaned, has_ended, has_completed]}}},
        {"$project": dict.fromkeys((*of_child, *(f"parent.{field}" for field in of_parent)), 1)},
    ]


def _mark(field: str) -> Expression:
    return {"$ifNull": [f"${field}", NOTHING_YET]}


def _steps(children: Iterable[Document], retention: timedelta) -> Iterable[tuple[_Step, list[Document]]]:
    def alike(child: Document) -> str:  # the parent too: it may end between two reads of it
        marks = (child["startAfter"], child["follows"], child.get("followsCompletion"))
        return repr((marks, child.get("recurrence") is True, child.get("parent")))

    for _, group in groupby(sorted(children, key=alike), key=alike):
        same = list(group)
        yield _step(same[0], retention), same


def _step(child: Document, retention: timedelta) -> _Step:
    parent, before = child.get("parent"), child["startAfter"]
    if parent is None:
        change = task_transitions.withdraw(settlement=f"gone:{before}", reason=GONE, retention=retention)
        return _Step(change=change, reason=GONE)
    settlement, completion = settlement_of(parent), completion_of(parent)
    if completion != _stated(child, "followsCompletion"):
        return _released(child, completion, completion, again=settlement != completion)
    match parent.get("status"):
        case Status.COMPLETED:  # a hand has said so
            return _released(child, settlement, completion)
        case Status.FAILED:
            return _cancelled(child, parent, "has failed", retention)
        case Status.CANCELLED:
            return _cancelled(child, parent, "was cancelled", retention)
        case _:
            return _Step(change=task_transitions.follow_silently(settlement))


def _released(child: Document, settlement: Any, completion: Any, *, again: bool = False) -> _Step:
    recurs = child.get("recurrence") is True
    change = task_transitions.release_child(settlement, completion, recurs=recurs)
    return _Step(change=change, wakes=True, again=again and recurs)


def _cancelled(child: Document, parent: Document, ended: str, retention: timedelta) -> _Step:
    reason, settlement = f"task {child['startAfter']}, after which it starts, {ended}", settlement_of(parent)
    if child.get("recurrence") is True and runs_again(parent):
        change = task_transitions.cancel_occurrence(settlement, reason=reason)
    else:
        change = task_transitions.withdraw(settlement=settlement, reason=reason, retention=retention)
    return _Step(change=change, reason=reason)


def _record(runs: Any, children: Sequence[Document], reason: str, *, server: str, session: Any) -> Steps[None]:
    """In the history first, under ids that are the same whoever does it: a crash in between writes them twice."""
    entries = [_entry(child, reason, server) for child in children if child.get("lockToken") is None]
    if entries:
        kept = [UpdateOne({"_id": entry["_id"]}, _kept_or(entry), upsert=True) for entry in entries]
        yield runs.bulk_write(kept, ordered=False, session=session)


def _entry(child: Document, reason: str, server: str) -> Document:
    settlement = child.get("parent", {}).get("settledBy", NOTHING_YET)
    return cancelled_document(child, f"{child['_id']}:cancelled:{settlement}", server=server, reason=reason)


def _kept_or(entry: Document) -> list[Document]:
    """An update that writes this entry, now, unless it is there."""
    moments = dict.fromkeys(("scheduledAt", "startedAt", "finishedAt"), NOW)
    return [{"$replaceWith": {"$mergeObjects": [literal(entry), moments, "$$ROOT"]}}]
