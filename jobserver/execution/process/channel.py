"""The run's end of `messages`: what it tells the server, what it asks, and what it is told meanwhile."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from itertools import count as numbers
from itertools import islice
from typing import Any

from jobserver.errors import JobCancelled, JobServerError, LockLost
from jobserver.execution.outcome import storable_text
from jobserver.execution.process.lines import LONGEST_LINE, Allowance
from jobserver.execution.process.wire import LONGEST_DATAGRAM, Codec, receive, send

LONGEST_POST = 256 * 1024
LONGEST_FIELDS = LONGEST_DATAGRAM // 2
LONGEST_RECORD = 1024 * 1024  # bytes, far below what the server takes for a message
LONGEST_KEY = 200
_now = time.time  # not a clock that the job has put in its place


class ServerGone(JobServerError):
    """The server does not answer any more; whoever keeps this run is about to end it."""

    def __init__(self) -> None:
        super().__init__("the server is gone")


class Channel:
    """Any thread may speak, and a copy of this process that the job makes with `fork` may at least log."""

    def __init__(self, server: socket.socket, codec: Codec) -> None:
        self._server, self._codec = server, codec
        self._owner = os.getpid()
        self._numbers = numbers()
        self._asked: dict[int, Future[None]] = {}
        self._allowance = Allowance(monotonic=time.monotonic)
        self._gone = False

    @property
    def is_ours(self) -> bool:
        """Whether this process is the run itself and not a copy that it has made."""
        return os.getpid() == self._owner

    def listen(self, told: Callable[[], None]) -> None:
        """From now on: answers reach who asked, and `told` is called, on another thread, when the run is to end."""
        threading.Thread(target=self._listen, args=(told,), name="jobserver", daemon=True).start()

    def log(self, level: str, message: str, fields: Mapping[str, Any]) -> None:
        """A record for the run's log; a flood of them loses some, and says how many."""
        if not self._allowance.grants(len(message)):
            return
        dropped = self._allowance.take_dropped()
        if dropped:
            self._log("warning", "log records dropped", {"count": dropped})
        self._log(level, message, fields)

    def post(self, message: Any) -> None:
        """For whoever listens on the server. Raises DataError."""
        self._codec.check(message, what="message", limit=LONGEST_POST)
        self._send({"kind": "post", "message": message})

    def ask(self, question: Mapping[str, Any]) -> Future[None]:
        """Done when the server has answered; it raises LockLost, JobCancelled or ServerGone."""
        number, answer = next(self._numbers), Future[None]()
        self._asked[number] = answer
        if not self.is_ours or self._gone or not self._send({**question, "number": number}):
            self._asked.pop(number, None)
            answer.set_exception(ServerGone())
        return answer

    def end(self, outcome: Mapping[str, Any]) -> None:
        """The last word; a copy of the run has none. Raises DataError for a result that cannot be stored."""
        if self.is_ours:
            self._send({"kind": "outcome", **outcome})

    def _log(self, level: str, message: str, fields: Mapping[str, Any]) -> None:
        record = {"kind": "log", "level": level, "message": storable_text(message, LONGEST_LINE // 4), "time": _now()}
        shown = {_storable_key(key): self._storable(value) for key, value in fields.items()}
        count = len(shown)
        while len(encoded := self._codec.encode({**record, "fields": _first(count, shown)})) > LONGEST_RECORD:
            count //= 2
        self._send_encoded(encoded)

    def _storable(self, value: Any) -> Any:
        """Itself where it can be sent, else how it shows itself: a record is not lost for a strange field."""
        try:
            if not isinstance(value, str):
                self._codec.check(value, what="field", limit=LONGEST_FIELDS)
                return value
        except Exception:
            try:
                value = repr(value)
            except Exception:
                value = f"a value of type {type(value).__name__}"
        return storable_text(value, LONGEST_FIELDS)

    def _send(self, message: Mapping[str, Any]) -> bool:
        """Whether it went out."""
        return self._send_encoded(self._codec.encode(message))

    def _send_encoded(self, encoded: bytes) -> bool:
        with suppress(OSError):
            send(self._server, encoded)
            return True
        return False

    def _listen(self, told: Callable[[], None]) -> None:
        while (encoded := _received(self._server)) is not None:
            message = self._codec.decode(encoded)
            if message["kind"] == "cancel":
                told()
            else:
                self._answer(message)
        self._gone = True
        for number in list(self._asked):
            self._answer({"number": number, "error": "gone"})

    def _answer(self, message: Mapping[str, Any]) -> None:
        answer = self._asked.pop(message["number"], None)
        if answer is None:
            return
        error = _error(message)
        answer.set_result(None) if error is None else answer.set_exception(error)


def _storable_key(key: Any) -> str:
    return storable_text(str(key).replace("\0", "\\0"), LONGEST_KEY)


def _first(count: int, fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """So many of them, and how many more there were."""
    if count == len(fields):
        return fields
    return {**dict(islice(fields.items(), count)), "…": f"{len(fields) - count} more left out"}


def _received(server: socket.socket) -> bytes | None:
    try:
        return receive(server)
    except OSError:
        return None


def _error(answer: Mapping[str, Any]) -> Exception | None:
    match answer.get("error"):
        case None:
            return None
        case "lock lost":
            return LockLost(answer["name"], answer["job_id"], answer["reason"])
        case "cancelled":
            return JobCancelled(answer["reason"])
        case _:
            return ServerGone()
