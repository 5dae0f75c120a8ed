"""How one call of `run` ended."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import Any

from jobserver.errors import JobCancelled

MAX_MESSAGE = 4_000
MAX_STACK = 32_000


class OutcomeKind(StrEnum):
    """COMPLETED, FAILED and CANCELLED are the job's own word; INTERRUPTED is ours: it was stopped from outside.

    SKIPPED is ours, too: it was not begun, for its moment has passed.
    """

    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Outcome:
    """`result` is what `run` returned or handed to `done`, None for nothing; `error` is there unless completed.

    `words` and `trace` are message and stack of an error whose own are in another process.
    """

    kind: OutcomeKind
    result: Any = None
    error: BaseException | None = None
    words: str | None = None
    trace: str | None = None

    @property
    def message(self) -> str:
        """One readable line or more for `lastError`: what the author wrote, the type where they wrote nothing."""
        if self.words is not None:
            return storable_text(self.words, MAX_MESSAGE)
        return "" if self.error is None else storable_text(_said(self.error), MAX_MESSAGE)

    @property
    def stack(self) -> str:
        """The traceback from the job's own frames on, "" where the error was never raised."""
        if self.trace is not None:
            return storable_text(self.trace, MAX_STACK)
        if self.error is None or self.error.__traceback__ is None:
            return ""
        return storable_text(_traced(self.error, self.error.__traceback__), MAX_STACK)


EXIT_CANCELLED = 100

NOTHING = Outcome(OutcomeKind.COMPLETED)
SKIPPED = Outcome(OutcomeKind.SKIPPED)


def completed(result: Any) -> Outcome:
    """The job's word that all went well."""
    return NOTHING if result is None else Outcome(OutcomeKind.COMPLETED, result)


def failed(error: BaseException) -> Outcome:
    """The job's word that it did not; `JobCancelled` is no failure, and `sys.exit` says which of the three it is."""
    if isinstance(error, SystemExit):
        return _exited(error)
    kind = OutcomeKind.CANCELLED if isinstance(error, JobCancelled) else OutcomeKind.FAILED
    return Outcome(kind, None, error)


def _exited(error: SystemExit) -> Outcome:
    """0 is completed, 100 cancelled, anything else failed; a text counts as 1, as it does for Python."""
    if error.code in (None, 0):
        return NOTHING
    if error.code == EXIT_CANCELLED:
        words = JobCancelled(f"ended with exit code {EXIT_CANCELLED}").with_traceback(error.__traceback__)
        return Outcome(OutcomeKind.CANCELLED, None, words)
    says = error.code if isinstance(error.code, str) else f"ended with exit code {error.code}"
    return Outcome(OutcomeKind.FAILED, None, error, says)


def interrupted(error: BaseException | None = None) -> Outcome:
    """Stopped from outside before it came to a word of its own."""
    return Outcome(OutcomeKind.INTERRUPTED, None, error)


def unreadable(error: BaseException) -> Outcome:
    """The run has failed, and what it left to be told of that raises this when it is looked at."""
    return Outcome(OutcomeKind.FAILED, words=f"its end cannot be read: {class_name(error)} was raised by what it left")


def let_go(error: BaseException | None) -> None:
    """Drop the frames of an error that is told: one may hold the error itself, and all of that waits for the collector.

    A driver that is cancelled while it awaits MongoDB leaves some 170 objects in such a circle.
    """
    while error is not None and error.__traceback__ is not None:
        error.__traceback__ = None
        error = error.__context__


def class_name(error: BaseException) -> str:
    """What Python itself calls it: a metaclass of the job's own may say anything, or raise."""
    return str(type.__dict__["__name__"].__get__(type(error)))


def storable_text(text: str, limit: int) -> str:
    """Text that BSON takes: lone surrogates escaped, the middle of what is too long left out."""
    text = _storable(text)
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]}\n… {len(text) - 2 * half} characters left out …\n{text[-half:]}"


def _storable(text: str) -> str:
    return str.encode(text, "utf-8", "backslashreplace").decode("utf-8")  # a job's own kind of text may refuse to


def _said(error: BaseException) -> str:
    kind = class_name(error)
    try:
        text = _storable(str(error))
    except BaseException:  # the words are the job's code: SystemExit from there must neither end the server nor the run
        text = ""
    if issubclass(type(error), KeyError):  # its words are the bare key
        text = f"{kind}: {text}"
    if issubclass(type(error), KeyboardInterrupt):
        text = f"{kind}({text})"
    return text or kind


def _traced(error: BaseException, frames: TracebackType) -> str:
    try:
        return "".join(traceback.format_exception(type(error), error, _job_frames(frames)))
    except BaseException:  # notes, attributes and words of the job's own again
        return "".join([*traceback.format_tb(_job_frames(frames)), class_name(error)])


def _job_frames(frames: TracebackType) -> TracebackType:
    """Without our own call of `run`, so that a traceback begins in the job's file."""
    return frames.tb_next or frames
