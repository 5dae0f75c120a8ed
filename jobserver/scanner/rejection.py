"""How a file's fault is put into words: the sentence, and the part of the traceback that is the author's."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from types import TracebackType

from jobserver.definition import ScanProblem
from jobserver.errors import DefinitionError, JobServerError

LONGEST_TRACEBACK = 8 * 1024
"""Characters; a longer one keeps its beginning and its end."""


class FileRejected(JobServerError):
    """A file that is not taken in; `problems` says why, one entry per fault."""

    def __init__(self, problems: Sequence[ScanProblem]) -> None:
        super().__init__("; ".join(problem.message for problem in problems))
        self.problems = tuple(problems)


def import_failure(path: str, error: BaseException) -> ScanProblem:
    """What to say of a file whose import raised `error`."""
    if isinstance(error, SystemExit):
        what = f"calls sys.exit({error.code!r}) while it is imported"
    elif isinstance(error, MemoryError):
        what = "runs out of memory while it is imported"
    else:
        what = f"cannot be imported: {_shown(error)}"
    message = str(DefinitionError(path=path, message=what))
    return ScanProblem(path=path, message=message, traceback=traceback_from(error, path))


def traceback_from(error: BaseException, path: str) -> str:
    """The formatted traceback from the first line of `path` on: how the scanner got there is of no use to anyone.

    Empty for an error of ours that no line of the file has raised: its message says all.
    """
    own = _own_frames(error.__traceback__, path)
    if own is None and isinstance(error, JobServerError):
        return ""
    return trimmed("".join(traceback.format_exception(type(error), error, own)))


def trimmed(text: str) -> str:
    """`text` cut in the middle to LONGEST_TRACEBACK characters."""
    if len(text) <= LONGEST_TRACEBACK:
        return text
    quarter = LONGEST_TRACEBACK // 4
    return f"{text[:quarter]}\n  [...]\n{text[-3 * quarter :]}"


def _own_frames(trace: TracebackType | None, path: str) -> TracebackType | None:
    while trace is not None and trace.tb_frame.f_code.co_filename != path:
        trace = trace.tb_next
    return trace


def _shown(error: BaseException) -> str:
    lines = traceback.format_exception_only(type(error), error)
    return trimmed(lines[-1].strip())
