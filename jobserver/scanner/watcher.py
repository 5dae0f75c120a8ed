"""Says when job files have changed and come to rest. A hint: what it misses, the next scan by interval finds."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from jobserver.scanner.sources import JobSources

if TYPE_CHECKING:
    from jobserver.scanner.folder_events import FolderEvents

DEBOUNCE = timedelta(milliseconds=300)
_MOST_ROUNDS = 10
_log = logging.getLogger(__name__)


class Watcher:
    """Calls `on_change`, on a thread of its own, once size and time of all job files stayed the same for `debounce`.

    Folders that do not exist yet are noticed when they appear. `on_trouble` is told, once, when the machine allows no
    (more) watches; without it that is logged. Start it before the first scan, so that nothing falls between the two.
    """

    def __init__(
        self,
        sources: JobSources,
        *,
        on_change: Callable[[], None],
        debounce: timedelta = DEBOUNCE,
        on_trouble: Callable[[str], None] = _log.warning,
    ) -> None:
        self._sources = sources
        self._on_change = on_change
        self._on_trouble = on_trouble
        self._debounce = debounce.total_seconds()
        self._running: _Watching | None = None

    def start(self) -> None:
        """Watch from now on; returns when the watches are set. Harmless when it runs already."""
        if self._running is None:
            self._running = _Watching(self._sources, self._on_change, self._debounce, self._on_trouble)
            self._running.start()

    def stop(self) -> None:
        """Stop and wait for the thread; harmless when it does not run."""
        running, self._running = self._running, None
        if running is not None:
            running.stop()


class _Watching:
    """One stretch of watching, from start to stop."""

    def __init__(
        self,
        sources: JobSources,
        on_change: Callable[[], None],
        debounce: float,
        on_trouble: Callable[[str], None],
    ) -> None:
        self._sources, self._debounce = sources, debounce
        self._on_change, self._on_trouble = on_change, on_trouble
        self._interest = _Interest(sources)
        self._changed = threading.Event()
        self._stopping = threading.Event()
        self._last_change = 0.0
        self._is_troubled = False
        self._events: FolderEvents | None = None
        self._thread = threading.Thread(target=self._run, name="jobserver-watcher", daemon=True)

    def start(self) -> None:
        self._open()
        self._follow()
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._changed.set()
        if self._thread is not threading.current_thread():
            self._thread.join()
        if self._events is not None:
            self._events.close()

    def _open(self) -> None:
        from jobserver.scanner.folder_events import FolderEvents

        try:
            self._events = FolderEvents(self._note, on_error=self._complain)
        except OSError as error:
            self._complain(error)

    def _run(self) -> None:
        while self._changed.wait() and not self._stopping.is_set():
            try:
                if self._comes_to_rest():
                    self._on_change()
            except Exception:
                _log.exception("a change of job files could not be taken in; the next one is waited for")

    def _note(self, path: str) -> None:
        if self._interest.covers(path):
            self._last_change = time.monotonic()
            self._changed.set()

    def _comes_to_rest(self) -> bool:
        """Wait until nothing has changed for the debounce; False when stopped meanwhile."""
        before: dict[str, tuple[int, int, int]] | None = None
        while not self._stopping.is_set():
            self._changed.clear()
            self._follow()
            after = _snapshot(self._sources)
            if after != before:  # not every change has an event: a file behind a symbolic link has none
                before, self._last_change = after, time.monotonic()
            quiet = time.monotonic() - self._last_change
            if quiet >= self._debounce:
                return True
            self._stopping.wait(self._debounce - quiet)
        return False

    def _follow(self) -> None:
        """Set watches on what is there now, again until that has not changed in the meantime."""
        for _ in range(_MOST_ROUNDS):
            self._interest = _Interest(self._sources)
            if self._events is None or not self._events.follow(self._interest.watched):
                return

    def _complain(self, error: OSError) -> None:
        from jobserver.scanner.folder_events import explain_watch_error

        if not self._is_troubled:
            self._is_troubled = True
            self._on_trouble(explain_watch_error(error))


class _Interest:
    """Which folders to watch at this moment, and which paths in them matter; all as real paths, as events give them."""

    def __init__(self, sources: JobSources) -> None:
        job_folders = [folder.path for folder in sources.folders()]
        plugin_folders = [path.parent for path in job_folders if path.is_relative_to(sources.plugins_dir)]
        self._plugins_dir = os.path.realpath(sources.plugins_dir)
        self._job_folders = {os.path.realpath(path) for path in job_folders}
        wanted = [*job_folders, *plugin_folders, sources.plugins_dir]
        self._ways = {str(path) for folder in wanted for path in _missing_way(folder)}
        self.watched = {os.path.realpath(path) for folder in wanted for path in _watchable(folder)}

    def covers(self, path: str) -> bool:
        """Whether a change of `path` may mean other jobs."""
        folder, name = os.path.split(path)
        if name.startswith(("_", ".")):
            return path in self._ways
        in_job_folder = folder in self._job_folders and name.endswith(".py")
        return in_job_folder or folder == self._plugins_dir or path in self._ways


def _watchable(folder: Path) -> Iterator[Path]:
    """The folder and its parent, which tells of its end; or the nearest that exists, which tells of its beginning."""
    nearest = next(path for path in (folder, *folder.parents) if path.is_dir())
    yield nearest
    if nearest == folder:
        yield folder.parent


def _missing_way(folder: Path) -> Iterator[Path]:
    """The folder itself and every missing one above it, where each will stand."""
    for path in (folder, *folder.parents):
        yield Path(os.path.realpath(path.parent)) / path.name
        if path.parent.is_dir():
            return


def _snapshot(sources: JobSources) -> dict[str, tuple[int, int, int]]:
    """Inode, size and time of every job file."""
    found = {}
    for file in sources.listing().files:
        with contextlib.suppress(OSError):
            status = file.path.stat()
            found[str(file.path)] = (status.st_ino, status.st_size, status.st_mtime_ns)
    return found
