"""Every example of docs/schedules.md."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from jobserver.errors import ScheduleError
from jobserver.schedule import DstPolicy, Exclusion, Schedule
from jobserver.schedule.misfire import Misfire

PAGE = (Path(__file__).parents[2] / "docs" / "schedules.md").read_text("utf-8")
START = datetime(2026, 1, 14, 10, 7, 33, tzinfo=UTC)

Example = tuple[str, str, str, dict[str, Any]]


def examples() -> Iterator[Example]:
    for options, block in re.findall(r"^```schedule *(.*?)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL):
        keywords = dict(option.split("=", 1) for option in options.split())
        for line in block.splitlines():
            text, sign, outcome = re.fullmatch(r"(.+?)\s+(->|!!) (.+)", line).groups()  # type: ignore[union-attr]
            yield text, sign, outcome, keywords


@pytest.mark.parametrize(("text", "sign", "outcome", "keywords"), list(examples()))
def test_an_example_does_what_the_page_says(text: str, sign: str, outcome: str, keywords: dict[str, Any]) -> None:
    keywords = dict(keywords)
    after = datetime.fromisoformat(keywords.pop("after", START.isoformat()))
    if sign == "!!":
        with pytest.raises(ScheduleError) as caught:
            Schedule.parse(text, **keywords)
        assert outcome in caught.value.message
        return
    expected = outcome.split(", ")
    zone = ZoneInfo(keywords.get("timezone", "UTC"))
    fires = Schedule.parse(text, **keywords).upcoming(len(expected), after=after, anchor=after)
    assert [f"{fire.astimezone(zone):%d %b %H:%M:%S}" for fire in fires] == expected


def test_the_page_has_all_of_its_examples() -> None:
    assert len(list(examples())) >= 80


def test_the_python_of_the_page_runs_as_it_stands() -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 3
    exec("\n".join(blocks), {})


@pytest.mark.parametrize("policy", DstPolicy)
def test_the_page_explains_every_dst_policy(policy: str) -> None:
    assert f"| `{policy}` |" in PAGE


def test_the_entries_and_policies_of_its_tables_are_read() -> None:
    for entry in ("2026-12-25", "2026-12-24..2027-01-06", "12-25", "12-24..01-06", "sat", "mondays", "weekend"):
        assert f"`{entry}`" in PAGE
        assert Exclusion.parse(entry)
    for policy in ("latest", "skip", "all", "all(max=10)"):
        assert f"| `{policy}`" in PAGE
        assert str(Misfire.parse(policy)) == policy
