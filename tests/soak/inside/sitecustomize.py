"""Lets a server process tell what can only be seen from inside: its tasks, and how long its event loop lets one wait.

A thread asks the loop for a turn ten times a second; the time until it has one is the lag. It begins with the first
task that this process has, and only in `jobserver start`: what forks and what runs jobs has no thread of ours.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

EVERY = 0.1  # seconds
LINE_EVERY = 10  # turns
MOST_WAITED = 30.0  # seconds for one turn; then it counts as that


def watch(folder: Path) -> None:
    """Until the process ends: a line a second."""
    loop = _loop()
    number, lags = 0, []
    with (folder / f"{os.getpid()}.jsonl").open("a", buffering=1) as out:
        while not loop.is_closed():
            time.sleep(EVERY)
            lags.append(_turn(loop))
            number += 1
            if number % LINE_EVERY == 0:
                told = {"at": time.monotonic(), "lags": lags, **_tasks(loop)}
                out.write(json.dumps(told) + "\n")
                lags = []


def _loop() -> asyncio.AbstractEventLoop:
    """The loop of this process, once it runs."""
    while True:
        time.sleep(EVERY)
        for task in list(asyncio.tasks._scheduled_tasks):  # type: ignore[attr-defined]  # there is no other way in
            return task.get_loop()


def _turn(loop: asyncio.AbstractEventLoop) -> float:
    """Milliseconds until the loop had a turn for us."""
    asked = time.monotonic()
    had, turned_at = threading.Event(), [asked + MOST_WAITED]

    def turn() -> None:
        turned_at[0] = time.monotonic()  # here, for this thread may have to wait for the interpreter itself
        had.set()

    try:
        loop.call_soon_threadsafe(turn)
    except RuntimeError:  # it has just been closed
        return 0.0
    had.wait(MOST_WAITED)
    return round((turned_at[0] - asked) * 1000, 2)


def _tasks(loop: asyncio.AbstractEventLoop) -> dict[str, Any]:
    """How many there are, and of which names, numbers left out."""
    tasks = asyncio.all_tasks(loop)
    names = Counter(task.get_name().rstrip("0123456789").split(" ")[0] for task in tasks)
    return {"tasks": len(tasks), "names": names}


if "SOAK_FOLDER" in os.environ and "start" in sys.orig_argv:
    threading.Thread(target=watch, args=(Path(os.environ["SOAK_FOLDER"]),), name="soak", daemon=True).start()
