"""What a change of clocks does to the times of a schedule, and the next moment under that rule.

    rule         a time in a gap                         a time that comes twice
    real time    does not run                            runs in both passes
    skip         does not run                            runs in the first pass
    next_valid   runs right after the gap, once for all  runs in the first pass
    first        runs as if the clocks had not changed   runs in the first pass
                 yet: 02:30 at what is now 03:30
    both         runs right after the gap, once for all  runs in both passes

Where no policy is chosen, Debian cron's rule is: what happens every so many minutes or hours (`follows_real_time`)
follows real time, a fixed time of day is `next_valid`. `first` is the reading of RFC 5545, the calendar format.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from jobserver.schedule.exclusion import Exclusion
from jobserver.schedule.wall_clock import SECOND, WallClock
from jobserver.schedule.zone import Seam, Zone

SEARCHED_YEARS = 41
"""The rarest date of the calendar, a fifth weekday of February, comes back after 40 years at the latest."""

_MICROSECOND = timedelta(microseconds=1)


class DstPolicy(StrEnum):
    """What a person may choose instead of the default."""

    SKIP = "skip"
    NEXT_VALID = "next_valid"
    FIRST = "first"
    BOTH = "both"


class InGap(StrEnum):
    """What becomes of a time that does not exist."""

    DROPPED = "dropped"
    AT_ITS_END = "at its end"
    CARRIED = "carried"


class Rule(NamedTuple):
    """What a change of clocks does."""

    in_gap: InGap
    both_passes: bool


_REAL_TIME = Rule(InGap.DROPPED, both_passes=True)
_RULES = {
    DstPolicy.SKIP: Rule(InGap.DROPPED, both_passes=False),
    DstPolicy.NEXT_VALID: Rule(InGap.AT_ITS_END, both_passes=False),
    DstPolicy.FIRST: Rule(InGap.CARRIED, both_passes=False),
    DstPolicy.BOTH: Rule(InGap.AT_ITS_END, both_passes=True),
}


def rule_of(clock: WallClock, policy: DstPolicy | None) -> Rule:
    """The rule for these times; None is the default."""
    if policy is None:
        return _REAL_TIME if clock.follows_real_time else _RULES[DstPolicy.NEXT_VALID]
    return _RULES[policy]


def next_of_all(
    clocks: Sequence[WallClock],
    zone: Zone,
    moment: datetime,
    policy: DstPolicy | None = None,
    exclude: Exclusion | None = None,
) -> datetime | None:
    """The first moment strictly after `moment` that any of the clocks names; None when none comes in 41 years."""
    fires = [next_moment(clock, zone, moment, rule_of(clock, policy), exclude) for clock in clocks]
    return min((fire for fire in fires if fire is not None), default=None)


def next_moment(
    clock: WallClock, zone: Zone, moment: datetime, rule: Rule, exclude: Exclusion | None = None
) -> datetime | None:
    """The first moment strictly after `moment` at which the times of one clock run."""
    while (fire := _Walk(clock, zone, moment, rule, exclude).next()) is not None:
        if exclude is None or not exclude.covers(zone.wall(fire).date()):
            return fire
        moment = fire  # a gap over midnight has moved it onto an excluded date
    return None


class _Walk:
    """One search: from the wall-clock time of a moment onwards, placing what is named."""

    def __init__(self, clock: WallClock, zone: Zone, moment: datetime, rule: Rule, exclude: Exclusion | None) -> None:
        self._clock, self._zone, self._moment, self._rule, self._exclude = clock, zone, moment, rule, exclude
        self._wall = zone.wall(moment)
        self._last_year = self._wall.year + SEARCHED_YEARS

    def next(self) -> datetime | None:
        passes = self._zone.moments(self._wall)
        if len(passes) == 2:
            fire = self._within_overlap(self._zone.seam(self._wall))
            if fire is not None:
                return fire
        carried = self._carried_over() if self._rule.in_gap is InGap.CARRIED else None
        return self._onwards(carried)

    def _within_overlap(self, seam: Seam) -> datetime | None:
        """What is left of the first pass; otherwise goes on to where the search continues."""
        if self._wall.fold:
            if not self._rule.both_passes:  # every time of the overlap had its turn in the first
                self._wall = seam.closes - SECOND
            return None
        named = self._named_after(self._wall)
        if named is not None and named < seam.closes:
            return self._zone.moments(named)[0]
        if self._rule.both_passes:
            self._wall, self._moment = seam.opens - SECOND, seam.moment - _MICROSECOND
        else:
            self._wall = seam.closes - SECOND
        return None

    def _carried_over(self) -> datetime | None:
        """The next of those times that an earlier gap left out, and that run later than it."""
        seam = self._zone.gap_behind(self._moment)
        if seam is None:
            return None
        named = self._named_after(seam.opens + (self._moment - seam.moment))
        return _carried(seam, named) if named is not None and named < seam.closes else None

    def _onwards(self, carried: datetime | None) -> datetime | None:
        while (named := self._named_after(self._wall)) is not None:
            fires = self._zone.moments(named)
            if not fires:  # not second by second through a gap
                seam = self._zone.seam(named)
                if self._rule.in_gap is InGap.AT_ITS_END and seam.moment > self._moment:
                    return seam.moment
                if self._rule.in_gap is InGap.CARRIED:
                    carried = _earlier(carried, _carried(seam, named))
                self._wall = seam.closes - SECOND
                continue
            for fire in fires if self._rule.both_passes else fires[:1]:
                if fire > self._moment:
                    return _earlier(carried, fire)
            self._wall = named
        return carried

    def _named_after(self, wall: datetime) -> datetime | None:
        return self._clock.after(wall, self._last_year, self._exclude)


def _carried(seam: Seam, named: datetime) -> datetime:
    return seam.moment + (named - seam.opens)


def _earlier(one: datetime | None, other: datetime) -> datetime:
    return other if one is None else min(one, other)
