"""The MongoDB runner, held against the suite."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from bson import ObjectId

from jobserver import JobClient
from jobserver.runner import JobRunner
from jobserver.runner.pulse.runner import pulse_runner
from jobserver.runner.pulse.surroundings import Surroundings
from jobserver.scanner.handlers.definitions import define_stored
from jobserver.settings import load_settings
from jobserver.store.clock import ServerClock
from jobserver.store.collections import CollectionNames
from jobserver.store.connection import async_client
from tests.conformance.runner_suite import Bench, RunnerSuite

SETTINGS = {"process_every": 200, "max_concurrency": 100, "lock_limit": 0, "default_lock_limit": 0}


@dataclass
class PulseBench:
    runner: JobRunner
    client: JobClient

    async def enqueue(self, name: str, data: Any) -> None:
        await self.client.enqueue(name, data)

    def request(self) -> ObjectId:
        return ObjectId()


class TestPulseRunner(RunnerSuite):
    @pytest.fixture
    def where(self, mongo_uri: str, database_name: str) -> tuple[str, str]:
        return mongo_uri, database_name

    @asynccontextmanager
    async def bring_up(self, where: tuple[str, str]) -> AsyncIterator[Bench]:
        uri, name = where
        settings = load_settings({"runner": {"config": SETTINGS}}, environ={}).runner.config
        async with async_client(uri) as client:
            around = Surroundings(
                uri=uri,
                database=client[name],
                names=CollectionNames(),
                clock=ServerClock(),
                version="test",
                define_stored=define_stored,
            )
            runner = pulse_runner(settings=settings, around=around)
            try:
                yield PulseBench(runner, JobClient(client[name]))
            finally:
                await runner.lifecycle.close(hurry=True)
