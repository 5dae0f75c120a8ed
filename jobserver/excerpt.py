"""How an error message shows a value that somebody wrote: short, on one line, whatever it is."""

from __future__ import annotations

LONGEST = 60


def excerpt(value: object) -> str:
    """The value as a message shows it: numbers and text as they are, cut after 60 characters; the rest by its type.

    Containers are never rendered: their own repr may be huge, recursive or refuse to be made.
    """
    try:
        return _shown(value)
    except BaseException:  # kinds of text and numbers that a job has made itself may raise whatever they like
        return "a value that cannot be shown"


def _shown(value: object) -> str:
    if value is None or isinstance(value, bool | float):
        return repr(value)
    if isinstance(value, str):
        return repr(value if len(value) <= LONGEST else value[:LONGEST] + "…")
    if isinstance(value, int):
        # Python refuses to print integers of more than 4300 digits.
        return repr(value) if value.bit_length() <= 200 else f"a number of {value.bit_length()} bits"
    return f"a value of type {type(value).__name__}"
