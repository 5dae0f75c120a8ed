"""`status` and `info`: how the whole is doing, and where it is."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

import jobserver
from jobserver.cli.answer import Answer, Screen
from jobserver.cli.commands.jobs import show_unknown_names
from jobserver.cli.options import Where
from jobserver.cli.session import known_uri, session
from jobserver.settings import load_settings, without_credentials
from jobserver.store.views import Counts, ServerView
from jobserver.words import NOTHING, relative


def status(where: Where) -> Answer:
    """Which servers live, what waits, runs, gave up, hangs or waits for nobody."""
    with session(where) as opened:
        servers, now, counts = opened.reader.servers(), opened.reader.now(), opened.reader.counts()
        unknown = opened.reader.unknown_names()
        most_slots = _most_slots(servers)
        oversized = {} if most_slots is None else opened.reader.oversized(most_slots)
    document = {
        **asdict(counts),
        "servers": [{**asdict(server), "silent": server.is_silent(now)} for server in servers],
        "unknown_names": [asdict(each) for each in unknown],
        "oversized": oversized,
    }

    def show(screen: Screen) -> None:
        _show_status(screen, servers, counts, now)
        for name, count in sorted(oversized.items()):
            screen.line(
                f"{name}: {count} due need more than {most_slots} slots, and no server has as many", style="yellow"
            )
        show_unknown_names(screen, unknown, now)

    return Answer(document=document, show=show)


def info(where: Where) -> Answer:
    """Where things are. Without any MongoDB `mongodb_uri` is null; one that does not answer raises DatabaseError."""
    settings = load_settings(where.config, flags=where.flags)
    uri, servers = known_uri(settings), []
    if uri is not None:
        with session(where) as opened:
            servers = opened.reader.servers()
    document = {
        "version": jobserver.__version__,
        "python": platform.python_version(),
        "project": settings.project.root,
        "jobs_dir": settings.project.root / settings.project.jobs_dir,
        "plugins_dir": settings.project.root / settings.project.plugins_dir,
        "mongodb_uri": without_credentials(uri) if uri else None,
        "embedded": settings.mongodb.uri is None,
        "database": settings.mongodb.database,
        "collection": settings.runner.config.db.collection,
        "servers": [asdict(server) for server in servers],
    }
    return Answer(document=document, show=lambda screen: _show_info(screen, document, servers))


def _show_status(screen: Screen, servers: Sequence[ServerView], counts: Counts, now: datetime) -> None:
    limited = any(server.slots for server in servers)
    if servers:
        rows = [
            (
                server.id,
                _state(server, now),
                relative(server.started_at, now) if server.started_at else NOTHING,
                relative(server.heartbeat_at, now) if server.heartbeat_at else NOTHING,
                str(server.running),
                *([_slots(server)] if limited else []),
            )
            for server in servers
        ]
        titles = ("SERVER", "", "STARTED", "LAST HEARTBEAT", "RUNNING", *(["SLOTS"] if limited else []))
        screen.table(titles, rows)
    else:
        screen.line("no server is running: jobserver start", style="yellow")
    screen.line(f"\n{counts.queued} queued, {counts.scheduled} scheduled, {counts.running} running")
    if counts.dead:
        screen.line(f"{counts.dead} gave up: jobserver dead", style="red")
    if counts.stale_locks:
        screen.line(f"{counts.stale_locks} stale locks: another server takes them back", style="yellow")


def _state(server: ServerView, now: datetime) -> str:
    """One word. Others call a silent one dead, too, once its lease and a grace are over."""
    if not server.alive:
        return "dead"
    if server.is_silent(now):
        return "silent"
    return "draining" if server.draining else "alive"


def _slots(server: ServerView) -> str:
    return f"{server.slots.used} of {server.slots.available}" if server.slots else NOTHING


def _most_slots(servers: Sequence[ServerView]) -> int | None:
    """What the largest living server has; None where one has no limit, or none lives."""
    limits = [server.slots.available if server.slots else None for server in servers if server.alive]
    known = [limit for limit in limits if limit is not None]
    return max(known) if known and len(known) == len(limits) else None


def _show_info(screen: Screen, document: dict[str, Any], servers: Sequence[ServerView]) -> None:
    kind = " (embedded)" if document["embedded"] else ""
    alive = sum(server.alive for server in servers)
    screen.table(
        ("jobserver", document["version"]),
        [
            ("Python", document["python"]),
            ("project", str(document["project"])),
            ("MongoDB", f"{document['mongodb_uri']}{kind}" if document["mongodb_uri"] else "none runs"),
            ("database", f"{document['database']}, jobs in {document['collection']}"),
            ("servers", f"{alive} alive, {len(servers) - alive} dead" if servers else "none"),
        ],
    )
