"""Lets a server process tell what can only be seen from inside: the memory that it holds, its tasks, and how long its
event loop lets one wait.

A thread asks the loop for a turn ten times a second; the time until it has one is the lag, and the kernel says how much
of that the loop's thread stood ready and had no processor. It begins with the first loop of the process, and only in
`jobserver start`: what forks and what runs jobs has no thread of ours.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import json
import linecache
import os
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

EVERY = 0.1  # seconds
LINE_EVERY = 10  # turns
HELD_EVERY = 300  # turns: a collection keeps the loop waiting
MOST_WAITED = 30.0  # seconds for one turn; then it counts as that


def watch(loop: asyncio.AbstractEventLoop, statistics: int, folder: Path) -> None:
    """Until the loop is closed: a line a second; `statistics` is a descriptor of the kernel's on its thread."""
    number, lags = 0, []
    with (folder / f"{os.getpid()}.jsonl").open("a", buffering=1) as out:
        while not loop.is_closed():
            time.sleep(EVERY)
            lags.append(_turn(loop, statistics))
            number += 1
            if number % LINE_EVERY == 0:
                held = _held() if number % HELD_EVERY == 0 else None
                told = {"at": time.monotonic(), "lags": lags, "held": held, **_tasks(loop)}
                out.write(json.dumps(told) + "\n")
                lags = []


def _turn(loop: asyncio.AbstractEventLoop, statistics: int) -> tuple[float, float]:
    """Milliseconds until the loop had a turn for us, and how many of them it had no processor."""
    asked, unserved = time.monotonic(), _unserved(statistics)
    had, turn_at = threading.Event(), [asked + MOST_WAITED, unserved]

    def turn() -> None:
        turn_at[:] = time.monotonic(), _unserved(statistics)  # here: the other thread may have to wait for its own turn
        had.set()

    try:
        loop.call_soon_threadsafe(turn)
    except RuntimeError:  # it has just been closed
        return 0.0, 0.0
    had.wait(MOST_WAITED)
    return round((turn_at[0] - asked) * 1000, 2), round(turn_at[1] - unserved, 2)


def _unserved(statistics: int) -> float:
    """Milliseconds that the thread has ever been ready to run while others had the processors."""
    return int(os.pread(statistics, 100, 0).split()[1]) / 1_000_000


class _Allocated(ctypes.Structure):
    """What mallinfo2(3) answers."""

    _names = "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"
    _fields_ = [(name, ctypes.c_size_t) for name in _names]


_allocated = getattr(ctypes.CDLL(None), "mallinfo2", None)  # glibc 2.33 and newer
if _allocated is not None:
    _allocated.restype = _Allocated


def _held() -> float | None:
    """Megabytes that are allocated and not freed, in all arenas; None where nobody can say.

    But for what has an end, though not in an hour: circles until Python's collector comes by (it does when there is a
    quarter more of what has lived long), and the sources that it keeps once they stood in a traceback.
    """
    gc.collect()
    linecache.clearcache()
    if _allocated is None:
        return None
    told = _allocated()
    return float(told.uordblks + told.hblkhd) / 1_000_000


def _tasks(loop: asyncio.AbstractEventLoop) -> dict[str, Any]:
    """How many there are, and of which names, numbers left out."""
    tasks = asyncio.all_tasks(loop)
    names = Counter(task.get_name().rstrip("0123456789").split(" ")[0] for task in tasks)
    return {"tasks": len(tasks), "names": names}


def _watch_first_loop(folder: Path) -> None:
    """Every kind of loop says here that it runs now."""
    tell = asyncio._set_running_loop
    watched = threading.Lock()

    def told(loop: asyncio.AbstractEventLoop | None) -> None:
        tell(loop)
        if loop is not None and watched.acquire(blocking=False):
            statistics = os.open(f"/proc/self/task/{threading.get_native_id()}/schedstat", os.O_RDONLY)
            threading.Thread(target=watch, args=(loop, statistics, folder), name="soak", daemon=True).start()

    asyncio._set_running_loop = asyncio.events._set_running_loop = told


if "SOAK_FOLDER" in os.environ and "start" in sys.orig_argv:
    _watch_first_loop(Path(os.environ["SOAK_FOLDER"]))
