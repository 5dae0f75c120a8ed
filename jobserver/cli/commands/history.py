"""`history`: what was changed about a job, when and by whom."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from jobserver.cli.answer import Answer, Screen
from jobserver.cli.commands.jobs import schedule_text
from jobserver.cli.commands.run import require_known
from jobserver.cli.options import Where
from jobserver.cli.session import session
from jobserver.store.views import Change, VersionView
from jobserver.words import NOTHING, value, when

LONGEST = 10_000


def history(where: Where, name: str, *, limit: int) -> Answer:
    """The versions of a job's configuration, newest first. Raises UnknownJob."""
    with session(where) as opened:
        found, now = opened.reader.history(name, limit=limit), opened.reader.now()
        if not found:
            require_known(opened, name)
    versions = [
        {
            "version": version.version,
            "at": version.at,
            "by": version.by,
            "changes": [{"field": each.field, "from": each.before, "to": each.after} for each in version.changes],
            "values": version.values,
        }
        for version in found
    ]
    return Answer(document={"name": name, "versions": versions}, show=lambda screen: _show(screen, name, found, now))


def _show(screen: Screen, name: str, found: Sequence[VersionView], now: datetime) -> None:
    if not found:
        screen.line(f"nothing was changed about {name} yet")
        return
    rows = [(str(each.version), when(each.at, now), each.by or NOTHING, _changes(each.changes)) for each in found]
    screen.table(("VERSION", "WHEN", "BY", "WHAT"), rows)


def _changes(changes: Sequence[Change]) -> str:
    return "\n".join(f"{each.field}: {_change(each)}" for each in changes)


def _change(change: Change) -> str:
    """Both sides whole: what a change was about may stand at their very end."""
    before, after = (_said(change.field, side) for side in (change.before, change.after))
    return f"{before} → {after}" if change.before is not None else after


def _said(field: str, side: Any) -> str:
    if side is None:
        return "its default"
    return schedule_text(side) if field == "schedule" else value(side, LONGEST)
