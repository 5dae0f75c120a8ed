"""Which jobs a virtual server has: the test's own classes and job files, under names and settings as on a server."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from jobserver.definition import JobDefinition
from jobserver.errors import ConfigError, DefinitionError, UnknownJob
from jobserver.excerpt import excerpt
from jobserver.job import Job
from jobserver.manager.overrides import parse_overrides, settings_in_force
from jobserver.runner.pulse.jobs import KnownJob
from jobserver.scanner.loading import LoadedFile, load
from jobserver.scanner.source_file import SourceFile, read_source
from jobserver.scanner.sources import CORE_CATEGORY, JobFile
from jobserver.scanner.validation import define
from jobserver.settings import PulseSettings


class Roster:
    """The jobs by name. Raises DefinitionError for what is no job, ConfigError for a setting that cannot be used."""

    def __init__(self, definitions: Iterable[JobDefinition], *, configs: Mapping[str, Any]) -> None:
        self._definitions: dict[str, JobDefinition] = {}
        for definition in definitions:
            self._add(definition)
        overrides = {self.resolve(name): _values(name, config) for name, config in configs.items()}
        self._jobs = {name: _known(each, overrides.get(name, {})) for name, each in self._definitions.items()}

    def __iter__(self) -> Iterator[KnownJob]:
        return iter(self._jobs.values())

    def __getitem__(self, name: str) -> KnownJob:
        return self._jobs[self.resolve(name)]

    def resolve(self, name: str) -> str:
        """The full name; `daily` will do for `api:daily` while no other category has one. Raises UnknownJob."""
        if name in self._definitions:
            return name
        short = {full: full.partition(":")[2] for full in self._definitions}
        found = [full for full, last in short.items() if last == name]
        if len(found) != 1:
            raise UnknownJob(name, found or [*short, *short.values()])
        return found[0]

    def limit(self, name: str) -> int:
        """How many of it run at once, on the one server that there is."""
        settings = self._jobs[name].settings
        return min(settings.concurrency, settings.global_concurrency or settings.concurrency)

    def _add(self, definition: JobDefinition) -> None:
        holder = self._definitions.setdefault(definition.name, definition)
        if holder.job_class is not definition.job_class:
            raise DefinitionError(
                path=definition.path,
                class_name=definition.job_class.__name__,
                message=f"takes the name {definition.name!r}, which class {holder.job_class.__name__} has; "
                "give each a `name` of its own",
            )


def definition_of(job_class: type[Job]) -> JobDefinition:
    """What a scan of the class's own file would find. Raises DefinitionError."""
    if not isinstance(job_class, type) or not issubclass(job_class, Job):
        raise ConfigError("jobs", f"{excerpt(job_class)} is not a Job class; pass the classes themselves in a list")
    path = Path(getattr(sys.modules.get(job_class.__module__), "__file__", None) or "<no file>")
    file = JobFile(path=path, category=_category(path.parent))
    return define(job_class, SourceFile(file=file, content=b"", digest="", modified_ns=0), ast.Module([], []))


def load_folder(folder: Path) -> list[LoadedFile]:
    """Import the job files of a folder, in this process. Raises FileRejected, ConfigError where there is no folder."""
    folder = folder.absolute()
    if not folder.is_dir():
        raise ConfigError("jobs_dir", f"{folder} is not a folder")
    files = sorted(path for path in folder.glob("*.py") if not path.name.startswith(("_", ".")))
    sources = (read_source(JobFile(path=path, category=_category(folder))) for path in files)
    return [load(source) for source in sources if source is not None]


def _category(folder: Path) -> str:
    """The plugin of plugins/<plugin>/jobs."""
    plugin = folder.parent
    return plugin.name if folder.name == "jobs" and plugin.parent.name == "plugins" else CORE_CATEGORY


def _values(name: str, config: Any) -> Mapping[str, Any]:
    if not isinstance(config, Mapping):
        raise ConfigError(f"configs.{name}", f"{excerpt(config)} is not a configuration document")
    overrides = parse_overrides(config)
    for error in overrides.errors:
        raise ConfigError(f"configs.{name}.{error.field}", error.message)
    return overrides.values


def _known(definition: JobDefinition, overrides: Mapping[str, Any]) -> KnownJob:
    server = PulseSettings()
    settings = settings_in_force(
        definition.defaults,
        overrides,
        concurrency=server.default_concurrency,
        lock_lifetime=server.default_lock_lifetime,
    )
    return KnownJob(definition, settings)
