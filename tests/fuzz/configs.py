"""Mutated `jobConfigs` documents on live servers: what is in force is what the last valid words say, and no more."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo import ReplaceOne
from pymongo.errors import BulkWriteError

from jobserver.store.codec import CODEC
from tests.fuzz.config_cases import WRITTEN_BY_SERVERS, ConfigCase, ConfigCases, Values
from tests.fuzz.elements import elements_of
from tests.fuzz.ground import Found, Ground, Tell
from tests.project import Document, Project

QUIET = """
class F{number}(Job):
    name = "api:f{number:03}"
    schedule = "0 0 1 1 *"
    async def run(self):
        return None
"""
RAW: CodecOptions[RawBSONDocument] = CODEC.with_options(document_class=RawBSONDocument)
NOTHING = (b"\x06", b"\x0a")  # the BSON types of undefined and null
LINES_PER_DOCUMENT = 4  # of one server: refused, applied, and a run that somebody has asked for


class ConfigFuzz:
    """So many jobs, each of whose documents is replaced in every round."""

    def __init__(self, project: Project, random: Random, found: Found, tell: Tell, *, jobs: int = 200) -> None:
        self._project, self._random, self._found, self._tell = project, random, found, tell
        project.job("many", "".join(QUIET.format(number=number) for number in range(jobs)))
        self._names = [f"api:f{number:03}" for number in range(jobs)]
        self._ground = Ground(project, found, servers=2, max_concurrency=50)
        self._in_force: dict[str, Values] = {}
        found.judged.update(dict.fromkeys(("to come into force", "to be kept as it was", "to be shown as wrong"), 0))

    async def run(self, documents: int, *, then: tuple[Random, int] | None = None) -> None:
        """Try so many documents, `then` so many more that are drawn in another way."""
        await self._ground.open()
        await self._ground.read_by_all()
        self._in_force = {name: self._newest(name) for name in self._names}
        first = self._project.config(self._names[0])["checksum"]
        await self._try(ConfigCases(self._random, checksum=first), documents)
        if then is not None:
            await self._try(ConfigCases(then[0], checksum=first), then[1])
        await self._ground.close()

    async def _try(self, cases: ConfigCases, documents: int) -> None:
        tried = 0
        while tried < documents:
            names = self._names[: documents - tried]
            await self._round(names, [cases.draw(name) for name in names])
            tried += len(names)
            self._found.documents += len(names)
            self._tell(f"{tried} of {documents} configurations, {self._found.so_far}")

    async def _round(self, names: Sequence[str], cases: Sequence[ConfigCase]) -> None:
        written = self._write(names, cases)
        said = await self._ground.read_by_all()
        said += (
            await self._ground.read_by_all()
        )  # what they have written themselves is read once more, and changes nothing
        await self._ground.sing()
        self._ground.alive()
        self._check_the_log(said, len(written))
        newest = self._all_newest()
        stored = {each["jobName"]: each for each in self._stored()}
        for name, case in written.items():
            expected = case.in_force(self._in_force[name])
            self._check(name, case, expected, newest.get(name, {}), stored.get(name))
            self._in_force[name] = newest.get(name, {})

    def _write(self, names: Sequence[str], cases: Sequence[ConfigCase]) -> dict[str, ConfigCase]:
        """Those that MongoDB took."""
        written = dict(zip(names, cases, strict=True))
        changes = [
            ReplaceOne({"jobName": name}, RawBSONDocument(case.raw, RAW), upsert=True) for name, case in written.items()
        ]
        try:
            self._project.configs.bulk_write(changes, ordered=False)
        except BulkWriteError as error:
            for failure in error.details["writeErrors"]:
                del written[names[failure["index"]]]
                self._found.refused_by_mongodb += 1
        return written

    def _check_the_log(self, said: Sequence[Document], documents: int) -> None:
        if len(said) > 2 * LINES_PER_DOCUMENT * documents + 50:
            self._found.wrong(f"{len(said)} records for {documents} configurations")

    def _check(
        self, name: str, case: ConfigCase, expected: Values, actual: Values, stored: RawBSONDocument | None
    ) -> None:
        judged = self._found.judged
        judged["to come into force"] += bool(case.good)
        judged["to be kept as it was"] += bool(case.bad & self._in_force[name].keys())
        judged["to be shown as wrong"] += bool(case.complains)
        if actual != expected:
            self._found.wrong(f"{name}: in force is {actual}, not {expected}, after {case.raw[:1_500]!r}")
        if stored is None:
            self._found.wrong(f"{name}: the document is gone that was {case.raw[:1_500]!r}")
            return
        kept = elements_of(bytes(stored.raw))
        if _written_by_people(kept) != _written_by_people(elements_of(case.raw)):
            self._found.wrong(f"{name}: a person's words were changed: {case.raw[:1_500]!r}")
        shown = any(key == b"configError" and item[:1] not in NOTHING for key, item in kept)
        if case.complains is not None and shown is not case.complains:
            self._found.wrong(f"{name}: {'shown' if shown else 'not shown'} as wrong: {case.raw[:1_500]!r}")

    def _newest(self, name: str) -> Values:
        return dict(self._project.history(name)[-1]["values"])

    def _all_newest(self) -> dict[str, Values]:
        group: list[Document] = [
            {"$sort": {"jobName": 1, "version": 1}},
            {"$group": {"_id": "$jobName", "values": {"$last": "$values"}}},
        ]
        return {each["_id"]: each["values"] for each in self._project.db.jobConfigHistory.aggregate(group)}

    def _stored(self) -> Any:
        every = {"jobName": {"$in": self._names}}
        return self._project.configs.with_options(RAW).find(every)


def _written_by_people(elements: Sequence[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    return [(key, item) for key, item in elements if key.decode("utf-8", "replace") not in WRITTEN_BY_SERVERS]
