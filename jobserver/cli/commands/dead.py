"""`dead` and `retry`: what gave up, and one more go for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime

from jobserver.cli.answer import Answer, Screen
from jobserver.cli.commands.edit import editor
from jobserver.cli.options import Where
from jobserver.cli.session import session
from jobserver.errors import ConfigError
from jobserver.store.reader import id_of
from jobserver.store.views import OccurrenceView
from jobserver.words import one_line, value, when


def dead(where: Where, name: str | None, *, limit: int) -> Answer:
    """Job documents that failed and are not tried again by themselves, newest first."""
    with session(where) as opened:
        found, now = opened.reader.dead(name, limit=limit), opened.reader.now()
    return Answer(document={"dead": [asdict(each) for each in found]}, show=lambda screen: _show(screen, found, now))


def retry(where: Where, ids: Sequence[str], *, all_of: str | None) -> Answer:
    """One more go from now, with all attempts; exit code 1 where nothing had given up. Raises ConfigError."""
    if bool(ids) == (all_of is not None):
        raise ConfigError("", "name the ids that `jobserver dead` lists, or --all NAME, not both")
    with session(where) as opened:
        if all_of is not None:
            count = editor(opened).revive_all(all_of)
        else:
            count = editor(opened).revive([id_of(each) for each in ids])
    text = f"{count} queued again" if count else "none of these had given up"
    return Answer(document={"retried": count}, show=lambda screen: screen.line(text), exit_code=0 if count else 1)


def _show(screen: Screen, found: Sequence[OccurrenceView], now: datetime) -> None:
    if not found:
        screen.line("nothing gave up")
        return
    rows = [(each.id, each.name, when(each.failed_at, now), _why(each), value(each.data, 40)) for each in found]
    screen.table(("ID", "JOB", "FAILED", "WHY", "DATA"), rows)
    screen.line("\njobserver retry ID … gives one more go, retry --all NAME all of a job")


def _why(each: OccurrenceView) -> str:
    return f"{one_line(each.error)} [{each.crashes} crashes]" if each.poison else one_line(each.error)
