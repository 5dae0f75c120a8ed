"""One entry in `jobConfigHistory` for each applied change, whichever server is first to write it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from jobserver.store.configs import AppliedVersion, ConfigStore
from jobserver.words import one_line

TRIES = 5
LONGEST_AUTHOR = 200  # characters; a hand may have written anything there
NOTHING = AppliedVersion(version=0, values={})


class HistoryKeeper:
    """Compares what is in force with the newest entry, and adds the next one where they differ."""

    def __init__(self, *, store: ConfigStore, server: Callable[[], str]) -> None:
        self._store, self._server = store, server
        self._newest: dict[str, AppliedVersion] = {}
        self._updated_at: dict[str, Any] = {}

    async def last_good(self, name: str) -> Mapping[str, Any]:
        """The values of the newest entry: what was in force before this server started."""
        return (await self._newest_of(name)).values

    async def keep(self, name: str, values: dict[str, Any], document: Mapping[str, Any]) -> None:
        """Record these values unless they are the newest entry already, by this server or another."""
        await self._keep(name, values, document, by=self._author(name, document))
        self._updated_at[name] = document.get("updatedAt")  # not before: what failed is tried again, and still signed

    async def _keep(self, name: str, values: dict[str, Any], document: Mapping[str, Any], *, by: str) -> None:
        for _ in range(TRIES):
            newest = await self._newest_of(name)
            if _same(newest.values, values):
                return
            following = newest.version + 1
            changes = changes_between(newest.values, values)
            # A server that is behind would take the latest edit back, in the history.
            if not await self._store.still_says(name, document, [change["field"] for change in changes]):
                return  # whoever reads the later edit records that
            if await self._store.record(name, version=following, changes=changes, values=values, by=by):
                self._newest[name] = AppliedVersion(version=following, values=values)
                return
            del self._newest[name]  # another server was first: read what it has written

    async def _newest_of(self, name: str) -> AppliedVersion:
        if name not in self._newest:
            self._newest[name] = await self._store.applied(name) or NOTHING
        return self._newest[name]

    def _author(self, name: str, document: Mapping[str, Any]) -> str:
        """Commands of ours sign their edits in `updatedBy` and `updatedAt`; an edit by hand moves neither."""
        if "updatedBy" in document and document.get("updatedAt") != self._updated_at.get(name):
            return one_line(str(document["updatedBy"]), LONGEST_AUTHOR)
        return f"seen by server {self._server()}"


def changes_between(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[dict[str, Any]]:
    """{field, from, to} for each field that differs; an absent side is absent here too."""
    changes = []
    for field in sorted(set(before) | set(after)):
        if not _same({"": before.get(field)}, {"": after.get(field)}):
            change: dict[str, Any] = {"field": field}
            if field in before:
                change["from"] = before[field]
            if field in after:
                change["to"] = after[field]
            changes.append(change)
    return changes


def _same(left: Mapping[str, Any], right: Mapping[str, Any]) -> bool:
    return dict(left) == dict(right)
