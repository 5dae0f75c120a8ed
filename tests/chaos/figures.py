"""How long recovery took, from the history: pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tests.chaos.faults import Fault, Kind
from tests.chaos.history import Change
from tests.chaos.hosts import pid_of
from tests.chaos.rule import JOBS, is_claim, is_crash, is_end, token


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """So many lengths, in seconds."""

    lengths: tuple[float, ...] = ()

    @property
    def median(self) -> float:
        """The one in the middle; 0 of none."""
        return self.at(0.5)

    @property
    def most(self) -> float:
        """The longest; 0 of none."""
        return max(self.lengths, default=0.0)

    def at(self, share: float) -> float:
        """The length that such a share does not exceed."""
        ordered = sorted(self.lengths)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """From the fault until each document that was held is claimed again, and until anything is claimed at all."""

    supervised: Spread
    host_lost: Spread
    primary_killed: Spread


@dataclass(slots=True)
class _Awaited:
    fault: Fault
    held: dict[str, float | None] = field(default_factory=dict)
    resumed: float | None = None


def recovery(changes: Iterable[Change], faults: Sequence[Fault]) -> Recovery:
    """Who held what when its process was killed by one of these faults, and when it went on."""
    kinds = (Kind.WORKER_KILLED, Kind.HOST_KILLED, Kind.PRIMARY_KILLED)
    coming = sorted((fault for fault in faults if fault.kind in kinds), key=lambda fault: fault.at, reverse=True)
    held: dict[str, tuple[int, float]] = {}
    awaited: list[_Awaited] = []
    for change in changes:
        if change.collection != JOBS:
            continue
        while coming and coming[-1].at <= change.at:
            awaited.append(_begin(coming.pop(), held))
        if is_claim(change):
            _claimed(awaited, repr(change.id), change.at)
        elif is_end(change) and not is_crash(change):  # it ended just before it would have been killed
            _settled(awaited, repr(change.id))
        _follow(held, change)
    return Recovery(
        supervised=_spread(awaited, Kind.WORKER_KILLED),
        host_lost=_spread(awaited, Kind.HOST_KILLED),
        primary_killed=Spread(
            lengths=tuple(
                each.resumed for each in awaited if each.fault.kind is Kind.PRIMARY_KILLED and each.resumed is not None
            )
        ),
    )


def _follow(held: dict[str, Any], change: Change) -> None:
    if token(change.after) is None:
        held.pop(repr(change.id), None)
    else:
        held[repr(change.id)] = pid_of(str(change.after.get("lockedBy")))


def _begin(fault: Fault, held: dict[str, Any]) -> _Awaited:
    return _Awaited(fault, {id_: None for id_, pid in held.items() if pid in fault.pids})


def _claimed(awaited: list[_Awaited], id_: str, at: datetime) -> None:
    for each in awaited:
        passed = (at - each.fault.at).total_seconds()
        each.resumed = passed if each.resumed is None else each.resumed
        if id_ in each.held and each.held[id_] is None:
            each.held[id_] = passed


def _settled(awaited: list[_Awaited], id_: str) -> None:
    for each in awaited:
        if each.held.get(id_, 0.0) is None:
            del each.held[id_]


def _spread(awaited: list[_Awaited], kind: Kind) -> Spread:
    return Spread(lengths=tuple(_lengths(each for each in awaited if each.fault.kind is kind)))


def _lengths(awaited: Iterable[_Awaited]) -> Iterator[float]:
    for each in awaited:
        yield from (passed for passed in each.held.values() if passed is not None)
