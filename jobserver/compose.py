"""The one module that names concrete classes: settings → the parts of a server, each handed its collaborators."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
from pymongo import AsyncMongoClient
from pymongo.errors import PyMongoError

from jobserver import __version__
from jobserver.client import JobClient
from jobserver.embedded import EmbeddedMongo
from jobserver.errors import ConfigError, DatabaseError
from jobserver.execution.plain_logging import RunCapture
from jobserver.manager.added import AddedJobs
from jobserver.manager.manager import JobManager
from jobserver.manager.watching import ConfigWatch
from jobserver.runlogs import LogKeeper
from jobserver.runlogs.buckets import bucket_of, caps_of
from jobserver.runner import JobRunner, RunnerRegistry
from jobserver.runner.pulse.lease import Lease
from jobserver.runner.pulse.runner import pulse_runner
from jobserver.runner.pulse.surroundings import Surroundings
from jobserver.runner.told import Told
from jobserver.scanner import Scanner, Watcher
from jobserver.scanner.handlers.definitions import define_stored
from jobserver.settings import Settings, load_settings, without_credentials
from jobserver.store.changes import CONFIG_HINTS, Changes
from jobserver.store.clock import ServerClock, boottime
from jobserver.store.collections import CollectionNames
from jobserver.store.configs import ConfigStore
from jobserver.store.connection import (
    SyncDb,
    async_client,
    closed_async,
    deciding,
    deciding_sync,
    sync_client,
    what_mongodb_said,
)
from jobserver.store.listener import Listener
from jobserver.store.log_bucket import GridFsBucket
from jobserver.store.queue import AsyncQueue

runners = RunnerRegistry()
runners.register("pulse", pulse_runner)


class FileWatch:
    """A `Watcher` that learns only at its start whom to tell."""

    def __init__(self, scanner: Scanner) -> None:
        self._scanner = scanner
        self._watcher: Watcher | None = None

    def start(self, on_change: Callable[[], Any]) -> None:
        """Tell `on_change`, on another thread, whenever job files have changed."""
        self._watcher = Watcher(self._scanner.sources, on_change=on_change)
        self._watcher.start()

    def stop(self) -> None:
        """Stop telling."""
        if self._watcher is not None:
            self._watcher.stop()


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a `JobServer` puts in order."""

    uri: str
    client: AsyncMongoClient[Any]
    embedded: EmbeddedMongo | None
    scanner: Scanner
    watcher: FileWatch | None
    scan_interval: float
    manager: JobManager
    added: AddedJobs
    jobs: JobClient
    runner: JobRunner
    config_watch: ConfigWatch
    config_listener: Listener
    owner: Callable[[], str]
    worn_out: asyncio.Future[str]

    @property
    def shown_uri(self) -> str:
        """The URI without its password."""
        return without_credentials(self.uri)

    async def ping(self) -> None:
        """Raise DatabaseError unless MongoDB answers as a server that takes writes."""
        try:
            hello = await self.client.admin.command("hello")
        except PyMongoError as error:
            raise DatabaseError(f"no answer from {self.shown_uri}: {what_mongodb_said(error)}") from error
        if not hello.get("isWritablePrimary"):
            raise DatabaseError(f"{self.shown_uri} has no primary at the moment")

    async def close(self) -> None:
        """Disconnect; the embedded MongoDB ends with its last user."""
        await closed_async(self.client)
        if self.embedded is not None:
            await asyncio.to_thread(self.embedded.close)


def settings_for(config: Settings | Mapping[str, Any] | str | Path | None, common: Any) -> Settings:
    """The settings of `config`, with what the embedding program says about its database. Raises ConfigError."""
    flags = {
        "mongodb": {
            key: value
            for key, value in (("uri", _said(common, "mongodb_uri")), ("database", _said(common, "database")))
            if isinstance(value, str)
        }
    }
    settings = load_settings(config, flags=flags if flags["mongodb"] else None)
    runners.require(settings.runner.type)
    return settings


def assembly(settings: Settings, *, logger: Any, plugin_manager: Any, told: Told) -> Callable[[], Awaitable[Parts]]:
    """How to make the parts, once there is an event loop to make them on."""
    if logger is not None:
        _log_to(logger)
    plugins = _plugins(plugin_manager)

    async def assemble() -> Parts:
        embedded = None
        uri = settings.mongodb.uri
        if uri is None:
            embedded = await asyncio.to_thread(EmbeddedMongo.start, settings.project.data_dir)
            uri = embedded.uri
        return _parts(settings, uri=uri, embedded=embedded, plugins=plugins, told=told)

    return assemble


