"""What a run's process, or a program that it has started, writes on descriptors 1 and 2 past Python's own streams."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress

from jobserver.execution.process.lines import Lines

PIECE = 64 * 1024  # bytes per turn of the event loop and pipe


class Outlet:
    """The reading end of a pipe, read as fast as it is written; never more than one piece is held."""

    def __init__(self, descriptor: int, lines: Lines, *, loop: asyncio.AbstractEventLoop) -> None:
        self._descriptor, self._lines, self._loop = descriptor, lines, loop
        self.ended: asyncio.Future[None] = loop.create_future()
        os.set_blocking(descriptor, False)
        loop.add_reader(descriptor, self._read)

    def close(self) -> None:
        """Read what is there, and no more; a second close is harmless."""
        while self._descriptor >= 0 and self._read():
            pass
        self._end()

    def _read(self) -> bool:
        try:
            piece = os.read(self._descriptor, PIECE)
        except BlockingIOError:
            return False
        except OSError:
            piece = b""
        if piece:
            self._lines.feed(piece)
            return True
        self._end()
        return False

    def _end(self) -> None:
        if self._descriptor >= 0:
            self._loop.remove_reader(self._descriptor)
            with suppress(OSError):
                os.close(self._descriptor)
            self._descriptor = -1
            self._lines.end()
            if not self.ended.done():
                self.ended.set_result(None)
