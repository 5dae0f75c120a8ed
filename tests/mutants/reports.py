"""A plugin of pytest that writes down how each test ended, and of what kind the error was."""

from __future__ import annotations

import json
import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

ASSERTIONS = (AssertionError, pytest.fail.Exception)

_endings: list[dict[str, Any]] = []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note what came of each phase that matters."""
    report = yield
    if report.when == "call" or report.failed:
        said = "" if call.excinfo is None else (str(call.excinfo.value).splitlines() or [""])[0]
        _endings.append(
            {
                "test": item.nodeid,
                "passed": report.passed,
                "asserted": _is_assertion(call, said) and report.when == "call",
                "said": said[:300] if call.excinfo is None else f"{call.excinfo.typename}: {said[:300]}",
            }
        )
    return report


def pytest_unconfigure() -> None:
    """The last that this process says."""
    Path(os.environ["MUTANT_REPORTS"]).write_text(json.dumps(_endings))


def _is_assertion(call: pytest.CallInfo[None], said: str) -> bool:
    # A test that is cut off has not said that anything is wrong.
    return call.excinfo is not None and isinstance(call.excinfo.value, ASSERTIONS) and not said.startswith("Timeout")
