"""Watches what MongoDB commits, from outside: a change stream over the whole database, kept on disk as it comes.

Nothing of jobserver is used. A stream gives what a majority has, in the order of the commits; after an election it is
resumed from the last event. Events carry differences, from which `changes` puts the documents together again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import bson
from bson.codec_options import CodecOptions, DatetimeConversion
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from tests.chaos.history import Change
from tests.chaos.rule import CONFIGS, JOBS, SERVERS

WATCHED = (JOBS, SERVERS, CONFIGS)
FENCE = "chaosWitness"  # a collection whose last write tells that all before it has been seen
CODEC: CodecOptions[dict[str, Any]] = CodecOptions(tz_aware=True, datetime_conversion=DatetimeConversion.DATETIME_AUTO)
AWAY = 0.2  # seconds between tries while MongoDB is away

Event = dict[str, Any]


class Witness:
    """Follows one database in a thread of its own, from before the first write to after the last."""

    def __init__(self, uri: str, database: str, path: Path) -> None:
        self._uri, self._database, self.path = uri, database, path
        self._opened = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="witness", daemon=True)
        self._seen_fence: Any = None
        self.events = 0
        self.fault: BaseException | None = None

    def start(self) -> None:
        """Begin; returns when nothing can be missed any more."""
        self._thread.start()
        if not self._opened.wait(60):
            raise RuntimeError(f"the witness does not see the database: {self.fault}")

    def stop(self, client: MongoClient[Any], *, within: float = 120.0) -> None:
        """Wait until everything that is committed by now has been seen, and end."""
        number = time.monotonic_ns()
        client[self._database][FENCE].insert_one({"_id": number})
        deadline = time.monotonic() + within
        while self._seen_fence != number and self._thread.is_alive() and time.monotonic() < deadline:
            time.sleep(0.05)
        self._stopping.set()
        self._thread.join(30)
        if self._seen_fence != number:
            raise RuntimeError(f"the witness has not seen everything: {self.fault or 'it is too slow'}")

    def _follow(self) -> None:
        resume: dict[str, Any] = {}
        kinds = [{"$match": {"ns.coll": {"$in": [*WATCHED, FENCE]}}}]
        with (
            MongoClient[Any](self._uri, tz_aware=True, serverSelectionTimeoutMS=2000) as client,
            self.path.open("wb") as out,
        ):
            database = client[self._database].with_options(codec_options=CODEC)
            while not self._stopping.is_set():
                try:
                    with database.watch(kinds, max_await_time_ms=200, batch_size=1000, **resume) as stream:
                        self._opened.set()
                        while not self._stopping.is_set():
                            event = stream.try_next()
                            resume = {"resume_after": stream.resume_token} if stream.resume_token else resume
                            if event is not None:
                                self._keep(dict(event), out)
                except PyMongoError as error:
                    self.fault = error
                    time.sleep(AWAY)
                except BaseException as error:
                    self.fault = error
                    raise

    def _keep(self, event: Event, out: Any) -> None:
        if event["ns"]["coll"] == FENCE:
            self._seen_fence = event["documentKey"]["_id"]
            return
        self.events += 1
        kept = {key: event[key] for key in ("operationType", "wallTime", "documentKey", "fullDocument") if key in event}
        if "updateDescription" in event:
            kept["updateDescription"] = event["updateDescription"]
        out.write(bson.encode(kept | {"collection": event["ns"]["coll"]}, codec_options=CODEC))


def read_events(path: Path) -> Iterator[Event]:
    """What a witness has kept."""
    with path.open("rb") as kept:
        yield from bson.decode_file_iter(kept, codec_options=CODEC)


def changes(events: Iterable[Event]) -> Iterator[Change]:
    """The documents before and after each event. Raises ValueError for an update of a document that was never seen."""
    documents: dict[tuple[str, str], dict[str, Any]] = {}
    for event in events:
        collection, id_ = event["collection"], event["documentKey"]["_id"]
        key = collection, repr(id_)
        before = documents.get(key, {})
        after = _after(before, event)
        yield Change(at=event["wallTime"], collection=collection, id=id_, before=before, after=after)
        if after:
            documents[key] = after
        else:
            documents.pop(key, None)


def _after(before: dict[str, Any], event: Event) -> dict[str, Any]:
    match event["operationType"]:
        case "insert" | "replace":
            return dict(event["fullDocument"])
        case "delete":
            return {}
        case "update":
            if not before:
                raise ValueError(f"an update of {event['documentKey']}, which was never inserted")
            return _changed(before, event["updateDescription"])
        case other:
            raise ValueError(f"a chaos run does not {other} collections")


def _changed(before: dict[str, Any], description: dict[str, Any]) -> dict[str, Any]:
    """A copy with the difference; what has not changed is shared, so a history of many changes stays small."""
    after = dict(before)
    copied: set[str] = set()

    def parent(path: str) -> tuple[Any, str]:
        *way, last = path.split(".")
        if way and way[0] not in copied:
            after[way[0]] = deepcopy(after[way[0]])
            copied.add(way[0])
        here: Any = after
        for name in way:
            here = here[int(name) if isinstance(here, list) else name]
        return here, last

    for cut in description.get("truncatedArrays", ()):
        here, last = parent(f"{cut['field']}.0")
        del here[cut["newSize"] :]
    for path, value in description.get("updatedFields", {}).items():
        here, last = parent(path)
        if isinstance(here, list):
            here[int(last) : int(last) + 1] = [value]
        else:
            here[last] = value
    for path in description.get("removedFields", ()):
        here, last = parent(path)
        here.pop(last, None)
    return after
