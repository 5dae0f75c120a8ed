"""The zygotes of one server: started for the first run that needs one, kept for the next."""

from __future__ import annotations

import asyncio
import os
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from jobserver.definition import Code
from jobserver.execution.process.wire import Codec
from jobserver.execution.process.zygote_link import Loaded, ZygoteGone, ZygoteLink

MOST_IDLE = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Breed:
    """What a zygote has imported: a file in one version, and the driver. `code` None is one that has no file.

    `version` tells apart what `code` does not: a file whose content is read when it is loaded.
    """

    code: Code | None
    driver: str | None
    version: tuple[int, int] | None = None

    @classmethod
    def of(cls, code: Code, driver: str | None) -> Breed:
        """A script is not imported, it is run."""
        if code.kind == "script":
            return cls(code=None, driver=driver)
        return cls(code=replace(code, name=""), driver=driver, version=_version(code))

    @property
    def bare(self) -> Breed:
        """The same without the file."""
        return Breed(code=None, driver=self.driver)


class Zygotes:
    """By breed, the most recently used last. All of it happens on the event loop."""

    def __init__(self, *, codec: Codec, command: Sequence[str]) -> None:
        self._codec, self._command = codec, command
        self._links: OrderedDict[Breed, ZygoteLink] = OrderedDict()
        self._living: set[ZygoteLink] = set()
        self._threaded: set[Breed] = set()
        self._closed = False

    async def fork(self, breed: Breed, descriptors: Sequence[int], *, alone: bool = False) -> Loaded:
        """Fork a run's keeper, which takes the descriptors; what the process it is a copy of has imported.

        With `alone` the process is a new one, for this run only. Raises RemoteError, and ZygoteGone.
        """
        if alone:
            return await self._fork_alone(breed.bare, descriptors)
        if breed in self._threaded:
            breed = breed.bare
        link = self._link(breed)
        loaded = await link.loaded()
        if loaded.threads:
            # A copy would lack them. Runs of this file import it themselves, after the fork.
            self._threaded.add(breed)
            self._drop(breed, link)
            return await self.fork(breed.bare, descriptors)
        if loaded.failure is not None:
            self._drop(breed, link)
            return loaded
        await link.fork(descriptors)
        return loaded

    async def close(self) -> None:
        """End them all; the runs that they have forked go on."""
        self._closed = True
        self._links.clear()
        living = list(self._living)
        for link in living:
            link.close()
        await asyncio.gather(*(link.over for link in living))

    async def _fork_alone(self, breed: Breed, descriptors: Sequence[int]) -> Loaded:
        link = self._start(breed)
        try:
            loaded = await link.loaded()
            await link.fork(descriptors)
        finally:
            link.retire()
        return loaded

    def _link(self, breed: Breed) -> ZygoteLink:
        link = self._links.get(breed)
        if link is None or link.is_gone:
            link = self._links[breed] = self._start(breed)
            self._retire(breed)
        self._links.move_to_end(breed)
        return link

    def _start(self, breed: Breed) -> ZygoteLink:
        if self._closed:
            raise ZygoteGone("the server shuts down")
        link = ZygoteLink(self._command, code=breed.code, driver=breed.driver, codec=self._codec)
        self._living.add(link)
        link.over.add_done_callback(lambda _: self._living.discard(link))
        return link

    def _retire(self, newest: Breed) -> None:
        """Old versions of the same file, and those that were not used for the longest time."""
        others = [(breed, link) for breed, link in self._links.items() if breed != newest and not link.is_busy]
        surplus = len(self._links) - MOST_IDLE
        for breed, link in others:
            if surplus > 0 or _is_older(breed, newest) or link.is_gone:
                self._drop(breed, link)
                surplus -= 1

    def _drop(self, breed: Breed, link: ZygoteLink) -> None:
        if self._links.get(breed) is link:
            del self._links[breed]
        link.retire()


def _is_older(breed: Breed, newest: Breed) -> bool:
    if breed.code is None or newest.code is None or breed.driver != newest.driver:
        return False
    return (breed.code.path, breed.code.module) == (newest.code.path, newest.code.module)


def _version(code: Code) -> tuple[int, int] | None:
    if code.content is None and code.path:
        with suppress(OSError):
            status = os.stat(code.path)  # noqa: PTH116 - a text, as it stands in the definition
            return status.st_mtime_ns, status.st_size
    return None
