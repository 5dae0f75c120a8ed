"""Reading mongod.json; the guard writes it."""

from __future__ import annotations

import json
from pathlib import Path

from jobserver.embedded.guard import STATE, MongodState


def read_state(directory: Path) -> MongodState | None:
    """What is said to run in a directory; None where nothing does, or where the file is not ours to understand."""
    try:
        return MongodState(**json.loads((directory / STATE).read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None
