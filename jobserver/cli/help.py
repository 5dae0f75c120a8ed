"""What the help and a wrong usage look like: the same in every release of Typer, and like the rest of what we say."""

from __future__ import annotations

import io
from typing import Any

from typer.core import TyperCommand

Rows = list[tuple[str, str]]


class Command(TyperCommand):
    """Shows arguments by the words that their declaration gives them: NAME, [NAME], [ID...]."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """What follows the command's name in its usage line."""
        return ["[OPTIONS]", *(_in_usage(param) for param in _arguments(self))]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """The lists of arguments and of options."""
        arguments = [(_metavar(param), param.help or "") for param in _arguments(self)]
        rows = [param.get_help_record(ctx) for param in self.get_params(ctx) if param.param_type_name == "option"]
        for title, listed in (("Arguments", arguments), ("Options", [row for row in rows if row])):
            if listed:
                with formatter.section(title):
                    formatter.write_dl(listed)


def usage_error(error: Exception) -> tuple[str, str, int] | None:
    """How a wrong usage is told: what leads up to it, the mistake and the exit code; None for any other error.

    Told by its methods: Typer brings classes of its own for it, or takes those of the installed Click.
    """
    show, format_message = getattr(error, "show", None), getattr(error, "format_message", None)
    if not callable(show) or not callable(format_message):
        return None
    text = io.StringIO()
    show(file=text)
    before, marker, _ = text.getvalue().rpartition("Error: ")
    exit_code = int(getattr(error, "exit_code", 2))
    mistake = f"{format_message()}{_quotes_missing(error)}"
    return (before, mistake, exit_code) if marker else (text.getvalue(), "", exit_code)


def _quotes_missing(error: Any) -> str:
    """A hint where a shell has taken a schedule apart: "every monday at 9:00" without quotes is four arguments."""
    command = getattr(getattr(error, "ctx", None), "command", None)
    takes_schedule = command is not None and any("EXPR" in _metavar(param) for param in _arguments(command))
    if takes_schedule and "extra argument" in str(error.format_message()):
        return "; a schedule goes in quotes: 'every monday at 9:00', '0 9 * * 1'"
    return ""


def _arguments(command: Any) -> list[Any]:
    return [param for param in command.params if param.param_type_name == "argument"]


def _metavar(param: Any) -> str:
    return str(param.metavar or param.name.upper())


def _in_usage(param: Any) -> str:
    word = _metavar(param) + ("..." if param.nargs != 1 else "")
    return word if param.required else f"[{word}]"
