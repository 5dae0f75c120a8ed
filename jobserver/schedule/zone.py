"""Wall-clock time of a zone and the moments it stands for; the only place that knows gaps and overlaps."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, available_timezones

from jobserver.errors import ScheduleError, did_you_mean
from jobserver.excerpt import excerpt

_SECOND = timedelta(seconds=1)
_LONGEST_GAP = timedelta(days=1)  # Samoa left out a whole day
# Names that one machine's zone database has and another's has not, or whose clock counts leap seconds.
_LOCAL_ONLY = ("posix/", "right/", "localtime", "posixrules", "Factory")


@dataclass(frozen=True, slots=True, kw_only=True)
class Seam:
    """A moment at which a zone's clocks are put forward (a gap) or back (an overlap).

    `opens` up to but not including `closes` is the wall-clock time that is left out or comes twice.
    """

    moment: datetime
    opens: datetime
    closes: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Zone:
    """A time zone; wall-clock times are naive datetimes, moments are aware UTC."""

    name: str
    info: ZoneInfo

    def wall(self, moment: datetime) -> datetime:
        """What the clocks show; fold is 1 in the second pass of an overlap."""
        return moment.astimezone(self.info).replace(tzinfo=None)

    def moments(self, wall: datetime) -> tuple[datetime, ...]:
        """When the clocks show `wall`: never (a gap), once, or twice (an overlap)."""
        before, after = self._offsets(wall)
        wall = wall.replace(tzinfo=UTC, fold=0)
        if before == after:
            return (wall - before,)
        return (wall - before, wall - after) if before > after else ()

    def seam(self, wall: datetime) -> Seam:
        """The change of clocks around a `wall` that does not stand for exactly one moment."""
        before, after = self._offsets(wall)
        aware = wall.replace(tzinfo=UTC, fold=0, microsecond=0)
        moment = self._change_between(*sorted((aware - before, aware - after)))
        naive = moment.replace(tzinfo=None)
        opens, closes = sorted((naive + before, naive + after))
        return Seam(moment=moment, opens=opens, closes=closes)

    def gap_behind(self, moment: datetime) -> Seam | None:
        """The gap that `moment` follows by less than its length, so that a time carried out of it may lie ahead."""
        moment = moment.replace(microsecond=0)
        earlier = moment - _LONGEST_GAP
        offset, offset_before = self._offset(moment), self._offset(earlier)
        if offset <= offset_before:
            return None
        change = self._change_between(earlier, moment)
        if moment >= change + (offset - offset_before):
            return None
        naive = change.replace(tzinfo=None)
        return Seam(moment=change, opens=naive + offset_before, closes=naive + offset)

    def first_moment(self, wall: datetime) -> datetime:
        """The one moment that a fixed wall-clock time gets: in a gap the gap's end, in an overlap the first pass."""
        moments = self.moments(wall)
        return moments[0] if moments else self.seam(wall).moment

    def _offsets(self, wall: datetime) -> tuple[timedelta, timedelta]:
        before = wall.replace(tzinfo=self.info, fold=0).utcoffset()
        after = wall.replace(tzinfo=self.info, fold=1).utcoffset()
        return before or timedelta(0), after or timedelta(0)

    def _offset(self, moment: datetime) -> timedelta:
        return moment.astimezone(self.info).utcoffset() or timedelta(0)

    def _change_between(self, low: datetime, high: datetime) -> datetime:
        old = low.astimezone(self.info).utcoffset()
        while high - low > _SECOND:
            middle = (low + (high - low) / 2).replace(microsecond=0)
            if middle.astimezone(self.info).utcoffset() == old:
                low = middle
            else:
                high = middle
        return high


def zone_named(name: object, *, field: str = "schedule") -> Zone:
    """The zone of an IANA name such as "Europe/Vienna"; ScheduleError with the nearest name for anything else."""
    if not isinstance(name, str):
        raise ScheduleError(f"{excerpt(name)} is not a time zone; write a name such as 'Europe/Vienna'", field=field)
    name = str(name)  # BSON's code is a kind of text that no table can look up
    zone = _load(name) if len(name) <= 64 else None  # the cache keeps no long name
    if zone is None:
        hint = did_you_mean(name[:64], _names()) or "; write a name such as 'Europe/Vienna'"
        raise ScheduleError(f"unknown time zone {excerpt(name)}{hint}", field=field)
    return zone


@lru_cache(maxsize=1024)
def _load(name: str) -> Zone | None:
    if name.startswith(_LOCAL_ONLY):
        return None
    try:
        return Zone(name=name, info=ZoneInfo(name))
    except (KeyError, ValueError, OSError):  # not there, not a name, or a directory such as "Europe"
        return None


@lru_cache(maxsize=1)
def _names() -> frozenset[str]:
    return frozenset(available_timezones())
