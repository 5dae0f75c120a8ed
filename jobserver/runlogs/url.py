"""A bucket wherever fsspec can write: `s3://bucket/logs`, `gs://…`, `file:///…`. A log comes there when its run ends.

How long it stays is for the bucket's own lifecycle rules to say.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jobserver.errors import SettingsError
from jobserver.runlogs.bucket import BucketError, LogPart, Piece
from jobserver.runlogs.spool import file_name
from jobserver.settings.uri import without_credentials


class UrlBucket:
    """A `Bucket`. Raises SettingsError where a library is missing that the URL needs."""

    grain: int | None = None

    def __init__(self, url: str) -> None:
        self._shown = without_credentials(url)
        self._files, self._root = _file_system(url)

    def append(self, pieces: Sequence[Piece]) -> None:
        """Upload whole logs."""
        for piece in pieces:
            try:
                self._files.makedirs(self._root, exist_ok=True)
                self._files.pipe_file(self._path(piece.facts.run), piece.data)
            except Exception as error:  # each file system has errors of its own
                raise BucketError(f"{self._shown} does not take run logs: {error or repr(error)}") from error

    def read(self, run: str, start: int, at_most: int) -> LogPart | None:
        """What was uploaded; nothing before the run has ended."""
        path = self._path(run)
        try:
            size = int(self._files.size(path) or 0)
            data = self._files.cat_file(path, start=start, end=min(size, start + at_most)) if start < size else b""
        except FileNotFoundError:
            return None
        except Exception as error:
            raise BucketError(f"{self._shown} cannot be read: {error or repr(error)}") from error
        return LogPart(data=data, ended=start + len(data) >= size)

    def sweep(self) -> None:
        """The bucket's own lifecycle does it."""

    def close(self) -> None:
        """Connections belong to fsspec."""

    def _path(self, run: str) -> str:
        return f"{self._root}/{file_name(run)}"


def _file_system(url: str) -> tuple[Any, str]:
    try:
        import fsspec

        files, root = fsspec.core.url_to_fs(url)
    except ImportError as error:
        raise SettingsError(
            "logs.bucket",
            f"{without_credentials(url)} needs a library that is not installed: pip install "
            f"'jobserver[s3]', or what fsspec wants for it ({error})",
        ) from None
    except Exception as error:
        raise SettingsError("logs.bucket", f"{without_credentials(url)} cannot be used: {error}") from None
    return files, str(root).rstrip("/")
