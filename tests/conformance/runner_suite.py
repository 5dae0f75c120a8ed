"""What every runner must do: the docstrings of `jobserver.runner.interfaces`, as tests.

A runner passes when a class of twenty lines derives from `RunnerSuite` and says how to bring one up.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol
from uuid import uuid4

from jobserver.definition import JobDefaults, JobDefinition, JobSettings
from jobserver.job import Job
from jobserver.retry import Retry
from jobserver.runner import JobRunner
from jobserver.schedule import Schedule

DEADLINE = 30.0
NAME = "api:conformance"


class Bench(Protocol):
    """A runner that was not started yet, and somebody who asks it for work."""

    runner: JobRunner

    async def enqueue(self, name: str, data: Any) -> None:
        """Ask for one run."""
        ...

    def request(self) -> Any:
        """An id for `run_job_now`, as this runner wants it."""
        ...


class Work:
    """A job whose runs are counted, and may be held."""

    def __init__(self) -> None:
        self.begun: Counter[Any] = Counter()
        self.ended: Counter[Any] = Counter()
        self.gate = asyncio.Event()
        self.gate.set()
        work = self

        class Conformance(Job):
            schedule = "manual"

            async def run(self, data: Any) -> None:
                which = data.get("which")
                work.begun[which] += 1
                await work.gate.wait()
                work.ended[which] += 1

        self.definition = definition_of(Conformance)


class RunnerSuite:
    """Derive, and say in `bring_up` how a runner of yours comes to be; `where` is the same place for all of a test."""

    @asynccontextmanager
    async def bring_up(self, where: Any) -> AsyncIterator[Bench]:
        raise NotImplementedError
        yield

    @asynccontextmanager
    async def running(self, where: Any, work: Work, settings: JobSettings) -> AsyncIterator[Bench]:
        async with self.bring_up(where) as bench:
            await bench.runner.lifecycle.start()
            await bench.runner.executor.create_job(work.definition, settings)
            try:
                yield bench
            finally:
                await bench.runner.lifecycle.close(hurry=True)

    async def test_what_is_asked_for_runs_once(self, where: Any) -> None:
        work = Work()
        async with self.running(where, work, settings()) as bench:
            for which in range(20):
                await bench.enqueue(NAME, {"which": which})
            await until(lambda: len(work.ended) == 20)
        assert set(work.begun.values()) == {1}

    async def test_a_job_that_is_not_taken_on_waits_until_it_is(self, where: Any) -> None:
        work, other = Work(), Work()
        async with self.running(where, work, settings()) as bench:
            await bench.enqueue("api:later", {"which": "later"})
            await bench.enqueue(NAME, {"which": "known"})
            await until(lambda: work.ended["known"])
            assert not other.begun
            await bench.runner.executor.create_job(replace(other.definition, name="api:later"), settings())
            await until(lambda: other.ended["later"])

    async def test_taking_a_job_on_twice_changes_nothing(self, where: Any) -> None:
        work = Work()
        async with self.running(where, work, settings()) as bench:
            await bench.runner.executor.create_job(work.definition, settings())
            await bench.enqueue(NAME, {"which": 1})
            await until(lambda: work.ended[1])
        assert work.begun == Counter({1: 1})

    async def test_a_new_version_runs_what_starts_from_now_on_and_the_old_one_ends_its_own(self, where: Any) -> None:
        old, new = Work(), Work()
        async with self.running(where, old, settings()) as bench:
            old.gate.clear()
            await bench.enqueue(NAME, {"which": "old"})
            await until(lambda: old.begun["old"])
            await bench.runner.executor.create_job(new.definition, settings())
            await bench.enqueue(NAME, {"which": "new"})
            await until(lambda: new.ended["new"])
            old.gate.set()
            await until(lambda: old.ended["old"])
        assert "new" not in old.begun

    async def test_no_concurrency_is_a_pause(self, where: Any) -> None:
        work, other = Work(), Work()
        async with self.running(where, work, settings(concurrency=0)) as bench:
            await bench.runner.executor.create_job(replace(other.definition, name="api:other"), settings())
            await bench.enqueue(NAME, {"which": "paused"})
            await bench.enqueue("api:other", {"which": "other"})
            await until(lambda: other.ended["other"])
            assert not work.begun
            await bench.runner.executor.configure_job(NAME, settings(concurrency=1))
            await until(lambda: work.ended["paused"])

    async def test_a_limit_of_one_runs_one_at_a_time(self, where: Any) -> None:
        work = Work()
        async with self.running(where, work, settings(concurrency=1)) as bench:
            work.gate.clear()
            await bench.enqueue(NAME, {"which": 1})
            await until(lambda: work.begun)
            await bench.enqueue(NAME, {"which": 2})
            probe = Work()
            await bench.runner.executor.create_job(replace(probe.definition, name="api:probe"), settings())
            await bench.enqueue("api:probe", {"which": "probe"})
            await until(lambda: probe.ended["probe"])
            assert sum(work.begun.values()) == 1
            work.gate.set()
            await until(lambda: len(work.ended) == 2)

    async def test_a_removed_job_starts_no_more(self, where: Any) -> None:
        work, other = Work(), Work()
        async with self.running(where, work, settings()) as bench:
            await bench.runner.executor.create_job(replace(other.definition, name="api:other"), settings())
            await bench.runner.executor.remove_job(NAME)
            await bench.runner.executor.remove_job(NAME)
            await bench.enqueue(NAME, {"which": "removed"})
            await bench.enqueue("api:other", {"which": "other"})
            await until(lambda: other.ended["other"])
            assert not work.begun

    async def test_an_interval_comes_again_and_again(self, where: Any) -> None:
        work, every = Work(), settings(schedule=Schedule.parse(timedelta(seconds=1)))
        async with self.running(where, work, every) as bench:
            await bench.runner.scheduler.schedule(NAME, every)
            await until(lambda: work.ended[None] >= 2)

    async def test_a_schedule_that_is_in_force_already_is_left_alone(self, where: Any) -> None:
        work, once = Work(), settings(schedule=Schedule.parse("now"))
        async with self.running(where, work, once) as bench:
            await bench.runner.scheduler.schedule(NAME, once)
            await until(lambda: work.ended[None])
            await bench.runner.scheduler.schedule(NAME, once)
            await bench.enqueue(NAME, {"which": "after"})
            await until(lambda: work.ended["after"])
        assert work.begun[None] == 1

    async def test_a_schedule_that_is_off_does_not_fire_until_it_is_on(self, where: Any) -> None:
        soon = datetime.now(UTC) - timedelta(seconds=1)
        work, off = Work(), settings(schedule=Schedule.parse(soon), enabled=False)
        async with self.running(where, work, off) as bench:
            await bench.runner.scheduler.schedule(NAME, off)
            await bench.enqueue(NAME, {"which": "asked for"})
            await until(lambda: work.ended["asked for"])
            assert work.begun[None] == 0
            await bench.runner.scheduler.schedule(NAME, replace(off, enabled=True))
            await until(lambda: work.ended[None])

    async def test_one_request_is_one_run_also_of_a_disabled_job(self, where: Any) -> None:
        work, off = Work(), settings(enabled=False)
        async with self.running(where, work, off) as bench:
            await bench.runner.scheduler.schedule(NAME, off)
            request = bench.request()
            for _ in range(3):
                await bench.runner.scheduler.run_job_now(NAME, off, request=request)
            await until(lambda: work.ended[None])
            await bench.enqueue(NAME, {"which": "after"})
            await until(lambda: work.ended["after"])
        assert work.begun[None] == 1

    async def test_what_is_asked_for_now_brings_its_data(self, where: Any) -> None:
        work = Work()
        async with self.running(where, work, settings()) as bench:
            await bench.runner.scheduler.run_job_now(NAME, settings(), data={"which": "asked"})
            await until(lambda: work.ended["asked"])

    async def test_jobs_in_turn_run_one_at_a_time_in_the_order_of_asking_across_names(self, where: Any) -> None:
        one, other = Work(), Work()
        works = {NAME: one, "api:other": other}
        async with self.bring_up(where) as bench:
            await bench.runner.lifecycle.start()
            for name, work in works.items():
                work.gate.clear()
                definition = replace(work.definition, name=name, in_turn=True)
                await bench.runner.executor.create_job(definition, settings(concurrency=5))
            for which, name in enumerate(order := [NAME, "api:other", NAME, NAME]):
                await bench.runner.scheduler.run_job_now(name, settings(), data={"which": which})
            for which, name in enumerate(order):
                await until(lambda work=works[name], which=which: work.begun[which])
                assert (one.begun + other.begun).total() == which + 1
                works[name].gate.set()
                await until(lambda work=works[name], which=which: work.ended[which])
                works[name].gate.clear()
            await bench.runner.lifecycle.close(hurry=True)

    async def test_what_is_withdrawn_does_not_run_and_the_run_under_way_ends(self, where: Any) -> None:
        work, probe = Work(), Work()
        async with self.running(where, work, settings(concurrency=1)) as bench:
            work.gate.clear()
            await bench.enqueue(NAME, {"which": "running"})
            await until(lambda: work.begun["running"])
            await bench.enqueue(NAME, {"which": "waiting"})
            await bench.runner.scheduler.withdraw(NAME, reason="a test")
            work.gate.set()
            await until(lambda: work.ended["running"])
            await bench.runner.executor.create_job(replace(probe.definition, name="api:probe"), settings())
            await bench.enqueue("api:probe", {"which": "probe"})
            await until(lambda: probe.ended["probe"])
        assert not work.begun["waiting"]

    async def test_starting_and_closing_twice_is_harmless(self, where: Any) -> None:
        work = Work()
        async with self.running(where, work, settings()) as bench:
            await bench.runner.lifecycle.start()
            await bench.enqueue(NAME, {"which": 1})
            await until(lambda: work.ended[1])
            await bench.runner.lifecycle.close()
            await bench.runner.lifecycle.close()
        assert work.begun == Counter({1: 1})

    async def test_closing_what_was_never_started_is_harmless(self, where: Any) -> None:
        async with self.bring_up(where) as bench:
            await bench.runner.lifecycle.close()

    async def test_closing_waits_for_what_runs(self, where: Any) -> None:
        work = Work()
        async with self.running(where, work, settings()) as bench:
            work.gate.clear()
            await bench.enqueue(NAME, {"which": 1})
            await until(lambda: work.begun[1])
            closing = asyncio.create_task(bench.runner.lifecycle.close())
            await asyncio.sleep(0)
            work.gate.set()
            await closing
        assert work.ended[1] == 1

    async def test_a_drain_takes_nothing_more_and_lets_what_runs_end(self, where: Any) -> None:
        work, other = Work(), Work()
        async with self.running(where, work, settings()) as bench:
            work.gate.clear()
            await bench.enqueue(NAME, {"which": 1})
            await until(lambda: work.begun[1])
            draining = asyncio.create_task(bench.runner.lifecycle.drain())
            await asyncio.sleep(0)
            await bench.enqueue(NAME, {"which": 2})  # may still be taken by a claim that is under way
            async with self.running(where, other, settings()):
                await until(lambda: work.begun[2] or other.ended[2])
                await bench.enqueue(NAME, {"which": 3})
                await until(lambda: other.ended[3])
            assert not draining.done()
            work.gate.set()
            await draining
            await bench.runner.lifecycle.drain()
        assert work.begun == work.ended
        assert work.begun + other.ended == Counter({1: 1, 2: 1, 3: 1})

    async def test_a_drain_of_what_was_never_started_or_is_closed_is_harmless(self, where: Any) -> None:
        async with self.bring_up(where) as bench:
            await bench.runner.lifecycle.drain()
            await bench.runner.lifecycle.start()
            await bench.runner.lifecycle.close()
            await bench.runner.lifecycle.drain()

    async def test_what_a_hurried_close_breaks_off_runs_again_elsewhere(self, where: Any) -> None:
        first, second = Work(), Work()
        async with self.running(where, first, settings()) as bench:
            first.gate.clear()
            await bench.enqueue(NAME, {"which": 1})
            await until(lambda: first.begun[1])
            closing = asyncio.create_task(bench.runner.lifecycle.close())
            await asyncio.sleep(0)
            await bench.runner.lifecycle.close(hurry=True)
            await closing
        assert first.ended[1] == 0
        async with self.running(where, second, settings()):
            await until(lambda: second.ended[1])


def settings(**changes: Any) -> JobSettings:
    """Settings in force for the job of these tests."""
    usual = JobSettings(
        schedule=Schedule.parse("manual"),
        enabled=True,
        retry=Retry.OFF,
        priority=0,
        concurrency=50,
        global_concurrency=None,
        lock_lifetime=timedelta(minutes=5),
    )
    return replace(usual, **changes)


def definition_of(job_class: type[Job]) -> JobDefinition:
    """What a scan would make of this class; each has a checksum of its own."""
    return JobDefinition(
        name=NAME,
        path=__file__,
        checksum=uuid4().hex,
        job_class=job_class,
        is_async=True,
        wants=("data",),
        defaults=JobDefaults(schedule=Schedule.parse("manual")),
    )


async def until(condition: Callable[[], Any]) -> None:
    """Wait for it, with a deadline."""
    async with asyncio.timeout(DEADLINE):
        while not condition():
            await asyncio.sleep(0.005)
