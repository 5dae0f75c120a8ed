"""The server: scanner, manager and runner, begun and ended in order; nothing else."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from jobserver.ending import end
from jobserver.errors import DatabaseError, NotStarted
from jobserver.manager.handing_over import HandedOver
from jobserver.scanner.handlers.definitions import Handed
from jobserver.signals import NOT_GIVEN_BACK, SIGNALS, code_of
from jobserver.store.indexes import IndexRefused
from jobserver.worker import RECYCLED

if TYPE_CHECKING:
    from jobserver.client import JobClient
    from jobserver.compose import Parts
    from jobserver.one_off import OneOff
    from jobserver.runner.told import ErrorHandler, MessageHandler
    from jobserver.schedule import ScheduleSource
    from jobserver.settings import Settings

AFTER_ERROR = 1.0

_log = structlog.get_logger("jobserver")


class JobServer:
    """Runs the jobs of one project. Make it with `create`; starting or shutting down twice is harmless.

    `exit_code` is 0 after a shutdown in order, 130 after one that was hurried by a second signal, 131 after SIGQUIT, 75
    once one of the `recycle_…` limits was reached and its runs have ended, 70 after a fault, and 69 where MongoDB was
    away, so that others have to recover what this server could not give back.
    """

    def __init__(self, *, settings: Settings, assemble: Callable[[], Any]) -> None:
        self.settings = settings
        self.exit_code = 0
        self._assemble = assemble
        self._parts: Parts | None = None
        self._handed = HandedOver()
        self._tasks: set[asyncio.Task[None]] = set()
        self._rescan = asyncio.Event()
        self._stopped = asyncio.Event()
        self._turn = asyncio.Lock()
        self._stopping = False
        self._signals_seen = 0
        self._is_hurried = False
        self._loop: asyncio.AbstractEventLoop | None = None

    @classmethod
    async def create(
        cls,
        common: Any = None,
        logger: Any = None,
        plugin_manager: Any = None,
        config: Settings | Mapping[str, Any] | str | Path | None = None,
        *,
        error_handler: ErrorHandler | None = None,
        worker_message_handler: MessageHandler | None = None,
    ) -> JobServer:
        """A server that has not begun yet.

        `config` is a mapping shaped like config.yaml, a path to one, or settings; None looks for ./config.yaml.
        `common` may bring `mongodb_uri` and `database`, `plugin_manager` the names of the plugins whose jobs count
        (`get_plugins()`), `logger` takes the log records in place of the present logging.
        `error_handler(name, run_id, error)` is told of each run here that fails, `worker_message_handler(name, run_id,
        message)` of each `context.post(message)`; either may be async. Raises ConfigError.
        """
        from jobserver.compose import assembly, settings_for
        from jobserver.runner.told import Told

        settings = settings_for(config, common)
        told = Told(error_handler=error_handler, message_handler=worker_message_handler)
        assemble = assembly(settings, logger=logger, plugin_manager=plugin_manager, told=told)
        return cls(settings=settings, assemble=assemble)

    @property
    def jobs(self) -> Mapping[str, Any]:
        """The jobs that this server knows, by name."""
        return self._parts.manager.jobs if self._parts else {}

    @property
    def mongodb_uri(self) -> str | None:
        """Where its MongoDB is; None before the start."""
        return self._parts.uri if self._parts else None

    async def start(self, *, wait: bool = True, handle_signals: bool = False) -> None:
        """Begin: returns when the jobs are known and whatever is due runs.

        While MongoDB is away this waits and says so; with `wait=False` it raises DatabaseError instead.
        `handle_signals` makes SIGTERM and SIGINT shut down in order, a second one hurry, and SIGQUIT hurry at once.
        """
        if self._parts is not None or self._stopping:
            return
        if handle_signals:
            self.heed_signals()
        async with self._turn:  # a shutdown waits for the step under way
            self._parts = parts = await self._assemble()
            await self._begin(parts, wait=wait)
            if self._stopping:
                return
        self._watch_files(parts)
        first = self._spawn("taking in job files", self._take_in_files(parts))
        await asyncio.wait({first})
        if self._stopping:
            return
        first.result()
        await self._add_what_waits(parts)
        self._spawn("recycling", self._recycle(parts))
        self._spawn("scanning", self._scan_again(parts))
        self._spawn("watching configurations", parts.config_watch.run(parts.manager.refresh))
        self._spawn("listening for configurations", parts.config_listener.run())
        _log.info("server started", server=parts.owner(), jobs=len(parts.manager.jobs), mongodb=parts.shown_uri)

    def heed_signals(self) -> None:
        """What `start(handle_signals=True)` does first."""
        self._loop = asyncio.get_running_loop()
        for number in SIGNALS:
            self._loop.add_signal_handler(number, self._on_signal, number)

    async def add_job(
        self,
        *,
        job: Callable[..., Any] | str | Path,
        name: str | None = None,
        at: ScheduleSource | None = None,
        data: Any = None,
        offloaded: bool = True,
    ) -> str:
        """Add a job that no file in `jobs/` brings; returns its name. Before the start it is kept until then.

        `job` is a function, the path of a .py file, whose stem is its usual name, or "package.module:function". `at` is
        any schedule; None is one run now. It runs in a process of its own; with offloaded=False on this server, first
        in, first out, one at a time. Raises DefinitionError, DataError, ScheduleError, AlreadyAdded, NameTaken.
        """
        handed = Handed(job=job, name=name, at=at, data=data, offloaded=offloaded)
        return await self._handed.add_job(handed)

    async def remove_job(self, name: str) -> None:
        """Take an added job back: what waits is cancelled, a run under way ends as it will. Raises UnknownJob."""
        await self._handed.remove_job(name)

    async def add_one_off_job(
        self,
        *,
        name: str | None = None,
        job: Callable[..., Any] | str | Path | None = None,
        data: Any = None,
        offloaded: bool = True,
        at: Any = None,
    ) -> str:
        """Add a job that runs at most once ever by its name, across restarts and servers; returns the name.

        `job` as in `add_job`, or the name of a job that a file brings; None is the job of that very name. Raises
        AlreadyAdded unless the one there is has failed or was cancelled: then it is queued again.
        """
        handed = Handed(job=job, name=name, at=at, data=data, offloaded=offloaded)
        return await self._handed.add_one_off(handed)

    async def one_off(self, name: str) -> OneOff:
        """How far a one-off has come. Raises UnknownJob, NotStarted."""
        return await self._client().one_off(name)

    async def await_completion(self, name: str, timeout: float | None = None) -> OneOff:
        """Wait for the end of a one-off; see JobClient.await_completion. Raises NotStarted, too."""
        return await self._client().await_completion(name, timeout)

    async def has_executed_successfully(self, name: str) -> bool:
        """Whether a one-off was added, and has neither failed nor been cancelled. Raises NotStarted."""
        return await self._client().has_executed_successfully(name)

    async def has_finished(self, name: str) -> bool:
        """Whether a one-off has run, and all went well. Raises NotStarted."""
        return await self._client().has_finished(name)

    async def wait(self) -> None:
        """Until a shutdown has ended, whoever asked for it."""
        await self._stopped.wait()

    async def shutdown(self, *, hurry: bool = False) -> None:
        """End: claim nothing more, let runs end within the grace period, give the rest back. Leaves no lock behind."""
        self._is_hurried = self._is_hurried or hurry
        if self._stopping:
            if hurry and self._parts is not None and not self._stopped.is_set():
                await self._parts.runner.lifecycle.close(hurry=True)
            await self._stopped.wait()
            return
        self._stopping = True
        try:
            await self._wind_down()
        except Exception:
            self.exit_code = 70
            _log.exception("shutdown failed")
        finally:
            self._forget_signals()
            self._stopped.set()

    async def _begin(self, parts: Parts, *, wait: bool) -> None:
        """What answers may be gone, or no primary any more, a moment later; an index that is refused stays so."""
        while not self._stopping:
            try:
                await parts.ping()
                if not self._stopping:
                    await parts.runner.lifecycle.start()
                return
            except DatabaseError as error:
                if not wait or isinstance(error, IndexRefused):
                    raise
                _log.warning("mongodb away", chore="starting", error=str(error), next_try_in=AFTER_ERROR)
                await asyncio.sleep(AFTER_ERROR)

    def _watch_files(self, parts: Parts) -> None:
        loop = asyncio.get_running_loop()
        if parts.watcher is not None:
            parts.watcher.start(partial(loop.call_soon_threadsafe, self._rescan.set))

    async def _take_in_files(self, parts: Parts) -> None:
        scan = await asyncio.to_thread(parts.scanner.scan)
        while not self._stopping:
            try:
                await parts.manager.take_in(scan)
                return
            except DatabaseError as error:
                _log.warning("mongodb away", chore="taking in job files", error=str(error))
                await asyncio.sleep(AFTER_ERROR)

    async def _add_what_waits(self, parts: Parts) -> None:
        while not self._stopping:
            try:
                await self._handed.begin(parts.added)
                return
            except DatabaseError as error:
                _log.warning("mongodb away", chore="adding jobs", error=str(error))
                await asyncio.sleep(AFTER_ERROR)

    def _client(self) -> JobClient:
        if self._parts is None:
            raise NotStarted("one-off jobs cannot be read")
        return self._parts.jobs

    async def _scan_again(self, parts: Parts) -> None:
        """On every change of the files, and at intervals whatever the watcher says."""
        while True:
            try:
                async with asyncio.timeout(parts.scan_interval):
                    await self._rescan.wait()
            except TimeoutError:
                pass
            self._rescan.clear()
            await self._take_in_files(parts)

    async def _recycle(self, parts: Parts) -> None:
        """Once this process is worn out: let all runs end, however long they take, then make room for a fresh one."""
        reason = await parts.worn_out
        _log.info("server draining", server=parts.owner(), reason=reason)
        await parts.runner.lifecycle.drain()
        self.exit_code = self.exit_code or RECYCLED
        self._shutdown_soon()

    def _spawn(self, name: str, work: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._chore_ended)
        return task

    def _chore_ended(self, task: asyncio.Task[None]) -> None:
        """A chore that fails is a fault of ours: end in order and say so, rather than limp on without it."""
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None and not self._stopping:
            _log.error("internal fault", chore=task.get_name(), error=repr(task.exception()), exc_info=task.exception())
            self.exit_code = 70
            self._shutdown_soon()

    async def _wind_down(self) -> None:
        _log.info("server stopping")
        self._handed.end()
        await end(self._tasks)
        async with self._turn:
            await self._close_parts()
        _log.info("server stopped", exit_code=self.exit_code)

    async def _close_parts(self) -> None:
        if self._parts is not None:
            if self._parts.watcher is not None:
                await asyncio.to_thread(self._parts.watcher.stop)
            if not await self._parts.runner.lifecycle.close(hurry=self._is_hurried):
                self.exit_code = NOT_GIVEN_BACK
            await self._parts.close()

    def _on_signal(self, number: signal.Signals) -> None:
        self._signals_seen += 1
        if self._signals_seen > 1 or number is signal.SIGQUIT:
            self._is_hurried = True
            self.exit_code = code_of(number, before=self.exit_code)
        self._shutdown_soon()

    def _shutdown_soon(self) -> None:
        task = asyncio.ensure_future(self.shutdown(hurry=self._is_hurried))
        self._shutdowns = {*getattr(self, "_shutdowns", ()), task}  # the loop alone keeps tasks weakly

    def _forget_signals(self) -> None:
        if self._loop is not None and self._signals_seen == 0:
            for number in SIGNALS:
                self._loop.remove_signal_handler(number)
