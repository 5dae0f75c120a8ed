"""How a run in a process has ended, where it has not said so itself."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from datetime import timedelta

from jobserver.errors import JobCancelled, LockLost, RemoteError
from jobserver.execution.handles import Lifeline
from jobserver.execution.outcome import EXIT_CANCELLED, NOTHING, Outcome, failed, interrupted
from jobserver.execution.process.keeper import LEASE_OVER, LOCK_OVER, SERVER_GONE, TOLD, reason_to_end
from jobserver.lengths import describe_length
from jobserver.limits import Limits

_LOST = {LEASE_OVER: "the lease of its server was over", LOCK_OVER: "no sign of life within the lock lifetime"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """What a keeper says: the exit code, minus the signal where one ended it, and why the keeper ended it itself."""

    code: int
    reason: str

    @classmethod
    def parse(cls, said: bytes) -> Ended | None:
        """None for what is no such word."""
        word, _, rest = said.decode(errors="replace").partition(" ")
        code, _, reason = rest.partition(" ")
        try:
            return cls(code=int(code), reason=reason) if word == "ended" else None
        except ValueError:
            return None


def ended_in_time(lease: int, run: Lifeline) -> Ended | None:
    """Of a keeper without a word: the kernel has ended it with its run, where the time of these was over."""
    reason = reason_to_end(lease, run.alive_until)
    return Ended(code=-signal.SIGKILL, reason=reason) if reason else None


KEEPER_LOST = RemoteError("the process that kept it has ended without a word; was it killed?")


def outcome_by(ended: Ended | None, run: Lifeline, limits: Limits, *, told: bool) -> Outcome:
    """The outcome of a run without a word of its own; `told` says that the server has asked its process to end."""
    if ended is None:
        return interrupted() if told else failed(KEEPER_LOST)
    if ended.reason in _LOST:
        return interrupted(LockLost(run.name, run.context.job_id, _LOST[ended.reason]))
    if ended.reason in (TOLD, SERVER_GONE) or (told and ended.code == -signal.SIGTERM):
        return interrupted()
    return _by_exit_code(ended.code, limits)


def _by_exit_code(code: int, limits: Limits) -> Outcome:
    if code == 0:
        return NOTHING
    if code == EXIT_CANCELLED:
        return failed(JobCancelled(f"ended the process with exit code {EXIT_CANCELLED}"))
    if code > 0:
        return failed(RemoteError(f"ended the process with exit code {code}"))
    if isinstance(limits.cpu, timedelta):
        limit = f"limits.cpu is {describe_length(limits.cpu)}"
        if -code == signal.SIGXCPU:
            return failed(RemoteError(f"used up its processor time: {limit}"))
        if -code == signal.SIGKILL:  # the kernel's word to code that ignores the other, but the last word of others too
            return failed(RemoteError(f"was killed by SIGKILL, as is what goes on after its processor time: {limit}"))
    return failed(RemoteError(f"was killed by {_signal_name(-code)}"))


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # of real time
        return f"signal {number}"
