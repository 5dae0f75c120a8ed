"""What the samples of a soak come to: a pure function, from series to findings."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from tests.soak.fit import HOUR, Slope, slope
from tests.soak.samples import Series, Watched, between

MEMORY_PER_HOUR = 0.5  # megabytes held, over an hour: five bytes a run
MEMORY_IN_ALL = 1.0  # megabytes, over less: what one page of one arena more or less can make of it
RESIDENT_MORE = 3.0  # megabytes
LONG = 1200.0  # seconds of measuring from which on the slope itself can be told from noise
MORE = 5.0  # descriptors, threads, tasks, sockets: the median of the last third beside that of the first
LAG = 50.0  # milliseconds that 99 of 100 turns wait at most, less those in which others had the processors
ENOUGH = 0.8  # of what was planned: asking, killing and editing wait for each other and for MongoDB
FULLER, FEW = 1.15, 20.0  # a collection may hold that much more in the last third than in the first


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was measured; `bound` says in words what it had to be."""

    of: str
    what: str
    value: str
    bound: str
    holds: bool


def judge(
    lasting: Sequence[Watched], collections: dict[str, Series], spool: Series, *, begin: float, end: float
) -> list[Finding]:
    """Of the processes that lived all the time, from the end of the warm-up on."""
    findings = [finding for process in lasting for finding in _of_process(process, begin, end)]
    findings += [_of_collection(name, series, begin, end) for name, series in sorted(collections.items())]
    return [*findings, _of_collection("files below .jobserver", spool, begin, end)]


def enough(what: str, count: int, planned: float) -> Finding:
    """What there was to do: a soak of servers that nobody asks for anything, or disturbs, shows nothing."""
    least = math.floor(ENOUGH * planned)
    return Finding(of="the soak itself", what=what, value=str(count), bound=f"{least} at least", holds=count >= least)


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest that so many are not above; not a number where there are none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)] if ordered else math.nan


def _of_process(process: Watched, begin: float, end: float) -> Iterator[Finding]:
    yield memory(process.name, process.since("held", begin), seconds=end - begin)
    yield _resident(process, begin, end)
    for what in ("descriptors", "sockets", "threads", "tasks"):
        thirds = _thirds(process.series.get(what, []), begin, end)
        first, last = (median(values) if values else math.nan for values in thirds)
        value = f"{first:.0f} to {last:.0f}"
        yield Finding(of=process.name, what=what, value=value, bound="± 5", holds=abs(last - first) <= MORE)
    lag, own = ([value for _, value in process.since(each, begin)] for each in ("lag", "own lag"))
    p99 = percentile(own, 0.99)
    in_all = f"{percentile(lag, 0.99):.1f} ms with the waits for a processor, {max(lag, default=0.0):.0f} ms at most"
    value = f"{p99:.1f} ms; {in_all}"
    yield Finding(of=process.name, what="lag p99", value=value, bound=f"below {LAG:.0f} ms", holds=p99 < LAG)


def memory(name: str, points: Series, *, seconds: float) -> Finding:
    """Over most of an hour the slope; over less, that no growth of a megabyte is certain."""
    found = slope(points, block=max(10.0, seconds / 40))
    megabytes = [value for _, value in points] or [math.nan]
    value = f"{_per_hour(found)}, {fmean(megabytes):.1f} MB on average"
    if seconds >= LONG:
        bound = f"below {MEMORY_PER_HOUR} MB/h"
        holds = found.per_hour < MEMORY_PER_HOUR
    else:
        most = MEMORY_IN_ALL * HOUR / seconds
        bound, holds = f"not certain to be above {most:.1f} MB/h, a megabyte in this time", found.low <= most
    return Finding(of=name, what="memory", value=value, bound=bound, holds=holds and math.isfinite(found.low))


def _resident(process: Watched, begin: float, end: float) -> Finding:
    """What the kernel gives it grows with each new peak, the rarer the longer it lives: a bound, no slope."""
    thirds = _thirds(process.series.get("megabytes", []), begin, end)
    first, last = (fmean(values) if values else math.nan for values in thirds)
    value, bound = f"{first:.1f} to {last:.1f} MB", f"{RESIDENT_MORE} MB more at most"
    return Finding(of=process.name, what="resident", value=value, bound=bound, holds=last - first <= RESIDENT_MORE)


def _of_collection(name: str, series: Series, begin: float, end: float) -> Finding:
    first, last = (fmean(values) if values else math.nan for values in _thirds(series, begin, end))
    holds = last <= first * FULLER + FEW
    return Finding(
        of=name,
        what="documents" if not name.startswith("files") else "files",
        value=f"{first:.0f} to {last:.0f}",
        bound=f"at most {first * FULLER + FEW:.0f}",
        holds=holds,
    )


def _thirds(series: Series, begin: float, end: float) -> tuple[list[float], list[float]]:
    third = (end - begin) / 3
    return between(series, begin, begin + third), between(series, end - third, end)


def _per_hour(found: Slope) -> str:
    return f"{found.per_hour:+.2f} MB/h ({found.low:+.2f} to {found.high:+.2f})"
