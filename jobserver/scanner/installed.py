"""Jobs that installed packages bring, by the entry-point group `jobserver.plugins`.

An entry point `billing = "acme_billing"` says that the `jobs/` folder of the package `acme_billing` holds the jobs of
the plugin `billing`, laid out as `plugins/billing/jobs` would be. The package itself is found but not imported.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path

GROUP = "jobserver.plugins"


@dataclass(frozen=True, slots=True, kw_only=True)
class InstalledPlugin:
    """One entry point; `folder` is None where it leads nowhere, and `trouble` says why."""

    name: str
    origin: str
    folder: Path | None = None
    trouble: str = ""


def installed_plugins(disabled: Collection[str] = ()) -> list[InstalledPlugin]:
    """Every entry point of the group that is not disabled, by name."""
    points = sorted(entry_points(group=GROUP), key=lambda point: (point.name, point.value))
    return [_locate(point) for point in points if point.name not in disabled]


def _locate(point: EntryPoint) -> InstalledPlugin:
    origin = f"entry point {point.name} = {point.value}"
    try:
        folders = list(_package_folders(point.module))
    except (ImportError, ValueError, AttributeError) as error:
        return InstalledPlugin(name=point.name, origin=origin, trouble=f"its package cannot be found: {error}")
    for folder in folders:
        if (folder / "jobs").is_dir():
            return InstalledPlugin(name=point.name, origin=origin, folder=folder / "jobs")
    trouble = f"{point.module} has no jobs folder" if folders else f"no package {point.module} is installed"
    return InstalledPlugin(name=point.name, origin=origin, trouble=trouble)


def _package_folders(module: str) -> Iterator[Path]:
    # find_spec of a dotted name would import the parents: only the first part is asked for, the rest is folders.
    top, *below = module.split(".")
    spec = find_spec(top)
    for location in (spec and spec.submodule_search_locations) or ():
        folder = Path(location, *below)
        if folder.is_dir():
            yield folder
