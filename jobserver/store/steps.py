"""One sequence of commands for a database that may be async: each is yielded, and its answer sent back.

def count(jobs):
    waiting = yield jobs.count_documents({"status": "queued"})
    return waiting

await carried_out(count(async_jobs))        carried_out_plainly(count(jobs))
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, TypeVar

from pymongo.errors import PyMongoError

Result = TypeVar("Result")
Steps = Generator[Any, Any, Result]


async def carried_out(steps: Steps[Result]) -> Result:
    """Await each command; what it raises is raised inside the steps, which may handle it."""
    try:
        command = next(steps)
        while True:
            try:
                answer = await command
            except PyMongoError as error:
                command = steps.throw(error)
            else:
                command = steps.send(answer)
    except StopIteration as end:
        result: Result = end.value
        return result


def carried_out_plainly(steps: Steps[Result]) -> Result:
    """Without `await`: a command has been carried out by the time it is yielded."""
    try:
        answer = next(steps)
        while True:
            answer = steps.send(answer)
    except StopIteration as end:
        result: Result = end.value
        return result
