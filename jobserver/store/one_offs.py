"""One-off jobs: one document per name, ever, by a unique index; added, read and due.

A document that says in `handler` how it is run can be run by any server. {kind: file, path}, {kind: function, module,
name} and {kind: job, name}, the name of a job that servers know. One without waits for the job of its own name where
`byName` says so, else for a server whose program has handed over the function.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError, PyMongoError

from jobserver.errors import AlreadyAdded, DatabaseError, DataError, NameTaken, UnknownJob
from jobserver.one_off import OneOff, OneOffState
from jobserver.store.codec import is_text
from jobserver.store.connection import AsyncJobs, Document, what_mongodb_said
from jobserver.store.enqueue import Request, check_name, check_storable
from jobserver.store.expressions import BEGINNING, NOW, literal
from jobserver.store.queue import Desk
from jobserver.store.states import Status
from jobserver.store.steps import Steps
from jobserver.store.transitions import revive
from jobserver.store.views import moment, text

STATES = {
    Status.RUNNING: OneOffState.STARTED,
    Status.COMPLETED: OneOffState.FINISHED,
    Status.FAILED: OneOffState.FAILED,
    Status.CANCELLED: OneOffState.CANCELLED,
    Status.SKIPPED: OneOffState.CANCELLED,
}
MAY_BE_ADDED_AGAIN = (Status.FAILED, Status.CANCELLED, Status.SKIPPED)
MOST_HINTS = 1_000  # names among which a misspelt one is looked for
OTHERS_CAN_RUN = ("file", "function")
FAILED_BEFORE = (
    *("lastError", "failReason", "failedAt", "stack", "result", "cancelReason"),
    *("lastRunAt", "lastFinishedAt"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class OneOffRequest:
    """`handler` None and `by_name` False: a function that its server keeps.

    `job` is the text from which a client has made the handler: it may be the name of a job instead.
    """

    name: str
    data: Any = None
    handler: Mapping[str, Any] | None = None
    by_name: bool = False
    job: str | None = None


def check_one_off(name: Any, *, at: Any, data: Any) -> str:
    """The name. Raises DataError for what cannot be a one-off."""
    if name is None:
        raise DataError("name: a one-off job needs a name, by which it runs at most once; say name='…'")
    check_name(name)
    if at is not None:
        raise DataError("at: one-off jobs run at once; for a moment use add_job, or the client's schedule")
    check_storable(data)
    return str(name)


def ask(desk: Desk, request: OneOffRequest) -> Steps[OneOff]:
    """What a client asks for. Raises AlreadyAdded, and UnknownJob where it names no job that servers know."""
    known = yield from _jobs(desk, [request.name, request.job])
    if request.by_name or request.job == request.name:
        if request.name not in known:
            raise UnknownJob(request.name, (yield from _jobs(desk)))
        request = replace(request, by_name=True, handler=None)
    elif request.name in known:
        raise NameTaken(request.name, "a job that servers know")
    elif request.job in known:
        request = replace(request, handler={"kind": "job", "name": request.job})
    elif request.handler is None:
        raise UnknownJob(str(request.job), (yield from _jobs(desk)))
    one_off, is_ours = yield from add(desk, request)
    if not is_ours:
        raise AlreadyAdded(one_off.name, state=one_off.state, at=one_off.since)
    return one_off


def add(desk: Desk, request: OneOffRequest) -> Steps[tuple[OneOff, bool]]:
    """Queue it unless its name has run or will run; the document, and whether it is by our word that it is queued.

    Of any number that ask at once, the unique index lets one insert it, and the guard one queue it again. Raises
    DataError.
    """
    yield from desk.keep_one_offs_unique()
    while True:  # until one of us was first
        document = yield desk.jobs.find_one(_named(request.name))
        if document is None:
            document = yield from _insert(desk, request)
        elif document.get("status") in MAY_BE_ADDED_AGAIN and document.get("lockToken") is None:
            document = yield from _queue_again(desk, request)
        else:
            return as_one_off(document), False
        if document is not None:
            return as_one_off(document), True


def find(desk: Desk, name: str) -> Steps[OneOff | None]:
    """The one-off of that name, None where there never was one."""
    document = yield desk.jobs.find_one(_named(name))
    return None if document is None else as_one_off(document)


def read(desk: Desk, name: str) -> Steps[OneOff]:
    """The one-off of that name. Raises UnknownJob."""
    found = yield from find(desk, name)
    if found is None:
        others = yield desk.jobs.find({"oneOff": True}, {"name": 1}).limit(MOST_HINTS).to_list()
        raise UnknownJob(name, [str(each["name"]) for each in others], what="one-off job")
    return found


def as_one_off(document: Mapping[str, Any]) -> OneOff:
    """Read its document; what a hand has left unreadable is None."""
    status = document.get("status")
    state = STATES.get(Status(status), OneOffState.QUEUED) if status in list(Status) else OneOffState.QUEUED
    return OneOff(
        id=document["_id"],
        name=str(document.get("name")),
        state=state,
        data=document.get("data"),
        created_at=moment(document.get("createdAt")),
        started_at=moment(document.get("lastRunAt")),
        finished_at=moment(document.get("lastFinishedAt")),
        result=document.get("result"),
        error=text(document.get("lastError")),
        needs_code=document.get("handler") is None and document.get("byName") is not True,
    )


def due_one_offs(*, handed_over: Collection[str], known: Collection[str], without: Collection[str]) -> Document:
    """Those that are due and that a server with this code and these jobs could run, `without` some."""
    runnable = [
        {"handler.kind": {"$in": list(OTHERS_CAN_RUN)}},
        {"handler.kind": "job", "handler.name": {"$in": list(known)}},
        {"name": {"$in": list(handed_over)}},
    ]
    return {
        "oneOff": True,
        "nextRunAt": {"$gt": BEGINNING},
        "lockToken": None,
        "name": {"$type": "string", "$nin": list(without)},
        "$or": runnable,
        "$expr": {"$lte": ["$nextRunAt", NOW]},
    }


class OneOffStore:
    """For a runner: which one-offs are due. Raises DatabaseError when MongoDB is away."""

    def __init__(self, collection: AsyncJobs) -> None:
        self._jobs = collection

    async def due(
        self, *, handed_over: Collection[str], known: Collection[str], without: Collection[str], limit: int
    ) -> list[Document]:
        """The oldest due ones whose handler is stored, is a `known` job, or was `handed_over`; `name` and `handler`."""
        due = due_one_offs(handed_over=handed_over, known=known, without=without)
        try:
            return await self._jobs.find(due, {"name": 1, "handler": 1}).sort("nextRunAt").limit(limit).to_list()
        except PyMongoError as error:
            raise DatabaseError(f"one-off jobs could not be read: {what_mongodb_said(error)}") from error

    async def still_wanted(self, names: Collection[str]) -> set[str]:
        """Those of these that wait or run."""
        live = {"oneOff": True, "name": {"$in": list(names)}, "nextRunAt": {"$gt": BEGINNING}}
        try:
            return {each["name"] for each in await self._jobs.find(live, {"name": 1}).to_list()}
        except PyMongoError as error:
            raise DatabaseError(f"one-off jobs could not be read: {what_mongodb_said(error)}") from error


def _jobs(desk: Desk, names: Sequence[str | None] | None = None) -> Steps[list[str]]:
    """Which of these jobs, or which jobs at all, servers know or have known."""
    found = yield desk.configs.find(
        {} if names is None else {"jobName": {"$in": list(names)}}, {"jobName": 1}
    ).to_list()
    return [each["jobName"] for each in found if is_text(each.get("jobName"))]


def _insert(desk: Desk, request: OneOffRequest) -> Steps[Document | None]:
    """None where another one was first."""
    yield from desk.know_the_time()
    timing: Document = {"status": Status.QUEUED, "nextRunAt": desk.clock.now(), "oneOff": True, **_how(request)}
    try:
        (id_,) = yield from desk.add([Request(name=request.name, data=request.data, timing=timing)], None)
    except DuplicateKeyError:
        return None
    inserted: Document | None = yield desk.jobs.find_one({"_id": id_})
    return inserted


def _queue_again(desk: Desk, request: OneOffRequest) -> Steps[Document | None]:
    """failed or cancelled → queued, in one guarded update: of two that ask at once one finds nothing to do."""
    check_storable(request.data)
    again = {**_named(request.name), "status": {"$in": list(MAY_BE_ADDED_AGAIN)}, "lockToken": None, "lockedAt": None}
    values = {"data": {} if request.data is None else request.data, **_how(request)}
    change: list[Document] = [
        *revive(),
        {"$unset": [*FAILED_BEFORE, "handler", "byName"]},
        {"$set": {**{key: literal(value) for key, value in values.items()}, "createdAt": NOW}},
    ]
    found: Document | None = yield desk.jobs.find_one_and_update(again, change, return_document=ReturnDocument.AFTER)
    return found


def _how(request: OneOffRequest) -> Document:
    how: Document = {} if request.handler is None else {"handler": dict(request.handler)}
    return how | ({"byName": True} if request.by_name else {})


def _named(name: str) -> Document:
    return {"name": name, "oneOff": True}
