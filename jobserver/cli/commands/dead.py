"""`dead` and `retry`: what gave up, and one more go for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime

from jobserver.cli.answer import Answer, Screen
from jobserver.cli.commands.edit import editor
from jobserver.cli.commands.run import require_heard_of
from jobserver.cli.options import Where
from jobserver.cli.session import session
from jobserver.errors import ConfigError
from jobserver.store.reader import id_of
from jobserver.store.views import OccurrenceView
from jobserver.words import one_line, value, when

WHOLE = 100_000


def dead(where: Where, name: str | None, *, full: bool, limit: int) -> Answer:
    """Job documents that failed and are not tried again by themselves, newest first. Raises UnknownJob."""
    with session(where) as opened:
        found, now = opened.reader.dead(name, limit=limit), opened.reader.now()
        if not found and name is not None:
            require_heard_of(opened, name)
    show = _show_in_full if full else _show
    return Answer(document={"dead": [asdict(each) for each in found]}, show=lambda screen: show(screen, found, now))


def retry(where: Where, ids: Sequence[str], *, all_of: str | None) -> Answer:
    """One more go from now, with all attempts; exit code 1 where nothing had given up.

    Raises ConfigError and UnknownJob.
    """
    if bool(ids) == (all_of is not None):
        raise ConfigError("", "name the ids that `jobserver dead` lists, or --all NAME, not both")
    with session(where) as opened:
        if all_of is not None:
            count = editor(opened).revive_all(all_of)
            if not count:
                require_heard_of(opened, all_of)
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
    screen.line(
        "\njobserver dead --full shows tracebacks; retry ID... gives one more go, retry --all NAME all of a job"
    )


def _show_in_full(screen: Screen, found: Sequence[OccurrenceView], now: datetime) -> None:
    if not found:
        screen.line("nothing gave up")
    for each in found:
        screen.line(f"{each.id}  {each.name}  failed {when(each.failed_at, now)}", style="bold")
        if each.data is not None:
            screen.line(f"data: {value(each.data, WHOLE)}")
        screen.line(f"{_whole(each)}\n")


def _whole(each: OccurrenceView) -> str:
    """The traceback, and below it what was said where that says more: which limit it was, or which exit code."""
    stack, said = (each.stack or "").rstrip(), (each.error or "").rstrip()
    return "\n".join(part for part in (stack, said if said not in stack else "") if part) or "no error is known"


def _why(each: OccurrenceView) -> str:
    """What was said of the error, with its class where the traceback ends in the same words."""
    said = one_line(each.error, WHOLE)
    if each.poison:
        return f"{one_line(said)} [{each.crashes} crashes]"
    lines = [line for line in (each.stack or "").splitlines() if line and not line[0].isspace()]
    return one_line(lines[-1] if lines and said in lines[-1] else each.error)
