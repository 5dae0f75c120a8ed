"""Every example of docs/testing.md, as it stands."""

from __future__ import annotations

import asyncio
import inspect
import re
from pathlib import Path
from typing import Any

import pytest

from jobserver.embedded import EmbeddedMongo
from jobserver.testing import AsyncTimeline, Status, SyncTimeline, VirtualRun

PAGE = (Path(__file__).parents[2] / "docs" / "testing.md").read_text("utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def examples() -> dict[str, Any]:
    namespace: dict[str, Any] = {}
    exec("\n".join(BLOCKS), namespace)
    return {name: value for name, value in namespace.items() if name.startswith("test_")}


EXAMPLES = examples()


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_passes_as_it_stands(name: str, mongod: EmbeddedMongo) -> None:
    example = EXAMPLES[name]
    wanted = {"mongod": mongod} if inspect.signature(example).parameters else {}
    if inspect.iscoroutinefunction(example):
        asyncio.run(example(**wanted))
    else:
        example(**wanted)


def test_the_page_has_all_of_its_examples() -> None:
    assert len(EXAMPLES) == PAGE.count("\ndef test_") + PAGE.count("\nasync def test_") == 7


@pytest.mark.parametrize("kind", [AsyncTimeline, SyncTimeline])
def test_the_page_names_all_that_a_timeline_offers(kind: type) -> None:
    for name in (name for name in dir(kind) if not name.startswith("_")):
        assert f"jobs.{name}" in PAGE


def test_the_page_names_all_that_a_run_tells() -> None:
    section = PAGE.partition("## What a run tells")[2].partition("```")[0]
    fields = set(VirtualRun.__slots__) - {"skipped_until"}
    assert {name for name in fields if f"`{name}`" not in section} == set()
    for status in ("completed", "failed", "cancelled", "skipped", "running"):
        assert status in section
        assert Status(status)
