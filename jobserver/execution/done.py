"""The callback form: `done(error, result)` decides the run before it returns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jobserver.excerpt import excerpt
from jobserver.execution.outcome import Outcome, completed, failed
from jobserver.job import RunLogger


class Done:
    """Hand it an error, or None and a result. The first word decides, later ones are logged and ignored."""

    def __init__(self, log: RunLogger, decided: Callable[[Outcome], None] = lambda _: None) -> None:
        self._log, self._decided = log, decided
        self.outcome: Outcome | None = None

    def __call__(self, error: BaseException | str | None = None, result: Any = None) -> None:
        if self.outcome is not None:
            self._log.warning("done was called again and ignored", {"decided": self.outcome.kind.value})
        else:
            self.outcome = completed(result) if error is None else failed(_as_error(error))
            self._decided(self.outcome)

    def settle(self, last: Outcome) -> Outcome:
        """The deciding outcome, given how `run` itself ended."""
        if self.outcome is None:
            return last
        if last.error is not None or last.result is not None:
            self._log.warning(
                "run ended after done had decided, its end is ignored",
                {"decided": self.outcome.kind.value, "ignored": last.message or excerpt(last.result)},
            )
        return self.outcome


def _as_error(error: BaseException | str) -> BaseException:
    return error if isinstance(error, BaseException) else RuntimeError(str(error))