def _parts(settings: Settings, *, uri: str, embedded: EmbeddedMongo | None, plugins: Any, told: Told) -> Parts:
    names = CollectionNames(jobs=settings.runner.config.db.collection)
    client = async_client(uri)
    database = client[settings.mongodb.database]
    decided = deciding(database)
    watch = ConfigWatch()
    listener = Listener(
        changes=Changes(decided[names.configs], CONFIG_HINTS),
        what="configurations",
        hear=lambda _event: watch.tell(),
        opened=watch.has_events,
        unsupported=watch.has_no_events,
    )

    def rush_began() -> None:
        listener.rest()
        watch.has_no_events()

    worn_out: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    lease = Lease(monotonic=boottime, length=settings.runner.config.lease)
    around = Surroundings(
        uri=uri,
        database=database,
        names=names,
        clock=ServerClock(),
        version=__version__,
        define_stored=define_stored,
        told=told,
        rush_began=rush_began,
        rush_ended=listener.resume,
        worn_out=lambda reason: None if worn_out.done() else worn_out.set_result(reason),
        supervisor=os.environ.get("JOBSERVER_SUPERVISOR"),
        lease=lease,
        run_logs=_run_logs(settings, uri=uri, server=lambda: lease.owner),
    )
    runner = runners.create(settings.runner.type, settings=settings.runner.config, around=around)
    configs = ConfigStore(configs=decided[names.configs], history=decided[names.history])
    manager = _manager(settings, runner, configs, around.server_id)
    scanner = _scanner(settings, plugins)
    return Parts(
        uri=uri,
        client=client,
        embedded=embedded,
        scanner=scanner,
        watcher=FileWatch(scanner) if settings.scanner.watch_enabled else None,
        scan_interval=settings.scanner.scan_interval.total_seconds(),
        manager=manager,
        added=AddedJobs(manager=manager, runner=runner, queue=AsyncQueue(database, names)),
        jobs=JobClient(database, collection=names.jobs),
        runner=runner,
        config_watch=watch,
        config_listener=listener,
        owner=around.server_id,
        worn_out=worn_out,
    )


def _manager(settings: Settings, runner: JobRunner, configs: ConfigStore, server: Callable[[], str]) -> JobManager:
    return JobManager(
        runner=runner,
        configs=configs,
        server=server,
        default_concurrency=settings.runner.config.default_concurrency,
        default_lock_lifetime=settings.runner.config.default_lock_lifetime,
    )


def _scanner(settings: Settings, plugins: Any) -> Scanner:
    return Scanner(
        project_root=settings.project.root,
        jobs_dir=Path(settings.project.jobs_dir),
        plugins_dir=Path(settings.project.plugins_dir),
        disabled_plugins=settings.project.disabled_plugins,
        plugins=plugins,
    )


def _run_logs(settings: Settings, *, uri: str, server: Callable[[], str]) -> LogKeeper:
    def connect() -> SyncDb:
        client = sync_client(uri, app_name="jobserver logs", pool_size=2)
        return deciding_sync(client[settings.mongodb.database])

    def gridfs() -> GridFsBucket:
        return GridFsBucket(connect, retention=settings.logs.retention)

    return LogKeeper(
        bucket=bucket_of(settings, gridfs=gridfs),
        spool=settings.project.root / settings.logs.spool,
        server=server,
        caps=caps_of(settings.logs),
        capture=RunCapture(),
    )


def _said(common: Any, name: str) -> Any:
    return common.get(name) if isinstance(common, Mapping) else getattr(common, name, None)


def _plugins(plugin_manager: Any) -> list[str] | None:
    """The plugins that a plugin manager names; None, without one, means every folder."""
    if plugin_manager is None:
        return None
    ask = getattr(plugin_manager, "get_plugins", None)
    found = ask() if callable(ask) else plugin_manager
    if isinstance(found, str) or not hasattr(found, "__iter__"):
        raise ConfigError("plugin_manager", "it is neither a list of plugin names nor an object with get_plugins()")
    return [str(name) for name in found]


def _log_to(logger: Any) -> None:
    """Send our records to the logger of the embedding program, fields and all."""
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, structlog.stdlib.render_to_log_kwargs],
        logger_factory=lambda *_: logger,
        wrapper_class=structlog.stdlib.BoundLogger,
    )
