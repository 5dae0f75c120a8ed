"""How long a person waits for `jobserver --help`."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.figure import Bound, Figure, Reading, Spread, Target, Unit
from benchmarks.rounds import by_turns, ratio

HELP, BARE = "jobserver --help", "python -c pass"


def measure(bench: Bench) -> Figure:
    """Against an interpreter that does nothing."""
    contenders = {
        HELP: partial(_milliseconds, [Path(sys.executable).with_name("jobserver"), "--help"]),
        BARE: partial(_milliseconds, [sys.executable, "-c", "pass"]),
    }
    taken = by_turns(bench.sizes.commands, contenders)
    readings = (
        _reading(HELP, taken[HELP], Target(bound=Bound.BELOW, limit=150)),
        _reading(BARE, taken[BARE]),
        ratio("against a bare interpreter", taken[HELP], taken[BARE]),
    )
    return Figure(title="the command line answers", readings=readings, facts={"times": bench.sizes.commands})


def _milliseconds(command: Sequence[str | Path]) -> float:
    began = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL, check=True, timeout=60)
    return (time.perf_counter() - began) * 1e3


def _reading(what: str, values: Sequence[float], target: Target | None = None) -> Reading:
    return Reading(what=what, unit=Unit.MILLISECONDS, spread=Spread.of(values), target=target)
