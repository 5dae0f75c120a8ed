"""An outcome as a message, and back: of an error its family, its words and its stack, never the object."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jobserver.errors import DataError, FatalError, JobCancelled, JobServerError, RemoteError, RetryableError
from jobserver.execution.outcome import EXIT_CANCELLED, Outcome, OutcomeKind, class_name, failed
from jobserver.execution.process.wire import Codec

LARGEST_RESULT = 1024 * 1024  # bytes, as in every kind of execution

_FAMILIES: dict[str, type[JobServerError]] = {
    each.__name__: each for each in (JobCancelled, RetryableError, FatalError, DataError)
}


def outcome_message(outcome: Outcome, codec: Codec) -> tuple[dict[str, Any], int]:
    """What to send, and the exit code that says the same. A result that cannot be stored is a failure."""
    try:
        codec.check(outcome.result, what="result", limit=LARGEST_RESULT)
    except DataError as error:
        outcome = failed(error)
    message = {
        "outcome": str(outcome.kind),
        "result": outcome.result,
        "words": outcome.message,
        "trace": outcome.stack,
        "error": None if outcome.error is None else class_name(outcome.error),
        "family": next((name for name, family in _FAMILIES.items() if isinstance(outcome.error, family)), ""),
    }
    return message, _exit_code(outcome)


def outcome_of(message: Mapping[str, Any]) -> Outcome:
    """The outcome that a run has told. Raises ValueError or KeyError for what is none."""
    kind = OutcomeKind(message["outcome"])
    if message["error"] is None:
        return Outcome(kind, message["result"])
    words, family = str(message["words"]), _FAMILIES.get(message["family"])
    error = RemoteError(words, kind=str(message["error"])) if family is None else family(words)
    return Outcome(kind, None, error, words, str(message["trace"]))


def _exit_code(outcome: Outcome) -> int:
    if outcome.kind is OutcomeKind.COMPLETED:
        return 0
    if outcome.kind is OutcomeKind.CANCELLED:
        return EXIT_CANCELLED
    code = getattr(outcome.error, "code", None) if isinstance(outcome.error, SystemExit) else None
    return code if isinstance(code, int) and 0 < code < 256 else 1
