"""Definitions and `jobConfigs` documents side by side, brought into force job by job.

Every server does the same work on the same documents; what must happen once in all (creating a document, resetting it
for new code, one extra run, one entry of history) is decided by a guarded write that only one of them wins.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta
from typing import Any

import structlog

from jobserver.definition import JobDefinition, JobSettings, ScanProblem, ScanResult
from jobserver.errors import ConfigError, DatabaseError, NameTaken, NotAdded, UnknownJob
from jobserver.excerpt import excerpt
from jobserver.lengths import describe_length
from jobserver.manager.history import HistoryKeeper
from jobserver.manager.overrides import (
    Overrides,
    as_document,
    default_config,
    fitting,
    parse_overrides,
    settings_in_force,
)
from jobserver.runner.interfaces import JobRunner
from jobserver.store.codec import is_text
from jobserver.store.configs import ConfigFull, ConfigStore, request_under_way

Config = Mapping[str, Any]

MOST_NAMED = 5

_log = structlog.get_logger("jobserver")


@dataclass(slots=True)
class Managed:
    """One job as this server knows it: its code, the overrides and the settings in force."""

    definition: JobDefinition
    settings: JobSettings | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    is_new: bool = True
    has_new_code: bool = False
    has_config: bool = False
    is_full: bool = False
    refused: Mapping[str, Any] | None = None


class JobManager:
    """Keeps the runner at what the files and the documents say. Raises DatabaseError when MongoDB is away."""

    def __init__(
        self,
        *,
        runner: JobRunner,
        configs: ConfigStore,
        server: Callable[[], str],
        default_concurrency: int,
        default_lock_lifetime: timedelta,
    ) -> None:
        self._runner, self._configs = runner, configs
        self._history = HistoryKeeper(store=configs, server=server)
        self._default_concurrency, self._default_lock_lifetime = default_concurrency, default_lock_lifetime
        self._jobs: dict[str, Managed] = {}
        self._added: dict[str, JobDefinition] = {}
        self._problems: set[tuple[str, str]] = set()
        self._recreated: list[str] = []
        self._turn = asyncio.Lock()

    @property
    def jobs(self) -> Mapping[str, Managed]:
        """What is managed now, by name."""
        return self._jobs

    async def take_in(self, scan: ScanResult) -> None:
        """The files have been read: add, replace and remove jobs accordingly. Jobs added by the program stay."""
        async with self._turn:
            scan = self._without_taken_names(scan)
            self._report_problems(scan)
            wanted = scan.definitions | self._added
            for name in [name for name in self._jobs if name not in wanted]:
                await self._remove(name)
            for name, definition in wanted.items():
                known = self._jobs.get(name)
                if known is None or known.definition is not definition:
                    await self._discover(definition, known)
            await self._apply_documents()

    async def add(self, definition: JobDefinition) -> JobSettings:
        """A job that the program brings, or its next version: from now on it is managed like that of a file.

        Raises NameTaken.
        """
        async with self._turn:
            name = definition.name
            known, before = self._jobs.get(name), self._added.get(name)
            if known is not None and before is None:
                raise NameTaken(name, known.definition.path)
            self._added[name] = definition
            try:
                await self._discover(definition, known)
                await self._apply_document(self._jobs[name])
            except DatabaseError:
                await self._take_back(name, known, before)
                raise
            settings = self._jobs[name].settings
            assert settings is not None
            return settings

    async def remove(self, name: str) -> None:
        """The program does not want its job any more. Raises UnknownJob, and NameTaken for a job that a file brings."""
        async with self._turn:
            if name not in self._added:
                if name in self._jobs:
                    raise NotAdded(name, self._jobs[name].definition.path)
                raise UnknownJob(name, self._added)
            await self._runner.scheduler.withdraw(name, reason="its job was removed")
            await self._remove(name)
            del self._added[name]

    async def refresh(self) -> None:
        """The documents may have changed: read them all, bring what differs into force."""
        async with self._turn:
            await self._apply_documents()

    async def _discover(self, definition: JobDefinition, known: Managed | None) -> None:
        """Take on a job or its new version; one whose checksum is new resets its configuration, in one server."""
        name, defaults = definition.name, default_config(definition.defaults)
        enabled = definition.defaults.enabled
        managed = Managed(definition)
        try:
            if not await self._configs.create(name, checksum=definition.checksum, enabled=enabled, defaults=defaults):
                managed.has_new_code = await self._configs.reset(name, checksum=definition.checksum, defaults=defaults)
            await self._configs.mark_missing(name, missing=False)
        except ConfigFull as error:  # what a hand has written into it counts all the same
            self._tell_full(managed, error)
        if known is not None:
            managed.values, managed.settings = known.values, known.settings
        self._jobs[name] = managed
        schedule = definition.defaults.schedule.describe()
        _log.info("job found" if known is None else "job changed", name=name, path=definition.path, schedule=schedule)

    async def _remove(self, name: str) -> None:
        await self._runner.executor.remove_job(name)
        try:
            await self._configs.mark_missing(name, missing=True)
        except ConfigFull as error:
            self._tell_full(self._jobs[name], error)
        del self._jobs[name]
        _log.warning("job removed", name=name, note="its configuration is kept")

    async def _take_back(self, name: str, known: Managed | None, before: JobDefinition | None) -> None:
        """What could not be stored is not half added."""
        if known is None or before is None:
            self._added.pop(name, None)
            self._jobs.pop(name, None)
            await self._runner.executor.remove_job(name)
        else:
            self._added[name], self._jobs[name] = before, known

    def _without_taken_names(self, scan: ScanResult) -> ScanResult:
        """The program was first: a file that claims the name of an added job is refused."""
        taken = [each for name, each in scan.definitions.items() if name in self._added]
        if not taken:
            return scan
        problems = [
            ScanProblem(path=each.path, message=str(NameTaken(each.name, self._added[each.name].path)))
            for each in taken
        ]
        kept = {name: each for name, each in scan.definitions.items() if name not in self._added}
        return ScanResult(definitions=kept, problems=(*scan.problems, *problems))

    async def _apply_document(self, managed: Managed) -> None:
        document = await self._configs.read(managed.definition.name) or {}
        await self._apply(managed, document if "checksum" in document else await self._recreate(managed))
        self._tell_of_recreated()

    async def _apply_documents(self) -> None:
        documents: dict[Any, Config] = {
            name: document for document in await self._configs.read_all() if is_text(name := document.get("jobName"))
        }
        for name, managed in list(self._jobs.items()):
            document = documents.get(name, {})
            await self._apply(managed, document if "checksum" in document else await self._recreate(managed))
        self._tell_of_recreated()

    async def _recreate(self, managed: Managed) -> Config:
        """Somebody deleted the document, or replaced it: the job goes on with its defaults where nothing is said."""
        await self._configs.ensure_unique()
        definition = managed.definition
        defaults = default_config(definition.defaults)
        try:
            await self._configs.create(
                definition.name, checksum=definition.checksum, enabled=definition.defaults.enabled, defaults=defaults
            )
        except ConfigFull as error:
            self._tell_full(managed, error)
        found = await self._configs.read(definition.name) or {}
        if managed.has_config and found.get("jobName") == definition.name:  # one in a list is looked for at every look
            self._recreated.append(definition.name)
        return found

    def _tell_of_recreated(self) -> None:
        """In one line: whoever has dropped the collection has deleted all of them."""
        if self._recreated:
            shown = self._recreated[:MOST_NAMED]
            _log.info("config recreated", jobs=len(self._recreated), names=shown)
            self._recreated = []

    async def _apply(self, managed: Managed, document: Config) -> None:
        overrides = fitting(parse_overrides(document), is_async=managed.definition.is_async)
        values = await self._values_in_force(managed, overrides)
        settings = settings_in_force(
            managed.definition.defaults,
            values,
            concurrency=self._default_concurrency,
            lock_lifetime=self._default_lock_lifetime,
        )
        await self._bring_into_force(managed, settings)
        managed.values, managed.settings, managed.has_config, managed.is_new = values, settings, True, False
        try:
            await self._history.keep(managed.definition.name, as_document(values), document)
        except ConfigFull as error:
            self._tell_full(managed, error)
        try:
            await self._show_errors(managed, document, overrides.errors)
            await self._run_now(managed, document, overrides)
        except ConfigFull as error:
            self._tell_full(managed, error)

    async def _values_in_force(self, managed: Managed, overrides: Overrides) -> dict[str, Any]:
        """What is valid in the document; for a field that is not, its last good value, the same on every server."""
        values = {name: value for name, value in overrides.values.items() if name != "runNow"}
        for error in overrides.errors:
            name = error.field.split(".")[0]
            if managed.has_config:
                if name in managed.values:
                    values[name] = managed.values[name]
            else:
                last_good = parse_overrides(await self._history.last_good(managed.definition.name)).values
                if name in last_good:
                    values[name] = last_good[name]
        return values

    async def _bring_into_force(self, managed: Managed, settings: JobSettings) -> None:
        name, before = managed.definition.name, managed.settings
        if managed.is_new:
            await self._runner.executor.create_job(managed.definition, settings)
        elif before != settings:
            await self._runner.executor.configure_job(name, settings)
            _log.info("config applied", name=name, **_changed(before, settings))
        if managed.is_new or before is None or _schedules_differently(before, settings):
            await self._runner.scheduler.schedule(name, settings, afresh=managed.is_new and managed.has_new_code)

    async def _show_errors(self, managed: Managed, document: Config, errors: tuple[ConfigError, ...]) -> None:
        name, shown = managed.definition.name, document.get("configError")
        if not errors:
            managed.refused = None
            if shown is not None:
                await self._configs.mark_error(document["_id"], None)
            return
        error = {"field": errors[0].field, "message": excerpt_text(_told_together(errors))}
        if not isinstance(shown, Mapping) or any(shown.get(key) != value for key, value in error.items()):
            if error != managed.refused:  # it may be that the document cannot show it, at each look again
                _log.warning("config refused", name=name, **error)
            managed.refused = error
            await self._configs.mark_error(document["_id"], error)

    def _tell_full(self, managed: Managed, error: ConfigFull) -> None:
        """Once: what cannot be written into the document stands in the log alone."""
        if not managed.is_full:
            _log.error("config full", name=managed.definition.name, error=str(error))
        managed.is_full = True

    async def _run_now(self, managed: Managed, document: Config, overrides: Overrides) -> None:
        """Exactly one extra run: one server turns the flag into a request, any may carry an unfinished one out."""
        request = request_under_way(document)
        if overrides.values.get("runNow") is True:
            request = await self._configs.take_run_now(document["_id"])
        if request is not None and managed.settings is not None:
            name = managed.definition.name
            await self._runner.scheduler.run_job_now(name, managed.settings, request=request)
            await self._configs.finish_run_now(document["_id"], request)
            _log.info("run requested", name=name, by="runNow")

    def _report_problems(self, scan: ScanResult) -> None:
        """Each problem once, until it changes or goes away; and each file that has none any more."""
        present = {(problem.path, problem.message) for problem in scan.problems}
        in_force = _names_by_path(scan)
        for problem in scan.problems:
            if (problem.path, problem.message) not in self._problems:
                _log.error(
                    "job file broken",
                    path=problem.path,
                    error=problem.message,
                    traceback=problem.traceback,
                    **_what_goes_on(problem, scan, in_force),
                )
        mended = {path for path, _ in self._problems} - {path for path, _ in present}
        for path in sorted(mended & in_force.keys()):
            _log.info("job file sound", path=path, in_force=in_force[path])
        self._problems = present


def _names_by_path(scan: ScanResult) -> dict[str, list[str]]:
    names: dict[str, list[str]] = {}
    for name, definition in sorted(scan.definitions.items()):
        names.setdefault(definition.path, []).append(name)
    return names


def _what_goes_on(problem: ScanProblem, scan: ScanResult, in_force: Mapping[str, list[str]]) -> dict[str, Any]:
    """The jobs of the broken file that go on in their last good version, or the one that is not run for now."""
    if problem.path in in_force:
        return {"in_force": in_force[problem.path]}
    if problem.job_name is None or problem.job_name in scan.definitions:  # no file, or a name that another file holds
        return {}
    return {"not_run": problem.job_name}


def excerpt_text(text: str) -> str:
    """An error's text, cut to what a person reads in a document."""
    return text if len(text) <= 500 else f"{text[:500]}…"


def _schedules_differently(before: JobSettings, after: JobSettings) -> bool:
    return (before.schedule, before.enabled, before.priority) != (after.schedule, after.enabled, after.priority)


def _changed(before: JobSettings | None, after: JobSettings) -> dict[str, Any]:
    names = [each.name for each in fields(after)]
    pairs = [(name, getattr(before, name, None), getattr(after, name)) for name in names]
    return {name: _readable(new) for name, old, new in pairs if old != new}


def _readable(value: Any) -> str | float | None:
    """What is a number, a switch or nothing stays so, for programs that read the log."""
    if isinstance(value, timedelta):
        return describe_length(value)
    if isinstance(value, str):
        return excerpt_text(value)
    if value is None or isinstance(value, int | float):
        return value
    describe = getattr(value, "describe", None)
    return excerpt_text(describe()) if callable(describe) else excerpt(value)


def _told_together(errors: tuple[ConfigError, ...]) -> str:
    """The first error stands beside its field's name; each other one brings its own."""
    first, *others = errors
    return " · ".join([first.message, *(f"{error.field}: {error.message}" for error in others)])
