"""The next moments for a person to read, each in its zone, with a note where a change of clocks has a part in it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from jobserver.schedule.daylight import SEARCHED_YEARS, DstPolicy, InGap, Rule, rule_of
from jobserver.schedule.exclusion import Exclusion
from jobserver.schedule.wall_clock import SECOND, WallClock
from jobserver.schedule.zone import Seam, Zone


@dataclass(frozen=True, slots=True, kw_only=True)
class Fire:
    """One run to come: `moment` in UTC, `wall` the same moment in the zone that was asked for."""

    moment: datetime
    wall: datetime
    note: str | None = None


def noted(
    fires: Iterable[datetime],
    *,
    after: datetime,
    clocks: Sequence[WallClock],
    zone: Zone,
    policy: DstPolicy | None,
    exclude: Exclusion,
    shown_in: Zone,
) -> Iterator[Fire]:
    """The fires that follow one another after a moment, each with what a change of clocks did to it, or before it."""
    noting = [_Noting(clock, zone, rule_of(clock, policy), exclude) for clock in clocks]
    previous = after
    for moment in fires:
        notes = [note for each in noting for note in each.notes(previous, moment)]
        wall = moment.astimezone(shown_in.info)
        yield Fire(moment=moment.astimezone(UTC), wall=wall, note="; ".join(dict.fromkeys(notes)) or None)
        previous = moment


class _Noting:
    """What a change of clocks does to the times of one clock."""

    def __init__(self, clock: WallClock, zone: Zone, rule: Rule, exclude: Exclusion) -> None:
        self._clock, self._zone, self._rule, self._exclude = clock, zone, rule, exclude

    def notes(self, previous: datetime, moment: datetime) -> Iterator[str]:
        """On a fire, and on what was to run between the one before and it."""
        yield from self._on_gap(previous, moment)
        wall = self._zone.wall(moment)
        if len(self._zone.moments(wall)) == 2 and self._names(wall.replace(fold=0)):
            both = self._rule.both_passes
            passes = "second pass too" if wall.fold else "first pass and the second" if both else "first pass"
            yield f"{_time(wall)} comes twice: runs in the {passes}"

    def _on_gap(self, previous: datetime, moment: datetime) -> Iterator[str]:
        wall, here = self._zone.wall(previous), self._zone.wall(moment)
        if self._rule.in_gap is InGap.CARRIED and (behind := self._zone.gap_behind(moment)) is not None:
            wall = min(wall, behind.opens - SECOND)
        while (named := self._named_after(wall)) is not None and named < here and not self._zone.moments(named):
            seam = self._zone.seam(named)
            if self._rule.in_gap is InGap.CARRIED:
                if seam.moment + (named - seam.opens) == moment:
                    yield f"{_time(named)} does not exist on {named.date()}: runs at {_time(here)}"
                wall = named
                continue
            if self._rule.in_gap is InGap.DROPPED:
                yield f"{_what_is_missing(named, seam, self._clock)}: nothing runs"
            elif seam.moment == moment:
                yield f"{_what_is_missing(named, seam, self._clock)}: runs at {_time(here)}"
            wall = seam.closes - SECOND

    def _names(self, wall: datetime) -> bool:
        return self._clock.after(wall - SECOND, wall.year) == wall

    def _named_after(self, wall: datetime) -> datetime | None:
        return self._clock.after(wall, wall.year + SEARCHED_YEARS, self._exclude)


def _what_is_missing(named: datetime, seam: Seam, clock: WallClock) -> str:
    following = clock.after(named, named.year)
    if following is not None and following < seam.closes:
        return f"{_time(named)} to {_time(seam.closes)} do not exist on {named.date()}"
    return f"{_time(named)} does not exist on {named.date()}"


def _time(wall: datetime) -> str:
    return wall.strftime("%H:%M:%S" if wall.second else "%H:%M")
