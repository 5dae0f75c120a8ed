"""Which figures there are, in the order in which they are measured."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from benchmarks.bench import Bench
from benchmarks.figure import Figure
from benchmarks.figures import (
    backlog,
    cli,
    config,
    enqueue_many,
    idle,
    latency_proxy,
    logs,
    one_offs,
    peers,
    pickup,
    processes,
    recovery,
    schedules,
    stopping,
    tasks,
    throughput,
    workers,
)
from jobserver.errors import JobServerError, did_you_mean

Measure = Callable[[Bench], Figure]

PEERS = "peers"
FIGURES: Mapping[str, Measure] = {
    "throughput": throughput.measure,
    "enqueue_many": enqueue_many.measure,
    "pickup": pickup.measure,
    "idle": idle.measure,
    "backlog": backlog.measure,
    "latency_proxy": latency_proxy.measure,
    "workers": workers.measure,
    "config": config.measure,
    "recovery": recovery.measure,
    "stopping": stopping.measure,
    "one_offs": one_offs.measure,
    "logs": logs.measure,
    "cli": cli.measure,
    "schedules": schedules.measure,
    "tasks": tasks.measure,
    "processes": processes.measure,
    PEERS: peers.measure,
}


class UnknownFigure(JobServerError):
    """No figure has that name."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        known = list(known)
        super().__init__(f"unknown figure {name!r}{did_you_mean(name, known)}; known figures: {', '.join(known)}")
        self.name, self.known = name, known


def chosen(names: Sequence[str]) -> dict[str, Measure]:
    """The figures of these names, in the catalogue's order. Raises UnknownFigure."""
    for name in names:
        if name not in FIGURES:
            raise UnknownFigure(name, FIGURES)
    return {name: measure for name, measure in FIGURES.items() if name in names}
