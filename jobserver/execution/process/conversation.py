"""One run in a process, from the server's side: its order, its messages, its end."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import structlog

from jobserver.definition import Code, JobDefinition
from jobserver.errors import DataError, JobCancelled, JobServerError, LockLost, RemoteError
from jobserver.execution.handles import Lifeline, OnMessage, check_progress
from jobserver.execution.outcome import Outcome, OutcomeKind, failed, interrupted
from jobserver.execution.process.endings import Ended, ended_in_time, outcome_by
from jobserver.execution.process.keeper import NO_TIMER
from jobserver.execution.process.lines import Allowance, Lines
from jobserver.execution.process.orders import run_order
from jobserver.execution.process.outlet import Outlet
from jobserver.execution.process.start import Line, started
from jobserver.execution.process.telling import outcome_of
from jobserver.execution.process.wire import BadMessage, Codec, receive, send
from jobserver.execution.process.zygotes import Breed, Zygotes

LONGEST_FROM_RUN = 8 * 1024 * 1024
MOST_AT_ONCE = 100  # messages of one run before the loop turns to others
LAST_OUTPUT = 1.0  # seconds for what is still in the pipes when everything has ended

Sink = Callable[[Lifeline, str, str, Mapping[str, Any], float], None]
"""Takes a record of a run: level, message, fields, and when it was said, in seconds since 1970."""

_log = structlog.get_logger("jobserver")


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What all conversations of a server share. `lease` gives a descriptor of the shared lease of a server id.

    `untimed` hears of each run that only its keeper would end in time, for the kernel gives it no timer.
    """

    zygotes: Zygotes
    codec: Codec
    address: Mapping[str, Any]
    lease: Callable[[str], int | None]
    sink: Sink
    on_message: OnMessage
    untimed: Callable[[], None]
    grace: timedelta


