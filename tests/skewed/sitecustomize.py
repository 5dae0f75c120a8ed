"""Sets this process's wall clock off: Python imports this before anything else where this folder is on its path.

The types stay the very same ones, for drivers compare them by identity; so the methods are exchanged within them, which
Python offers to nobody. What no one sets, `time.monotonic` and CLOCK_BOOTTIME, stays true.
"""

from __future__ import annotations

import ctypes
import datetime
import gc
import os
import time
from typing import Any

AHEAD = float(os.environ.get("CLOCK_AHEAD_SECONDS", "0"))

_AHEAD_NS = int(AHEAD * 1_000_000_000)
_time, _time_ns, _clock_gettime, _clock_gettime_ns = time.time, time.time_ns, time.clock_gettime, time.clock_gettime_ns


def _skew() -> None:
    vars(time).update(
        time=lambda: _time() + AHEAD,
        time_ns=lambda: _time_ns() + _AHEAD_NS,
        clock_gettime=lambda clock: _clock_gettime(clock) + (AHEAD if clock == time.CLOCK_REALTIME else 0.0),
        clock_gettime_ns=lambda clock: _clock_gettime_ns(clock) + (_AHEAD_NS if clock == time.CLOCK_REALTIME else 0),
    )
    for name in ("gmtime", "localtime", "ctime"):
        vars(time)[name] = _of_now(getattr(time, name))
    for name in ("strftime", "asctime"):
        vars(time)[name] = _of_broken_down_now(getattr(time, name), given=1 if name == "strftime" else 0)
    _exchange(datetime.datetime, now=_skewed_now, utcnow=_skewed_utcnow, today=_skewed_now)
    _exchange(datetime.date, today=_skewed_today)


def _of_now(read: Any) -> Any:
    return lambda seconds=None: read(time.time() if seconds is None else seconds)


def _of_broken_down_now(say: Any, *, given: int) -> Any:
    return lambda *arguments: say(*arguments) if len(arguments) > given else say(*arguments, time.localtime())


def _skewed_now(cls: type[datetime.datetime], tz: datetime.tzinfo | None = None) -> datetime.datetime:
    if tz is None:
        return cls.fromtimestamp(time.time())
    return cls.fromtimestamp(time.time(), tz)


def _skewed_utcnow(cls: type[datetime.datetime]) -> datetime.datetime:
    return cls.fromtimestamp(time.time(), datetime.UTC).replace(tzinfo=None)


def _skewed_today(cls: type[datetime.date]) -> datetime.date:
    return cls.fromtimestamp(time.time())


def _exchange(kind: type, **methods: Any) -> None:
    """A type that is written in C shows its methods as a view; behind that is an ordinary dictionary."""
    (behind,) = (each for each in gc.get_referents(vars(kind)) if isinstance(each, dict))
    behind.update({name: classmethod(method) for name, method in methods.items()})
    ctypes.pythonapi.PyType_Modified(ctypes.py_object(kind))


if AHEAD:
    _skew()
