"""What docs/tasks.md shows is run as it stands there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pymongo import AsyncMongoClient
from pymongo.database import Database

from jobserver import Task

PAGE = (Path(__file__).parents[2] / "docs" / "tasks.md").read_text("utf-8")
CLIENT = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)[0]


async def test_the_example_makes_the_tasks_that_it_names(mongo_uri: str, database_name: str, db: Database[Any]) -> None:
    body = "\n".join(f"    {line}" for line in CLIENT.splitlines())
    names: dict[str, Any] = {}
    exec(f"async def example(db):\n{body}\n    return locals()\n", names)
    async with AsyncMongoClient[dict[str, Any]](mongo_uri) as mongo:
        made = await names["example"](mongo[database_name])
    tasks = {name: task for name, task in made.items() if isinstance(task, Task) and name != "task"}
    stored = {name: db.pulseJobs.find_one({"_id": task.id}) for name, task in tasks.items()}
    assert {name: document and document["status"] for name, document in stored.items()} == {
        "once": "scheduled",
        "hourly": "cancelled",
        "monday": "scheduled",
        "after_each": "cancelled",
        "after_one": "scheduled",
    }
