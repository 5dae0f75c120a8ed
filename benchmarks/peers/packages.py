"""The peers' own packages, in a folder of the cache: pinned, installed once, never into the project's environment."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from benchmarks.peers import processes
from benchmarks.peers.result import LeftOut

CACHE = Path(__file__).parents[2] / ".jobserver" / "bench-peers"
_DRIVERS = Path(__file__).parent / "drivers"
_INSTALL_SECONDS = 300.0
_STAMP = "installed"


class Packages(Protocol):
    """What a peer needs to run, and how to start its driver with it."""

    def install(self, folder: Path) -> None:
        """Make `folder` hold exactly these versions. Raises LeftOut where that is not possible here."""

    def command(self, driver: str, folder: Path) -> processes.Command:
        """The words that start a driver, in an installed folder."""


@dataclass(frozen=True, slots=True)
class NodePackages:
    """Packages by npm, name → exact version."""

    versions: Mapping[str, str]

    def install(self, folder: Path) -> None:
        if shutil.which("npm") is None or shutil.which("node") is None:
            raise LeftOut("npm or node is not on PATH: install Node.js 20 or newer")
        wanted = json.dumps({"private": True, "dependencies": dict(self.versions)})
        if _holds(folder, wanted):
            return
        _start_over(folder)
        (folder / "package.json").write_text(wanted)
        quietly = ["--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts", "--loglevel=error"]
        _install(["npm", "install", *quietly], folder)
        (folder / _STAMP).write_text(wanted)

    def command(self, driver: str, folder: Path) -> processes.Command:
        # An ES module finds packages beside itself only, so the driver moves in with them.
        return ["node", shutil.copy(_DRIVERS / driver, folder)]


@dataclass(frozen=True, slots=True)
class PythonPackages:
    """Packages by pip, in a virtual environment of their own."""

    requirements: tuple[str, ...]

    def install(self, folder: Path) -> None:
        wanted = "\n".join((sys.version, *self.requirements))
        if _holds(folder, wanted):
            return
        _start_over(folder)
        _install([sys.executable, "-m", "venv", "."], folder)
        pip: processes.Command = [_python(folder), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        _install([*pip, *self.requirements], folder)
        (folder / _STAMP).write_text(wanted)

    def command(self, driver: str, folder: Path) -> processes.Command:
        return [_python(folder), _DRIVERS / driver]


def install_for_debian(package: str) -> None:
    """Raises LeftOut where this is not Debian, we are not root, or apt-get fails."""
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        raise LeftOut(f"{package} is not installed; as root on Debian it is installed here, else: install {package}")
    CACHE.mkdir(parents=True, exist_ok=True)
    for arguments in (["update"], ["install", "-y", "--no-install-recommends", package]):
        processes.run(
            ["apt-get", *arguments],
            folder=CACHE,
            log=CACHE / f"{package}.log",
            timeout=_INSTALL_SECONDS,
            environment={"DEBIAN_FRONTEND": "noninteractive"},
        )


def _holds(folder: Path, wanted: str) -> bool:
    stamp = folder / _STAMP  # written last: an installation that broke off has none
    return stamp.exists() and stamp.read_text() == wanted


def _start_over(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def _install(command: processes.Command, folder: Path) -> None:
    processes.run(command, folder=folder, log=folder / "install.log", timeout=_INSTALL_SECONDS)


def _python(folder: Path) -> Path:
    return folder / "bin" / "python"
