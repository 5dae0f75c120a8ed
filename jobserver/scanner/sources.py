"""Where job files are: `jobs/*.py`, `plugins/<plugin>/jobs/*.py` and the `jobs/` folder of installed plugins."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from jobserver.definition import ScanProblem
from jobserver.errors import DefinitionError
from jobserver.scanner.installed import InstalledPlugin, installed_plugins

CORE_CATEGORY = "api"
"""The category of the project's own jobs, as in `api:inventory`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFolder:
    """A folder whose files are jobs of one category; it need not exist."""

    category: str
    path: Path


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class JobFile:
    """One entry that is named like a job file; whether it can be read is another matter."""

    path: Path
    category: str

    @property
    def default_name(self) -> str:
        """The name of its job where the class states none."""
        return f"{self.category}:{self.path.stem}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """The job files of one moment, by path; nothing is known about what lies below `unreadable`."""

    files: tuple[JobFile, ...]
    problems: tuple[ScanProblem, ...]
    unreadable: tuple[Path, ...]

    def hides(self, path: Path) -> bool:
        """Whether `path` may well exist although it is not listed."""
        return any(path.is_relative_to(folder) for folder in self.unreadable)


class JobSources:
    """The folders that are searched. Relative folders are below `project_root`; names that start with `_` or `.` do not
    count. `plugins` None means every folder below `plugins_dir`; installed plugins come on top."""

    def __init__(
        self,
        *,
        project_root: Path,
        jobs_dir: Path,
        plugins_dir: Path,
        disabled_plugins: Collection[str] = (),
        plugins: Sequence[str] | None = None,
    ) -> None:
        self.project_root = project_root.absolute()
        self.jobs_dir = self.project_root / jobs_dir
        self.plugins_dir = self.project_root / plugins_dir
        self._disabled = frozenset(disabled_plugins)
        self._plugins = None if plugins is None else tuple(plugins)

    def listing(self) -> Listing:
        """Look at every folder once; raises nothing."""
        search = _Search()
        files = [
            JobFile(path=folder.path / name, category=folder.category)
            for folder in self._folders(search)
            for name in search.names(folder.path)
            if name.endswith(".py")
        ]
        return Listing(files=tuple(sorted(files)), problems=tuple(search.problems), unreadable=tuple(search.unreadable))

    def folders(self) -> list[JobFolder]:
        """The folders that hold job files, or would if they existed."""
        return list(self._folders(_Search()))

    def _folders(self, search: _Search) -> Iterator[JobFolder]:
        yield JobFolder(category=CORE_CATEGORY, path=self.jobs_dir)
        for plugin in self._plugin_names(search):
            yield JobFolder(category=plugin, path=self.plugins_dir / plugin / "jobs")
        for installed in self._installed:
            if installed.folder is None:
                search.report(installed.origin, installed.trouble)
            else:
                yield JobFolder(category=installed.name, path=installed.folder)

    @cached_property
    def _installed(self) -> list[InstalledPlugin]:
        # Once: reading the metadata of every installed package takes longer than all the rest of a listing.
        return installed_plugins(self._disabled)

    def _plugin_names(self, search: _Search) -> list[str]:
        found = [name for name in search.names(self.plugins_dir) if (self.plugins_dir / name).is_dir()]
        if self._plugins is None:
            return [name for name in found if name not in self._disabled]
        wanted = sorted(set(self._plugins) - self._disabled)
        for name in wanted:
            if name not in found and not search.unreadable:
                search.report(str(self.plugins_dir / name), "the plugin is listed but has no folder here")
        return wanted


class _Search:
    """Collects what went wrong during one look at the folders."""

    def __init__(self) -> None:
        self.problems: list[ScanProblem] = []
        self.unreadable: list[Path] = []

    def names(self, folder: Path) -> list[str]:
        """Sorted entries that may count; a folder that does not exist has none."""
        try:
            names = [entry.name for entry in folder.iterdir()]
        except FileNotFoundError:
            return []
        except OSError as error:
            # Not the same as an empty folder: its jobs must not vanish because it cannot be read for a moment.
            self.unreadable.append(folder)
            self.report(str(folder), f"cannot be searched for jobs: {error.strerror}")
            return []
        return sorted(name for name in names if not name.startswith(("_", ".")))

    def report(self, path: str, message: str) -> None:
        self.problems.append(ScanProblem(path=path, message=str(DefinitionError(path=path, message=message))))
