"""What the figures of one run share: how much to do, and one mongod."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from benchmarks.mongod import Mongod, mongod
from benchmarks.rounds import tell
from benchmarks.sizes import Sizes


@dataclass(slots=True, kw_only=True)
class Bench:
    """Handed to every figure."""

    sizes: Sizes
    _endings: ExitStack
    _mongod: Mongod | None = field(default=None)

    def mongod(self) -> Mongod:
        """The one that figures share which leave nothing behind; started for the first of them."""
        if self._mongod is None:
            tell("starting mongod")
            self._mongod = self._endings.enter_context(mongod())
        return self._mongod


@contextmanager
def bench(sizes: Sizes) -> Iterator[Bench]:
    """Ends with everything that was started for it."""
    with ExitStack() as endings:
        yield Bench(sizes=sizes, _endings=endings)