class Conversation:
    """Begin it with `outcome`; the other methods may be called at any time, also before and after."""

    def __init__(self, terms: Terms, definition: JobDefinition, code: Code, run: Lifeline) -> None:
        self._terms, self._definition, self._code, self._run = terms, definition, code, run
        self._loop = asyncio.get_running_loop()
        self._line: Line | None = None
        self._called_off: asyncio.Future[None] = self._loop.create_future()
        self._ended: asyncio.Future[Ended | None] = self._loop.create_future()
        self._outcome: Outcome | None = None
        self._is_told = False
        self._answering: asyncio.Task[None] | None = None
        self._linger: asyncio.TimerHandle | None = None

    async def outcome(self) -> Outcome:
        """Run it; how it ended, once nothing of it is left."""
        try:
            line = await self._begin()
            if line is None:
                return interrupted()
            if line.loaded.failure is not None:
                line.close()
                return _import_failure(*line.loaded.failure)
            return await self._hold(line)
        except JobServerError as error:
            return failed(error)
        except OSError as error:
            return failed(RemoteError(f"no process can be started: {error.strerror}"))

    def tell(self) -> None:
        """A message; a script could not hear it, so it is SIGTERM there."""
        if self._line is None:
            self._call_off()
        elif self._code.kind == "script":
            self.interrupt()
        else:
            self._is_told = True
            self._send({"kind": "cancel"})

    def interrupt(self) -> None:
        """SIGTERM to the run and what it has started in its group."""
        self._is_told = True
        self._say("term")

    def stop(self) -> None:
        """SIGKILL to the run and everything that it has started."""
        self._is_told = True
        self._say("kill")

    async def _begin(self) -> Line | None:
        """None for one that was called off before it began. Raises RemoteError and OSError."""
        starting = self._loop.create_task(self._start(), name=f"starting {self._run.name} {self._run.run_id}")
        either: set[asyncio.Future[Any]] = {starting, self._called_off}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not self._called_off.done():
            return starting.result()
        # Its descriptors are under way: it is ended when it is there, before it has an order.
        starting.add_done_callback(_close)
        return None

    async def _start(self) -> Line | None:
        driver = self._definition.driver if "db" in self._definition.wants else None
        return await started(
            self._terms.zygotes,
            Breed.of(self._code, driver),
            alone=self._definition.start_method == "spawn",
            lease=lambda: self._terms.lease(self._run.context.server),
        )

    async def _hold(self, line: Line) -> Outcome:
        self._line = line
        outlets = [self._outlet(line.out, "stdout"), self._outlet(line.errors, "stderr")]
        self._loop.add_reader(line.life, self._hear_keeper)
        self._loop.add_reader(line.messages, self._hear_run)
        try:
            self._order(line)
            ended = await self._ended
            await self._last_messages(line, outlets)
            return self._settled(ended)
        finally:
            self._end(line, outlets)

    def _order(self, line: Line) -> None:
        """The end of the lock first, for the run begins with its order."""
        self._say(f"until {self._run.alive_until}")
        order = run_order(
            self._definition,
            self._run,
            code=self._code,
            is_loaded=line.loaded.has_code,
            address=self._terms.address,
        )
        self._send(order)

    def _outlet(self, descriptor: int, name: str) -> Outlet:
        allowance = Allowance(monotonic=self._loop.time)

        def emit(line: str) -> None:
            if dropped := allowance.take_dropped():
                self._record("warning", "lines of output dropped", {"count": dropped, "stream": name})
            self._record("info", line, {"stream": name})

        return Outlet(descriptor, Lines(emit, grants=allowance.grants), loop=self._loop)

    def _record(self, level: str, message: str, fields: Mapping[str, Any]) -> None:
        self._terms.sink(self._run, level, message, fields, time.time())

    def _hear_keeper(self) -> None:
        assert self._line is not None
        try:
            said = self._line.life.recv(100)
        except BlockingIOError:
            return
        except OSError:
            said = b""
        if said == NO_TIMER:
            self._terms.untimed()
            return
        self._loop.remove_reader(self._line.life)
        if not self._ended.done():
            self._ended.set_result(Ended.parse(said) or ended_in_time(self._line.lease, self._run))

    def _hear_run(self) -> None:
        """Some of what there is; after a question nothing until it is answered, so that all keeps its order."""
        for _ in range(MOST_AT_ONCE):
            if self._answering is not None or not self._hear_one():
                return

    def _hear_one(self) -> bool:
        """Whether there was a message."""
        assert self._line is not None
        try:
            encoded = receive(self._line.messages, limit=LONGEST_FROM_RUN)
            if encoded is None:
                self._loop.remove_reader(self._line.messages)
                return False
            self._take(self._terms.codec.decode(encoded))
        except BlockingIOError:
            return False
        except (BadMessage, DataError, LookupError, ValueError, TypeError, ArithmeticError, OSError) as error:
            self._refuse(error)
            return False
        return True

    def _refuse(self, error: Exception) -> None:
        """Somebody else has written into the run's descriptor: whatever comes now is no word of the run."""
        if self._line is not None:
            self._loop.remove_reader(self._line.messages)
        self._decide(failed(RemoteError(f"sent what is no message: {error}")))
        self.stop()

    def _take(self, message: Mapping[str, Any]) -> None:
        match message["kind"]:
            case "log":
                fields = dict(message["fields"])
                said = (str(message["level"]), str(message["message"]), fields, float(message["time"]))
                self._terms.sink(self._run, *said)
            case "post":
                self._terms.on_message(self._run, message["message"])
            case "outcome":
                self._decide(outcome_of(message))
            case _:
                if self._line is not None:
                    self._loop.remove_reader(self._line.messages)
                self._answering = self._loop.create_task(self._answer(message), name=f"answering {self._run.name}")

    def _decide(self, outcome: Outcome) -> None:
        """The first word decides. The process may tidy up after it, but not for ever."""
        if self._outcome is None:
            self._outcome = outcome
            self._linger = self._loop.call_later(self._terms.grace.total_seconds(), self._end_lingering)

    def _end_lingering(self) -> None:
        _log.warning("run killed after its end", name=self._run.name, run=self._run.run_id)
        self._say("kill")

    async def _answer(self, question: Mapping[str, Any]) -> None:
        answer: dict[str, Any] = {"kind": "answer", "number": question.get("number")}
        try:
            await self._sign_of_life(question)
        except LockLost as error:
            answer |= {"error": "lock lost", "name": error.name, "job_id": error.job_id, "reason": error.reason}
        except JobCancelled as error:
            answer |= {"error": "cancelled", "reason": str(error)}
        except Exception as error:
            self._refuse(error)
            return
        finally:
            self._answering = None
        self._say(f"until {self._run.alive_until}")
        self._send(answer)
        if self._line is not None and not self._ended.done():
            self._loop.add_reader(self._line.messages, self._hear_run)

    async def _sign_of_life(self, question: Mapping[str, Any]) -> None:
        if question["kind"] == "touch":
            await self._run.touch()
        elif question["kind"] == "progress":
            total, current, message = question["total"], question["current"], question["message"]
            check_progress(total, current, message)
            await self._run.report(total, current, message)
        else:
            raise BadMessage(len(question))

    async def _last_messages(self, line: Line, outlets: list[Outlet]) -> None:
        """Everything has ended, so what it wrote is there to be read; but somebody else may hold a pipe."""
        if self._answering is not None:
            await self._answering
        self._loop.remove_reader(line.messages)
        while self._hear_one():
            if self._answering is not None:
                await self._answering
                self._loop.remove_reader(line.messages)
        await asyncio.wait([outlet.ended for outlet in outlets], timeout=LAST_OUTPUT)

    def _settled(self, ended: Ended | None) -> Outcome:
        if self._outcome is not None:
            return self._outcome
        return outcome_by(ended, self._run, self._definition.limits, told=self._is_told)

    def _end(self, line: Line, outlets: list[Outlet]) -> None:
        """Also when the call is cut off: the keeper ends the run as soon as its line is closed."""
        self._line = None
        if self._linger is not None:
            self._linger.cancel()
        if self._answering is not None:
            self._answering.cancel()
        for end in (line.life, line.messages):
            self._loop.remove_reader(end)
            end.close()
        os.close(line.lease)
        for outlet in outlets:
            outlet.close()

    def _call_off(self) -> None:
        if not self._called_off.done():
            self._called_off.set_result(None)

    def _say(self, word: str) -> None:
        """To the keeper; before there is one the run is called off."""
        if self._line is None:
            if word in ("term", "kill"):
                self._call_off()
            return
        with suppress(OSError):
            self._line.life.send(word.encode())

    def _send(self, message: Mapping[str, Any]) -> None:
        """To the run; one that is gone hears nothing."""
        if self._line is not None:
            with suppress(OSError):
                send(self._line.messages, self._terms.codec.encode(message))


def _import_failure(message: str, trace: str) -> Outcome:
    return Outcome(OutcomeKind.FAILED, None, RemoteError(message), message, trace)


def _close(starting: asyncio.Task[Line | None]) -> None:
    if not starting.cancelled() and starting.exception() is None and (line := starting.result()) is not None:
        line.close()
