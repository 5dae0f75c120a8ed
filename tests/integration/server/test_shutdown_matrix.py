"""Every signal, and every state of a server, also under a supervisor; `make shutdown-matrix` does all of their pairs.

Only what no busy machine can spoil is asserted here; the long form judges the seconds too.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.shutdown.case import Case, State, Told, cases
from tests.shutdown.proof import Ground, ground

HARSH = {Told.INT, Told.TERM_5}
ALONE = [case for case in cases(1) if case.told is Told.TERM or case.state is State.BUSY]
SUPERVISED = [
    Case(told=Told.TERM, state=State.BUSY, workers=4),
    Case(told=Told.KILL_WORKER, state=State.OVER_GRACE, workers=4),
    Case(told=Told.TERM_5, state=State.OVER_GRACE, workers=4),
]


@pytest.fixture(scope="module")
def a_ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    with ground(tmp_path_factory.mktemp("ground")) as found:
        yield found


@pytest.mark.parametrize("case", [*ALONE, *SUPERVISED], ids=str)
async def test_a_server_ends_with_a_true_exit_code_and_what_it_held_runs_elsewhere(
    case: Case, a_ground: Ground
) -> None:
    verdict = await a_ground.prove(case, harsh=case.told in HARSH)
    assert verdict.violations == []
