"""What a test holds: moves virtual time on, asks for runs, and looks at what happened."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from jobserver.errors import ConfigError, did_you_mean
from jobserver.excerpt import excerpt
from jobserver.lengths import Length, describe_length, parse_length
from jobserver.store.enqueue import Request
from jobserver.store.states import Status
from jobserver.testing.databases import Databases
from jobserver.testing.history import VirtualRun
from jobserver.testing.queue import VirtualDocument
from jobserver.testing.roster import Roster
from jobserver.testing.server import VirtualServer

SEEN = (Status.RUNNING, Status.COMPLETED, Status.FAILED, Status.CANCELLED, Status.SKIPPED)


class Timeline:
    """What does not move time on is the same in both forms; jobs go by their full name, or by its last part.

    Raises UnknownJob with the name that was meant, ConfigError for moments and lengths that make no sense.
    """

    def __init__(self, server: VirtualServer, roster: Roster, databases: Databases) -> None:
        self._server, self._roster, self._databases = server, roster, databases

    @property
    def now(self) -> datetime:
        """The virtual moment, aware UTC."""
        return self._server.now

    def runs(self, name: str | None = None, *, status: Status | str | None = None) -> list[VirtualRun]:
        """What has begun so far, in that order; a skipped occurrence stands where it was found."""
        full = None if name is None else self._roster.resolve(name)
        wanted = None if status is None else _status(status)
        return [run for run in self._server.history if full in (None, run.name) and wanted in (None, run.status)]

    def next_run_at(self, name: str) -> datetime | None:
        """When a job is due next, retries and what was enqueued included; None while it waits for nothing."""
        full = self._roster.resolve(name)
        waiting = (each.waits_for for each in self._server.queue if each.name == full)
        return min((moment for moment in waiting if moment is not None), default=None)

    def enqueue(
        self,
        name: str,
        data: Any = None,
        *,
        at: datetime | None = None,
        delay: timedelta | None = None,
        priority: int | None = None,
        unique_key: str | None = None,
    ) -> str:
        """Ask for one run, as with JobClient; it begins when time is moved on. Returns the document's id."""
        return self._asked(name, data, at=at, delay=delay, priority=priority, unique_key=unique_key).id

    def takes(self, name: str, length: Length) -> None:
        """Let every run of this job that begins from now on take so much virtual time."""
        self._server.takes(self._roster.resolve(name), parse_length(length, field=f"takes({name!r})"))

    def down(self, length: Length) -> None:
        """Let the server be away for so long; what was missed meanwhile is judged when time is moved on next.

        A run under way is given back: it begins anew, and its attempt does not count.
        """
        self._server.down(self._length(length, "down"))

    def _asked(self, name: str, data: Any, **when: Any) -> VirtualDocument:
        return self._server.enqueue(Request(name=self._roster.resolve(name), data=data, **when))

    def _after(self, length: Length) -> datetime:
        return self.now + self._length(length, "advance")

    def _length(self, length: Length, field: str) -> timedelta:
        if isinstance(length, timedelta) and length < timedelta():
            raise ConfigError(field, f"{describe_length(-length)} back: virtual time only goes on")
        return parse_length(length, field=field)

    def _moment(self, moment: datetime) -> datetime:
        moment = aware(moment, "advance_to")
        if moment < self.now:
            raise ConfigError("advance_to", f"{moment} lies before {self.now}: virtual time only goes on")
        return moment


class AsyncTimeline(Timeline):
    """For tests that are `async def`."""

    @property
    def db(self) -> Any:
        """The database that jobs are lent, asynchronous."""
        return self._databases.for_test(is_async=True)

    async def advance(self, length: Length) -> None:
        """Move time on by this length and run all that comes due, the last moment included."""
        await self._server.advance_to(self._after(length))

    async def advance_to(self, moment: datetime) -> None:
        """Move time on to this moment and run all that comes due, that moment included."""
        await self._server.advance_to(self._moment(moment))

    async def run_now(self, name: str, data: Any = None) -> VirtualRun:
        """Ask for one run now, move time on until its first attempt has ended, and return that."""
        return await self._server.finish(self._asked(name, data))


class SyncTimeline(Timeline):
    """For tests without an event loop: the same, on a loop of its own."""

    def __init__(self, server: VirtualServer, roster: Roster, databases: Databases, *, runner: asyncio.Runner) -> None:
        super().__init__(server, roster, databases)
        self._runner = runner

    @property
    def db(self) -> Any:
        """The database that jobs are lent, synchronous."""
        return self._databases.for_test(is_async=False)

    def advance(self, length: Length) -> None:
        """See AsyncTimeline.advance."""
        self._runner.run(self._server.advance_to(self._after(length)))

    def advance_to(self, moment: datetime) -> None:
        """See AsyncTimeline.advance_to."""
        self._runner.run(self._server.advance_to(self._moment(moment)))

    def run_now(self, name: str, data: Any = None) -> VirtualRun:
        """See AsyncTimeline.run_now."""
        return self._runner.run(self._server.finish(self._asked(name, data)))


def aware(moment: Any, field: str) -> datetime:
    """The moment in UTC. Raises ConfigError for a naive one: nobody can know which zone it means."""
    if not isinstance(moment, datetime):
        raise ConfigError(field, f"{excerpt(moment)} is not a datetime")
    if moment.utcoffset() is None:
        raise ConfigError(field, f"{moment} has no time zone; write datetime(…, tzinfo=UTC) or tzinfo=ZoneInfo(…)")
    return moment.astimezone(UTC)


def _status(text: str) -> Status:
    if text not in SEEN:
        hint = did_you_mean(text, [each.value for each in SEEN])
        raise ConfigError("status", f"no run is {excerpt(text)}{hint}; known: {', '.join(SEEN)}")
    return Status(text)
