"""`init`: a directory in which `start` has something to do."""

from __future__ import annotations

from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from jobserver.cli.answer import Answer, Screen
from jobserver.errors import JobServerError

_FOLDERS = ("jobs", "plugins")
_FILES = {"config.yaml": "config.yaml", "jobs/hello.py": "hello.py.txt"}


class InitError(JobServerError):
    """A file or folder of the new project could not be written."""

    def __init__(self, path: Path, error: OSError) -> None:
        super().__init__(f"{path} cannot be written: {error.strerror}")
        self.path = path


def init(directory: Path) -> Answer:
    """Write what is not there yet; nothing that exists is changed. Raises InitError."""
    directory = directory.absolute()
    written = [directory / name for name in _FOLDERS if _made(directory / name)]
    written += [directory / name for name, source in _FILES.items() if _wrote(directory / name, template(source))]
    kept = [path for path in (directory / name for name in _FILES) if path not in written]
    return Answer(
        document={"directory": directory, "written": written, "kept": kept},
        show=lambda screen: _show(screen, directory, written, kept),
    )


def template(name: str) -> Traversable:
    """A file that new projects begin with."""
    return files("jobserver.cli") / "project" / name


def _made(folder: Path) -> bool:
    try:
        existed = folder.is_dir()
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InitError(folder, error) from None
    return not existed


def _wrote(path: Path, source: Traversable) -> bool:
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(source.read_text(encoding="utf-8"))
    except FileExistsError:
        return False
    except OSError as error:
        raise InitError(path, error) from None
    return True


def _show(screen: Screen, directory: Path, written: list[Path], kept: list[Path]) -> None:
    for path in written:
        screen.line(f"  new   {path}", style="green")
    for path in kept:
        screen.line(f"  kept  {path}")
    there = "" if directory == Path.cwd() else f"cd {directory} && "
    screen.line(f"\nNext: {there}jobserver start")
