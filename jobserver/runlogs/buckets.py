"""Which bucket the settings mean."""

from __future__ import annotations

from collections.abc import Callable

from jobserver.runlogs.bucket import Bucket
from jobserver.runlogs.caps import Caps
from jobserver.runlogs.folder import FolderBucket
from jobserver.settings import LogSettings, Settings


def bucket_of(settings: Settings, *, gridfs: Callable[[], Bucket]) -> Bucket:
    """The one they name; `gridfs` makes the one in MongoDB. Raises SettingsError where a library is missing."""
    logs = settings.logs
    match logs.bucket:
        case "gridfs":
            return gridfs()
        case "folder":
            return FolderBucket(settings.project.root / logs.folder, retention=logs.retention)
        case url:
            from jobserver.runlogs.url import UrlBucket

            return UrlBucket(url)


def caps_of(settings: LogSettings) -> Caps:
    """How much of a log is kept."""
    return Caps(
        line=settings.max_line,
        run=settings.max_run,
        bytes_per_second=settings.max_bytes_per_second,
        records_per_second=settings.max_records_per_second,
    )
