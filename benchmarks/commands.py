"""What mongod has had to do within a while, by its own count."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

from pymongo import MongoClient

from benchmarks.mongod import Document


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """Commands by their names, and how many index keys and documents were looked at to answer them."""

    commands: Counter[str]
    keys: int
    documents: int


def effort_within(seconds: float, uri: str) -> Effort:
    """Without what looking costs: that is the difference of two looks in a row."""
    first, before = _counted(uri), _counted(uri)
    time.sleep(seconds)
    after = _counted(uri)
    return Effort(
        commands=+(after.commands - before.commands - (before.commands - first.commands)),
        keys=after.keys - before.keys,
        documents=after.documents - before.documents,
    )


def _counted(uri: str) -> Effort:
    """Since it began."""
    with MongoClient[Document](uri, directConnection=True) as client:
        metrics: Any = client.admin.command("serverStatus")["metrics"]
    commands = {name: int(of["total"]) for name, of in metrics["commands"].items() if "total" in _as_mapping(of)}
    examined = metrics["queryExecutor"]
    return Effort(commands=Counter(commands), keys=int(examined["scanned"]), documents=int(examined["scannedObjects"]))


def _as_mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
