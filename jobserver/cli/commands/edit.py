"""`enable`, `disable`, `schedule`, `rollback`: edits of a `jobConfigs` document, as a hand could make them."""

from __future__ import annotations

import getpass
import socket
from collections.abc import Mapping

from jobserver.cli.answer import Answer
from jobserver.cli.options import Where
from jobserver.cli.session import Session, session
from jobserver.errors import ConfigError
from jobserver.schedule import Schedule
from jobserver.store.edits import Editor
from jobserver.words import when


def enable(where: Where, name: str, *, enabled: bool) -> Answer:
    """Switch a job's schedule on or off. Raises UnknownJob."""
    with session(where) as opened:
        changed = editor(opened).enable(name, enabled=enabled)
    word = "enabled" if enabled else "disabled"
    text = f"{name} is {word}" if changed else f"{name} was {word} already"
    return _answer({"name": name, "enabled": enabled, "changed": changed}, text)


def schedule(where: Where, name: str, expression: str, options: Mapping[str, str | None]) -> Answer:
    """Give a job another schedule; `options` are the keywords of Schedule.parse.

    Raises ScheduleError before anything is changed, and UnknownJob.
    """
    wanted = Schedule.parse(expression, **options)
    with session(where) as opened:
        changed, now = editor(opened).schedule(name, wanted.to_document()), opened.reader.now()
    upcoming = wanted.upcoming(1, after=now, anchor=now)
    document = {
        "name": name,
        "schedule": wanted.to_document(),
        "schedule_text": wanted.describe(),
        "next_run_at": upcoming[0] if upcoming else None,
        "changed": changed,
    }
    text = f"{name} runs {wanted.describe()}" + (f", next {when(upcoming[0], now)}" if upcoming else "")
    return _answer(document, text)


def rollback(where: Where, name: str, version: int) -> Answer:
    """Bring back what an earlier version of a job's configuration said. Raises ConfigError and UnknownJob."""
    with session(where) as opened:
        found = opened.reader.version(name, version)
        if found is None:
            newest = opened.reader.history(name, limit=1)
            known = f"its versions are 1 to {newest[0].version}" if newest else "it has no history"
            raise ConfigError("version", f"{name} has no version {version}: {known}")
        changed = editor(opened).restore(name, found.values)
    text = f"{name} is back at version {version}" if changed else f"{name} was at version {version} already"
    return _answer({"name": name, "version": version, "values": found.values, "changed": changed}, text)


def editor(opened: Session) -> Editor:
    """An editor that signs with user and machine."""
    return Editor(opened.database, opened.names, by=f"cli:{_user()}@{socket.gethostname()}")


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run under an id without a name
        return "unknown"


def _answer(document: Mapping[str, object], text: str) -> Answer:
    return Answer(document=document, show=lambda screen: screen.line(text))
