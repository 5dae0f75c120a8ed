"""`python -m benchmarks`: every figure, as a table and as JSON."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from pathlib import Path
from types import FrameType

from pymongo.errors import PyMongoError

from benchmarks.bench import bench
from benchmarks.catalogue import FIGURES, PEERS, Measure, UnknownFigure, chosen
from benchmarks.machine import machine
from benchmarks.report import Report
from benchmarks.rounds import tell
from benchmarks.sizes import FULL, QUICK
from jobserver.errors import JobServerError


def main() -> int:
    """Exit code 0 where every figure was measured, met or not; 1 where one could not be, 2 for wrong arguments."""
    parser = _parser()
    arguments = parser.parse_args()
    names = arguments.only.split(",") if arguments.only else [name for name in FIGURES if name != PEERS]
    if arguments.peers:
        names.append(PEERS)
    try:
        figures = chosen(names)
    except UnknownFigure as error:
        parser.error(str(error))
    signal.signal(signal.SIGTERM, _leave)
    _forget_settings()
    report = measure(figures, quick=arguments.quick)
    document = json.dumps(report.as_json(), indent=2, ensure_ascii=False)
    if arguments.json == "-":
        print(document)
    else:
        print(report.as_text())
        if arguments.json:
            Path(arguments.json).write_text(document + "\n")
    return 1 if report.left_out else 0


def measure(figures: dict[str, Measure], *, quick: bool) -> Report:
    """One after the other; what keeps one from being measured does not keep the others."""
    report = Report(machine=machine(), quick=quick)
    with bench(QUICK if quick else FULL) as shared:
        for name, figure in figures.items():
            tell(name)
            try:
                report.figures[name] = figure(shared)
            except (JobServerError, PyMongoError) as reason:
                report.left_out[name] = str(reason)
                tell(f"{name}: not measured")
    return report


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", metavar="NAME,…", help=f"some of {', '.join(FIGURES)}")
    parser.add_argument("--quick", action="store_true", help="small sizes, under a minute: a look, not a measurement")
    parser.add_argument("--peers", action="store_true", help="other job queues too, in turns with ours")
    parser.add_argument("--json", metavar="FILE", help="write JSON there too; - prints it in place of the table")
    return parser


def _forget_settings() -> None:
    """Whatever this shell sets for some server of its own is not meant for ours."""
    for name in [name for name in os.environ if name.startswith("JOBSERVER_")]:
        del os.environ[name]


def _leave(number: int, _frame: FrameType | None) -> None:
    # As an exception, so that every block on the way out ends its server.
    sys.exit(128 + number)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
