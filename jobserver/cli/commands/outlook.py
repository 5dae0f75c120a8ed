"""The next moments of a schedule, as `next` shows them. Imports no database driver."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from jobserver.cli.answer import Screen
from jobserver.lengths import describe_length
from jobserver.schedule import Fire, Schedule, ScheduleKind
from jobserver.words import relative


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """At most `count` fires after `now`, in the zone `shown_in`; `remarks` are what else a person should know."""

    schedule: Schedule
    now: datetime
    count: int
    shown_in: str
    fires: list[Fire]
    remarks: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        schedule: Schedule,
        *,
        now: datetime,
        count: int,
        anchor: datetime | None = None,
        zone: str | None = None,
        remarks: tuple[str, ...] = (),
    ) -> Outlook:
        """Look ahead from now; an interval without anchor counts from now. ScheduleError for an unknown zone."""
        fires = schedule.preview(count, after=now, anchor=anchor or now, timezone=zone)
        shown_in = zone or schedule.timezone
        return cls(schedule=schedule, now=now, count=count, shown_in=shown_in, fires=fires, remarks=remarks)

    def document(self) -> dict[str, Any]:
        """Everything, for a program; `wall` keeps the offset of its zone, which tells two passes apart."""
        return {
            "schedule": self.schedule.to_document(),
            "schedule_text": self.schedule.describe(),
            "zone": self.shown_in,
            "now": self.now,
            "jitter": self.schedule.jitter,
            "next": [
                {"moment": fire.moment, "wall": fire.wall.isoformat(timespec="milliseconds"), "note": fire.note}
                for fire in self.fires
            ],
            "remarks": [*self._ending(), *self.remarks],
        }

    def show(self, screen: Screen, *, title: str | None = None) -> None:
        """The schedule in words, its moments, and what is to be said about them."""
        words = self.schedule.describe()
        screen.line(f"{title}: {words}" if title else words, style="bold")
        if self.fires:
            screen.line()
            screen.table(*self._table())
        for remark in (*self._jitter(), *self._ending(), *self.remarks):
            screen.line(remark, style="yellow")

    def _table(self) -> tuple[list[str], list[list[str]]]:
        local, noted = self.shown_in != "UTC", any(fire.note for fire in self.fires)
        clock = "%H:%M:%S" if any(fire.moment.second for fire in self.fires) else "%H:%M"
        rows = [
            [
                *([f"{fire.wall:%a %Y-%m-%d {clock} %Z}"] if local else []),
                f"{fire.moment:{'' if local else '%a '}%Y-%m-%d {clock}}",
                relative(fire.moment, self.now),
                *([fire.note or ""] if noted else []),
            ]
            for fire in self.fires
        ]
        return [*([self.shown_in] if local else []), "UTC", "FROM NOW", *(["NOTE"] if noted else [])], rows

    def _jitter(self) -> Iterator[str]:
        if self.fires and self.schedule.jitter:
            yield f"each + up to {describe_length(self.schedule.jitter)}, by chance"

    def _ending(self) -> Iterator[str]:
        """Why there are fewer moments than were asked for."""
        if self.fires and len(self.fires) < self.count:
            yield "and then never again"
        elif not self.fires:
            yield _why_never(self.schedule)


def _why_never(schedule: Schedule) -> str:
    match schedule.kind:
        case ScheduleKind.MANUAL:
            return "it never runs by itself, only when somebody asks for it"
        case ScheduleKind.NOW:
            return "it runs once for each version of the job's code, as soon as a server has read it"
        case ScheduleKind.ONCE:
            return "its moment has passed: it does not run again"
        case _:
            return "it has ended: it does not run again"
