"""What a test enters: `async with` gives an AsyncTimeline, plain `with` a SyncTimeline, and the rest is the same."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from jobserver.errors import ConfigError
from jobserver.job import Job
from jobserver.lengths import Length, parse_length
from jobserver.schedule.interval import whole_milliseconds
from jobserver.testing.databases import Databases, databases
from jobserver.testing.roster import Roster, definition_of, load_folder
from jobserver.testing.server import VirtualServer
from jobserver.testing.timeline import AsyncTimeline, SyncTimeline, aware


def no_chance() -> float:
    """The default for `random`: no jitter, and of a retry's jitter the shortest wait."""
    return 0.0


class VirtualJobs:
    """Jobs on a server whose clock starts at `start` and moves when the test says so.

    jobs       Job classes; `jobs_dir` is a folder of job files, in place of them or beside them
    start      an aware moment; jobs are discovered then: intervals count from it, a `now` schedule is due
    database   "embedded", an EmbeddedMongo or a mongodb:// URI for a database of the test's own; a handle; or None
    durations  virtual lengths of runs by job, none by default
    configs    what stands in `jobConfigs` by job, as {"daily": {"enabled": False}}
    random     numbers from 0 up to 1 for jitter, such as `random.Random(7).random`

    Raises DefinitionError, FileRejected, UnknownJob, ConfigError. Each time it is entered time starts anew.
    """

    def __init__(
        self,
        jobs: Iterable[type[Job]] = (),
        *,
        start: datetime,
        jobs_dir: Path | str | None = None,
        database: Any = None,
        durations: Mapping[str, Length] | None = None,
        configs: Mapping[str, Mapping[str, Any]] | None = None,
        random: Callable[[], float] = no_chance,
    ) -> None:
        self._start = whole_milliseconds(aware(start, "start"))
        files = [] if jobs_dir is None else load_folder(Path(jobs_dir))
        found = [definition for file in files for definition in file.definitions]
        self._roster = Roster([*map(definition_of, jobs), *found], configs=configs or {})
        self._durations = {
            self._roster.resolve(name): parse_length(length, field=f"durations.{name}")
            for name, length in (durations or {}).items()
        }
        self._database, self._random = database, random
        self._stack = AsyncExitStack()
        self._runner: asyncio.Runner | None = None

    async def __aenter__(self) -> AsyncTimeline:
        lent = await self._stack.enter_async_context(databases(self._database))
        return AsyncTimeline(self._server(lent), self._roster, lent)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    def __enter__(self) -> SyncTimeline:
        _refuse_running_loop()
        self._runner = asyncio.Runner()
        try:
            lent = self._runner.run(self._stack.enter_async_context(databases(self._database)))
        except BaseException:
            self._runner.close()
            raise
        return SyncTimeline(self._server(lent), self._roster, lent, runner=self._runner)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._runner is not None
        with self._runner:
            self._runner.run(self._stack.aclose())

    def _server(self, lent: Databases) -> VirtualServer:
        return VirtualServer(
            start=self._start,
            roster=self._roster,
            durations=self._durations,
            databases=lent,
            random=self._random,
        )


def _refuse_running_loop() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise ConfigError("", "an event loop is running here: write `async with VirtualJobs(…)`")
