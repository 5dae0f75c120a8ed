"""A mongod that can be taken away and brought back."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path

from jobserver.embedded import EmbeddedMongo


class OwnMongo:
    """A mongod that only this test has, to be stopped and started at will."""

    def __init__(self, directory: Path, *, extra_args: Sequence[str] = ()) -> None:
        self._directory, self._extra_args = directory, extra_args
        self._embedded = self._started()
        self.uri = self._embedded.uri

    def stall(self) -> None:
        """It answers nothing from now on."""
        os.kill(self._embedded.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """It answers again."""
        os.kill(self._embedded.pid, signal.SIGCONT)

    def crash(self) -> None:
        """It is gone, without a chance to tidy up."""
        os.kill(self._embedded.pid, signal.SIGKILL)
        self._embedded.close()

    def end(self) -> None:
        """It ends in order; a second end is harmless."""
        self._embedded.close()

    def start(self) -> None:
        """It comes back with its data, under the same URI."""
        self._embedded = self._started()
        assert self._embedded.uri == self.uri

    def _started(self) -> EmbeddedMongo:
        return EmbeddedMongo.start(self._directory, cache_gb=0.25, extra_args=self._extra_args)
