"""The command line: `jobserver`, and `python -m jobserver`.

    app        every command: its words, its flags, its example
    schedules  the same for those about schedules
    tasks      the same for those about tasks
    logs       the same for the logs of runs
    commands/  what each command does; answers with one document and a way to show it
    log_lines  the lines of a run's log on a terminal
    help       the words of the help and of a wrong usage
    session    which project, which MongoDB
    answer     one JSON document, or text that a person likes to look at
    project/   what `jobserver init` writes

Exit codes: 0 done · 1 could not be done, said in one sentence on stderr · 2 wrong usage · 70 a fault of jobserver
itself · 130 interrupted. `--help` imports no database driver and no settings: it answers within 150 ms.
"""

from __future__ import annotations

import sys

from jobserver.errors import ConfigError, JobServerError

INTERNAL_FAULT = 70  # EX_SOFTWARE of sysexits.h


def main() -> None:
    """Run one command and exit with its code."""
    from jobserver.cli.app import app

    as_json = "--json" in sys.argv
    try:
        sys.exit(app(prog_name="jobserver", standalone_mode=False))
    except JobServerError as error:
        _say(error, as_json=as_json)
        sys.exit(1)
    except Exception as error:
        sys.exit(_say_misuse(error, as_json=as_json) or _say_fault(error, as_json=as_json))


def _say(error: JobServerError, *, as_json: bool) -> None:
    if as_json:
        _write_json({"error": str(error), **({"field": error.field} if isinstance(error, ConfigError) else {})})
    else:
        sys.stderr.write(f"{_red('error:')} {error}\n")


def _say_misuse(error: Exception, *, as_json: bool) -> int | None:
    from jobserver.cli.help import usage_error

    if (told := usage_error(error)) is None:
        return None
    before, mistake, exit_code = told
    if as_json:
        _write_json({"error": mistake})
    else:
        sys.stderr.write(f"{before}{_red('error:')} {mistake}\n" if mistake else before)
    return exit_code


def _say_fault(error: Exception, *, as_json: bool) -> int:
    import traceback

    trace = "".join(traceback.format_exception(error))
    if as_json:
        _write_json({"error": f"internal fault: {error!r}", "traceback": trace})
    else:
        sys.stderr.write(f"{trace}\n{_red('internal fault:')} {error!r}; this is a mistake in jobserver itself\n")
    return INTERNAL_FAULT


def _write_json(document: dict[str, str]) -> None:
    import json

    sys.stderr.write(json.dumps(document) + "\n")


def _red(text: str) -> str:
    import os

    coloured = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    return f"\x1b[31m{text}\x1b[0m" if coloured else text
