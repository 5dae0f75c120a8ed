"""How long a directory's MongoDB may keep us waiting, and what its log says when it was too long."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from jobserver.embedded.guard import LOG
from jobserver.errors import EmbeddedMongoError

_POLL_SECONDS = 0.02
_TAIL_LINES, _TAIL_BYTES, _LINE_CHARACTERS = 12, 65_536, 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadline:
    """A moment on the monotonic clock until which we wait for the MongoDB of `directory`."""

    directory: Path
    moment: float

    @classmethod
    def after(cls, seconds: float, directory: Path) -> Deadline:
        """The deadline that many seconds from now."""
        return cls(directory=directory, moment=time.monotonic() + seconds)

    def pause(self, awaited: str) -> None:
        """Sleep for one poll; past the deadline raise EmbeddedMongoError, saying what was awaited in vain."""
        if time.monotonic() > self.moment:
            raise EmbeddedMongoError(f"gave up waiting for {awaited}; {log_tail(self.directory)}")
        time.sleep(_POLL_SECONDS)


def log_tail(directory: Path) -> str:
    """The last lines of mongod.log: errors and plain text where there are any, else whatever stands there."""
    log = directory / LOG
    try:
        lines = log.read_bytes()[-_TAIL_BYTES:].decode(errors="replace").splitlines()
    except OSError as error:
        return f"{log} cannot be read: {error}"
    telling = [line for line in lines if not line.startswith("{") or '"s":"E"' in line or '"s":"F"' in line]
    return "\n    ".join(
        [f"the end of {log}:", *(line[:_LINE_CHARACTERS] for line in (telling or lines)[-_TAIL_LINES:])]
    )
