"""Commands that MongoDB fails on purpose. It has one such switch for all its clients, and so for all test processes."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from pymongo import MongoClient

MONGOD_DIRECTORY = "MONGOD_OF_THIS_TEST_SESSION"


@contextmanager
def failing(client: MongoClient[dict[str, Any]], *commands: str, times: int | None = None, **how: Any) -> Iterator[str]:
    """These commands fail, all or the next so many, for the client with the app name that this gives.

    Whoever has the switch keeps the other test processes waiting: theirs would end this one.
    """
    app_name = f"test {uuid4().hex}"
    mode: Any = "alwaysOn" if times is None else {"times": times}
    data = {"failCommands": list(commands), "appName": app_name, **how}
    with (Path(os.environ[MONGOD_DIRECTORY]) / "failing.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        client.admin.command({"configureFailPoint": "failCommand", "mode": mode, "data": data})
        try:
            yield app_name
        finally:
            client.admin.command({"configureFailPoint": "failCommand", "mode": "off"})
