"""One parent, N server processes: keeps them running, hands their runs on when one dies, ends them together.

    run           N slots; each keeps one worker alive and waits for its end, which the kernel tells at once
    first signal  SIGTERM to every worker: each gives its runs the grace period
    second        SIGTERM again: the workers hurry
    SIGQUIT       SIGQUIT to every worker: they hurry at once, and show where each of their threads stands
    third, or five seconds past the grace period or the hurry: SIGKILL to each worker's process group

What a dead worker held is handed on at once. Its last claim may come through after that, so locks are looked for once
more: a moment later, or, after a SIGKILL of the supervisor's own, when MongoDB can have no claim in hand any more. Only
that ends its lease.

A worker that has done enough drains and ends as RECYCLED: the next one starts at once.

The header is the supervisor's: it is shown when the first worker is ready, and until then no worker says what can wait.

Each worker leads a process group of its own, so Ctrl-C on the terminal reaches the supervisor alone. Each holds the
reading end of a pipe whose writing end only the supervisor has: its end of file says that the supervisor is gone, even
by SIGKILL, and the worker then drains by itself.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

import structlog

from jobserver.errors import DatabaseError
from jobserver.signals import HURRIED, NOT_GIVEN_BACK, SIGNALS
from jobserver.store.claims import LONGEST_CLAIM
from jobserver.worker import HEADER, PIPE, RECYCLED, SUPERVISOR, WORKER

QUICK_DEATH = timedelta(seconds=10)
FIRST_PAUSE = timedelta(seconds=1)
LONGEST_PAUSE = timedelta(seconds=30)
MOST_QUICK_DEATHS = 5
# After the grace period a worker still tells its runs to stop, stores results and gives locks back: ENDS_WITHIN.
BEYOND_GRACE = timedelta(seconds=5)
# By then the dead worker's lease is over, and any server that lives has taken its locks back.
LONGEST_HANDING_ON = timedelta(seconds=40)
# So long after a worker died its locks are looked for once more: what it was claiming has usually come through by then.
SIGNED_OFF_AFTER = timedelta(seconds=1)
# So long after it was killed MongoDB can have no claim of its in hand any more.
NO_CLAIM_AFTER = timedelta(seconds=LONGEST_CLAIM + 0.2)
REFUSED = (1, 2)  # exit codes of a worker that could not start: settings, usage
INTERNAL_FAULT = 70

_log = structlog.get_logger("jobserver")


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenBack:
    """A run that a dead worker held; `given_up` where this crash was one too many."""

    name: str
    job_id: str
    crashes: int
    given_up: bool


@dataclass(slots=True, kw_only=True)
class Slot:
    """The place of one worker, and how its workers have fared."""

    number: int
    process: asyncio.subprocess.Process | None = None
    began: float = 0.0
    ended: float = 0.0
    quick_deaths: int = 0
    has_lived: bool = False


class Supervisor:
    """Runs `command` `workers` times until it is told to stop.

    `hand_on(pid, reason)` takes back what a dead worker held; it blocks, and may raise DatabaseError. A reason of None:
    the supervisor has killed it, which is no crash of its runs. `sign_off(pids)` gives back what was claimed for
    dead workers since, and says how much. `id` is what workers register under, so that it finds them. `show_header` is
    called once, on a thread, when a worker is ready.
    """

    def __init__(
        self,
        *,
        id: str,
        workers: int,
        command: Sequence[str],
        environ: Mapping[str, str],
        grace: timedelta,
        hand_on: Callable[[int, str | None], Sequence[TakenBack]],
        sign_off: Callable[[Sequence[int]], int] = lambda _pids: 0,
        show_header: Callable[[], None] = lambda: None,
        first_pause: timedelta = FIRST_PAUSE,
        signed_off_after: timedelta = SIGNED_OFF_AFTER,
        beyond_grace: timedelta = BEYOND_GRACE,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._id, self._command, self._environ = id, tuple(command), dict(environ)
        self._grace, self._beyond_grace = grace, beyond_grace
        self._hand_on, self._sign_off, self._show_header = hand_on, sign_off, show_header
        self._first_pause, self._signed_off_after, self._monotonic = first_pause, signed_off_after, monotonic
        self._tasks = asyncio.TaskGroup()
        self._slots = [Slot(number=number) for number in range(1, workers + 1)]
        self._stop = asyncio.Event()
        self._overdue: asyncio.TimerHandle | None = None
        self._ends_by = float("inf")
        self._killed: dict[int, float] = {}
        self._to_sign_off: list[int] = []
        self._signals = 0
        self._exit_code = 0

    async def run(self) -> int:
        """Until every worker has ended; the worst of their exit codes."""
        loop = asyncio.get_running_loop()
        reading_end, writing_end = os.pipe()
        ours, theirs = socket.socketpair()
        ends = (reading_end, theirs.fileno())
        for number in SIGNALS:
            loop.add_signal_handler(number, self._on_signal, number)
        header = asyncio.create_task(self._bring_header(ours), name="header")
        try:
            async with self._tasks:
                for slot in self._slots:
                    self._tasks.create_task(self._keep(slot, ends), name=f"worker {slot.number}")
            await self._sign_off_killed()
        finally:
            if self._overdue is not None:
                self._overdue.cancel()
            header.cancel()
            self._kill_all()
            for number in SIGNALS:
                loop.remove_signal_handler(number)
            os.close(reading_end)
            os.close(writing_end)
            theirs.close()
        _log.info("server stopped", exit_code=self._exit_code)
        return self._exit_code

    async def _bring_header(self, ours: socket.socket) -> None:
        """The first worker that is ready knows the jobs: the header can list them, and then all of them may speak."""
        with ours:
            ours.setblocking(False)
            await asyncio.get_running_loop().sock_recv(ours, 1)
            try:
                await asyncio.to_thread(self._show_header)
            except Exception as error:  # no reason to keep the workers silent
                _log.warning("header not shown", error=str(error))

    async def _keep(self, slot: Slot, ends: tuple[int, int]) -> None:
        """Start a worker, wait for its end, start the next one."""
        while not self._stop.is_set():
            slot.began = self._monotonic()
            code = await self._run_one(slot, ends)
            if self._stop.is_set():
                self._count(code)
                return
            if code == RECYCLED:
                slot.quick_deaths, slot.has_lived = 0, True
                _log.info("worker recycled", worker=slot.number)
            else:
                await self._pause(slot, code)

    async def _run_one(self, slot: Slot, ends: tuple[int, int]) -> int:
        try:
            process = await self._spawn(slot, ends)
        except OSError as error:  # too many processes, no memory: that may pass
            _log.error("worker not started", worker=slot.number, error=str(error))
            slot.ended = self._monotonic()
            return INTERNAL_FAULT
        code = await process.wait()
        slot.process, slot.ended = None, self._monotonic()
        _signal_group(process.pid, signal.SIGKILL)  # whatever it started and left behind
        if self._stop.is_set() and code in (0, NOT_GIVEN_BACK):  # nothing is left, or MongoDB was away a moment ago
            return code
        # Whatever the exit code: code of a job may have ended it with any.
        if not await self._give_back(slot, process.pid, code):
            return code
        if process.pid in self._killed:
            self._to_sign_off.append(process.pid)
        else:
            self._tasks.create_task(self._sign_off_soon(process.pid), name="signing off")
        return code

    async def _spawn(self, slot: Slot, ends: tuple[int, int]) -> asyncio.subprocess.Process:
        pipe, header = map(str, ends)
        own = {SUPERVISOR: self._id, WORKER: str(slot.number), PIPE: pipe, HEADER: header}
        process = await asyncio.create_subprocess_exec(
            *self._command, stdin=asyncio.subprocess.DEVNULL, pass_fds=ends, process_group=0, env=self._environ | own
        )
        slot.process = process
        _log.debug("worker started", worker=slot.number, pid=process.pid)
        if self._stop.is_set():  # the signal came while it was being started
            send(process, signal.SIGTERM)
        return process

    async def _give_back(self, slot: Slot, pid: int, code: int) -> bool:
        """Its runs start elsewhere now, not when its lease has run out; whether MongoDB was there."""
        reason = None if pid in self._killed else f"worker {slot.number} (process {pid}) ended: {how_it_ended(code)}"
        give_up_at = self._monotonic() + LONGEST_HANDING_ON.total_seconds()
        while True:
            try:
                _report(slot, pid, await asyncio.to_thread(self._hand_on, pid, reason))
                return True
            except DatabaseError as error:
                _log.warning("mongodb away", chore="taking back the locks of a dead worker", error=str(error))
            if self._stop.is_set() or self._monotonic() > give_up_at:
                return False
            await self._stopped_within(timedelta(seconds=1))

    async def _sign_off_soon(self, pid: int) -> None:
        """Its last claim may come through after the first look."""
        await self._stopped_within(self._signed_off_after)
        await self._signed_off([pid])

    async def _sign_off_killed(self) -> None:
        """The same for those that were killed when all has ended: nobody may be there to look for it later."""
        if self._to_sign_off:
            over_at = max(self._killed.values()) + NO_CLAIM_AFTER.total_seconds()
            left = max(0.0, min(over_at, self._ends_by) - self._monotonic())
            _log.info("waiting for claims", at_most_seconds=round(left, 1))
            await asyncio.sleep(left)
            await self._signed_off(self._to_sign_off)

    async def _signed_off(self, pids: Sequence[int]) -> None:
        try:
            count = await asyncio.to_thread(self._sign_off, pids)
        except Exception as error:  # their leases will end; no reason to end the other workers
            _log.warning("workers not signed off", pids=pids, error=str(error))
        else:
            if count:
                _log.warning("late claims given back", pids=pids, count=count)

    async def _pause(self, slot: Slot, code: int) -> None:
        """A worker that died soon is followed at once, then after 1, 2, 4 … 30 s; hopeless ones end everything."""
        quick = not self._has_lived(slot)
        slot.quick_deaths = slot.quick_deaths + 1 if quick else 0
        slot.has_lived = slot.has_lived or not quick
        if self._is_hopeless(code):
            self._exit_code = code if code in REFUSED else INTERNAL_FAULT
            _log.error("workers cannot start", how=how_it_ended(code), exit_code=self._exit_code)
            self._begin_stop()
            return
        pause = timedelta()
        if slot.quick_deaths > 1:
            pause = min(LONGEST_PAUSE, self._first_pause * 2 ** (slot.quick_deaths - 2))
        _log.warning(
            "worker ended",
            worker=slot.number,
            how=how_it_ended(code),
            restart_in_ms=pause // timedelta(milliseconds=1),
        )
        await self._stopped_within(pause)

    def _is_hopeless(self, code: int) -> bool:
        """Refused before any worker has lived, or every worker dies again and again."""
        lived = any(slot.has_lived or (slot.process and self._has_lived(slot)) for slot in self._slots)
        if code in REFUSED and not lived:
            return True
        return all(slot.quick_deaths >= MOST_QUICK_DEATHS for slot in self._slots)

    def _has_lived(self, slot: Slot) -> bool:
        until = slot.ended if slot.process is None else self._monotonic()
        return timedelta(seconds=until - slot.began) >= QUICK_DEATH

    def _on_signal(self, number: signal.Signals) -> None:
        self._signals += 1
        if self._signals >= 3:
            self._kill_all()
        elif number is signal.SIGQUIT:
            self._begin_stop(signal.SIGQUIT)
        else:
            self._begin_stop()

    def _begin_stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        hurried = self._stop.is_set() or number is signal.SIGQUIT
        if not self._stop.is_set():
            _log.info("server stopping")
        self._stop.set()
        self._kill_after(self._beyond_grace if hurried else self._grace + self._beyond_grace)
        for slot in self._slots:
            if slot.process is not None:
                send(slot.process, number)

    def _kill_after(self, length: timedelta) -> None:
        if self._overdue is not None:
            self._overdue.cancel()
        self._overdue = asyncio.get_running_loop().call_later(length.total_seconds(), self._kill_overdue)
        self._ends_by = self._monotonic() + length.total_seconds()

    def _kill_overdue(self) -> None:
        _log.error("workers killed", reason="they did not end in time")
        self._kill_all()

    def _kill_all(self) -> None:
        for slot in self._slots:
            if slot.process is not None:
                self._killed.setdefault(slot.process.pid, self._monotonic())
                _signal_group(slot.process.pid, signal.SIGKILL)

    def _count(self, code: int) -> None:
        """SIGTERM kills a worker only while it has not begun: that is an end in order, as is one after a drain."""
        if code not in (-signal.SIGTERM, RECYCLED):
            self._exit_code = max(self._exit_code, code if code >= 0 else 128 - code, key=_how_bad)

    async def _stopped_within(self, length: timedelta) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(length.total_seconds()):
                await self._stop.wait()


def _how_bad(code: int) -> tuple[bool, int]:
    """A worker that hurried has given everything back; what any other code says is worse."""
    return code not in (0, HURRIED), code


def how_it_ended(code: int) -> str:
    """`exit code 3`, or the name of the signal."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def _report(slot: Slot, pid: int, taken_back: Sequence[TakenBack]) -> None:
    """Name what may start again elsewhere, and what has crashed too often to."""
    if again := [run.name for run in taken_back if not run.given_up]:
        jobs = sorted(set(again))
        _log.warning("runs given back", worker=slot.number, pid=pid, runs=len(again), jobs=jobs)
    for run in taken_back:
        if run.given_up:
            _log.error("job given up", worker=slot.number, name=run.name, job_id=run.job_id, crashes=run.crashes)


def send(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    """Signal a worker, unless it has ended.

    Not by `send_signal`, which looks first whether the process has ended: where it has just done so, that takes the
    exit code away from the event loop's own watcher, which then makes up a 255.
    """
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.kill(process.pid, number)


def _signal_group(leader: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, number)
