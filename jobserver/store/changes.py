"""Change streams as hints: they hasten what polling would find anyway.

A stream starts at "now" each time it opens and its reader then looks at everything once, so no resume token is kept:
a dead one cannot trap it, and whatever happened while it was closed is seen by that look.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from pymongo.errors import OperationFailure, PyMongoError
from pymongo.read_concern import ReadConcern

from jobserver.errors import DatabaseError
from jobserver.store.connection import AsyncJobs, Document, what_mongodb_said
from jobserver.store.states import Status

# What a server answers that has no change streams: a standalone (40573), or a user without the right (13).
UNSUPPORTED = {40573, 40324, 13}
AWAIT_MS = 10_000


class ChangeStreamsUnsupported(DatabaseError):
    """This MongoDB has no change streams: polling alone has to do."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(
            f"this MongoDB gives no change streams ({what_mongodb_said(cause)}); polling takes their place"
        )


class Changes:
    """The change events of one collection, each cut down to the fields that `pipeline` leaves."""

    def __init__(self, collection: AsyncJobs, pipeline: Sequence[Document]) -> None:
        # MongoDB gives change streams at this read concern only.
        self._collection = collection.with_options(read_concern=ReadConcern("majority"))
        self._pipeline = list(pipeline)

    async def events(self, opened: Callable[[], None]) -> AsyncIterator[Any]:
        """Yield each event; `opened` is called once, as soon as nothing more can be missed.

        Raises ChangeStreamsUnsupported, or DatabaseError when the stream breaks or its collection is dropped.
        """
        try:
            async with await self._collection.watch(self._pipeline, max_await_time_ms=AWAIT_MS) as stream:
                opened()
                async for event in stream:
                    if event["operationType"] == "invalidate":
                        raise DatabaseError("the change stream ended: its collection was dropped or renamed")
                    yield event
        except OperationFailure as error:
            if error.code in UNSUPPORTED:
                raise ChangeStreamsUnsupported(error) from error
            raise DatabaseError(f"the change stream broke: {what_mongodb_said(error)}") from error
        except PyMongoError as error:
            raise DatabaseError(f"the change stream broke: {what_mongodb_said(error)}") from error


# What becomes due at once: new documents, and those that an update has put into the queue: given back, taken back from
# a dead server, revived, following another. MongoDB finds both in its log by itself: a claim or a settle costs a stream
# hardly more than with inserts alone (docs/decisions.md). A document that an update makes due later is known to the
# server that made it, or polled.
JOB_HINTS: list[Document] = [
    {
        "$match": {
            "$or": [
                {"operationType": {"$in": ["insert", "invalidate"]}},
                {"operationType": "update", "updateDescription.updatedFields.status": Status.QUEUED.value},
            ]
        }
    },
    {
        "$project": {
            "operationType": 1,
            "name": "$fullDocument.name",
            "nextRunAt": "$fullDocument.nextRunAt",
            "oneOff": "$fullDocument.oneOff",
        }
    },
]
CONFIG_HINTS: list[Document] = [{"$project": {"operationType": 1}}]
