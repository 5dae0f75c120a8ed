"""What docs/added-jobs.md shows is run as it stands there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from pymongo.database import Database

from jobserver import JobServer

PAGE = (Path(__file__).parents[2] / "docs" / "added-jobs.md").read_text("utf-8")
ADDING, SCRIPT, ONE_OFF = [text for language, text in re.findall(r"```(\w+)\n(.*?)```", PAGE, flags=re.DOTALL)]


def make_report(data: Any) -> None: ...


def migrate(db: Any) -> str:
    db.migrated.insert_one({})
    return "migrated"


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mongo_uri: str, database_name: str) -> dict[str, Any]:
    """A project with the script of the page, which is the program's folder, too."""
    monkeypatch.chdir(tmp_path)
    for folder in ("jobs/scripts", "scripts"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "tidy.py").write_text("print('tidied')")
    (tmp_path / "jobs" / "tidy.py").write_text("from jobserver import Job\n" + SCRIPT)
    return {"mongodb": {"uri": mongo_uri, "database": database_name}, "project": {"root": str(tmp_path)}}


async def test_a_program_adds_what_the_page_shows(config: dict[str, Any], db: Database[Any]) -> None:
    names: dict[str, Any] = {
        **{"JobServer": JobServer, "make_report": make_report, "migrate": migrate, "send_mail": lambda: None},
        **{"tell": lambda *_: None, "hear": lambda *_: None},
    }
    body = "\n".join(f"    {line}" for line in (ADDING + ONE_OFF).splitlines())
    source = body.replace('config="config.yaml"', "config=config")
    exec(f"async def example(config):\n{source}\n    return server, ended\n", names)
    server, ended = await names["example"](config)
    try:
        assert (ended.state, ended.result) == ("finished", "migrated")
        assert {"tidy", "mail", "api:tidy"} <= set(server.jobs)
        assert "report" not in server.jobs
    finally:
        await server.shutdown()
    assert db.migrated.count_documents({}) == 1
