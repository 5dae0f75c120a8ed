"""Runner types by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jobserver.errors import UnknownRunner
from jobserver.runner.interfaces import JobRunner

RunnerFactory = Callable[..., JobRunner]


class RunnerRegistry:
    """Which factory makes a runner of which type."""

    def __init__(self) -> None:
        self._factories: dict[str, RunnerFactory] = {}

    def register(self, type_: str, factory: RunnerFactory) -> None:
        """Make `runner.type: type_` mean this factory; the last registration of a type counts."""
        self._factories[type_] = factory

    def require(self, type_: str) -> RunnerFactory:
        """The factory of this type. Raises UnknownRunner with the known types."""
        factory = self._factories.get(type_)
        if factory is None:
            raise UnknownRunner(type_, self._factories)
        return factory

    def create(self, type_: str, **collaborators: Any) -> JobRunner:
        """A runner of this type. Raises UnknownRunner with the known types."""
        return self.require(type_)(**collaborators)
