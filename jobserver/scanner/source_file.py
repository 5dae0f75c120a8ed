"""One version of one job file: its bytes, read once, so that what is tried is what is loaded."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from hashlib import sha256

from jobserver.errors import DefinitionError
from jobserver.scanner.sources import JobFile

MODULE_ROOT = "jobserver_loaded"
"""The package under which loaded job files stand in sys.modules."""

LARGEST_FILE = 4 * 1024 * 1024
"""Bytes; larger ones are data that happens to be named .py."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """`digest` covers every byte; `modified_ns` changes when somebody touches the file."""

    file: JobFile
    content: bytes
    digest: str
    modified_ns: int

    @property
    def path(self) -> str:
        return str(self.file.path)

    @property
    def module_name(self) -> str:
        """Another one for every version and place, so that an old class and a new one live side by side."""
        version = sha256(f"{self.path}\0{self.digest}".encode(errors="surrogateescape")).hexdigest()[:8]
        category, stem = (re.sub(r"\W", "_", part) for part in (self.file.category, self.file.path.stem))
        return f"{MODULE_ROOT}.{category}.{stem}_{version}"


def read_source(file: JobFile) -> SourceFile | None:
    """The file as it is now, None when it is gone; DefinitionError where it cannot be read."""
    try:
        content, modified_ns = _read(file)
    except FileNotFoundError:
        if os.path.lexists(file.path):
            raise DefinitionError(path=str(file.path), message="is a symbolic link to nothing") from None
        return None
    except OSError as error:
        raise DefinitionError(path=str(file.path), message=f"cannot be read: {error.strerror}") from error
    return SourceFile(file=file, content=content, digest=sha256(content).hexdigest(), modified_ns=modified_ns)


def _read(file: JobFile) -> tuple[bytes, int]:
    # O_NONBLOCK: opening a named pipe would wait for somebody to write into it.
    descriptor = os.open(file.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            kind = "a folder" if stat.S_ISDIR(status.st_mode) else "neither file nor folder"
            raise DefinitionError(path=str(file.path), message=f"is {kind}, a job file is a file")
        with os.fdopen(os.dup(descriptor), "rb") as stream:
            content = stream.read(LARGEST_FILE + 1)
    finally:
        os.close(descriptor)
    if len(content) > LARGEST_FILE:
        raise DefinitionError(path=str(file.path), message="is larger than 4 MiB, too large for a job file")
    return content, status.st_mtime_ns
