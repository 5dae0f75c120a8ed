"""File events of a set of folders that come and go, by watchdog."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver, ObservedWatch

_CHANGES = frozenset({"created", "deleted", "modified", "moved", "closed", "attrib"})
_DISAPPEARANCES = frozenset({"deleted", "moved"})
_LIMITS = {
    errno.ENOSPC: "raise fs.inotify.max_user_watches",
    errno.EMFILE: "raise fs.inotify.max_user_instances or the limit on open files",
}


class FolderEvents(FileSystemEventHandler):
    """Tells of changes directly inside the folders it has been asked to `follow`, on a thread of its own.

    `on_path` gets each path that changed, `on_error` why a folder cannot be followed. OSError where nothing can be.
    """

    def __init__(self, on_path: Callable[[str], None], *, on_error: Callable[[OSError], None]) -> None:
        self._on_path, self._on_error = on_path, on_error
        self._observer: BaseObserver = Observer()
        self._watches: dict[str, _Watch] = {}
        self._observer.start()

    def follow(self, folders: Collection[str]) -> bool:
        """Follow exactly these (real paths); whether anything had to be changed. A folder that is gone is left out."""
        dropped = [path for path, watch in self._watches.items() if path not in folders or watch.is_stale]
        for path in dropped:
            self._drop(path)
        added = [path for path in folders if path not in self._watches and self._add(path)]
        return bool(dropped or added)

    def close(self) -> None:
        """End the threads; waits for them."""
        self._observer.stop()
        self._observer.join()

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Called by watchdog, on its thread."""
        # Reading a file is an event as well: answering that one would never end.
        if event.event_type not in _CHANGES or (event.is_directory and event.event_type in ("modified", "attrib")):
            return
        for path in {os.fsdecode(event.src_path), os.fsdecode(event.dest_path or event.src_path)}:
            watch = self._watches.get(path)
            if watch is not None and event.event_type in _DISAPPEARANCES:
                # A folder of that name that comes later is another one: the kernel's watch went with this one.
                watch.is_stale = True
            self._on_path(path)

    def _add(self, path: str) -> bool:
        try:
            self._watches[path] = _Watch(handle=self._observer.schedule(self, path))
        except (FileNotFoundError, NotADirectoryError):
            return False  # it went away just now, which its parent's watch tells
        except OSError as error:
            self._on_error(error)
            return False
        return True

    def _drop(self, path: str) -> None:
        watch = self._watches.pop(path)
        with contextlib.suppress(KeyError):
            self._observer.unschedule(watch.handle)


def explain_watch_error(error: OSError) -> str:
    """Why job files cannot be watched, and what would help."""
    advice = _LIMITS.get(error.errno or 0, "")
    return f"job files cannot be watched: {error.strerror or error}{'; ' if advice else ''}{advice}"


@dataclass(slots=True, kw_only=True)
class _Watch:
    handle: ObservedWatch
    is_stale: bool = field(default=False)
