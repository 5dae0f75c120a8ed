"""How an error message shows a value that somebody wrote: short, on one line, whatever it is."""

from __future__ import annotations

LONGEST = 60


def excerpt(value: object) -> str:
    """The value as a message shows it: numbers and text as they are, cut after 60 characters; the rest by its type.

    Containers are never rendered: their own repr may be huge, recursive or refuse to be made.
    """
    if value is None or isinstance(value, bool | float):
        return repr(value)
    if isinstance(value, str):
        return repr(value if len(value) <= LONGEST else value[:LONGEST] + "…")
    if isinstance(value, int):
        # Python refuses to print integers of more than 4300 digits.
        return repr(value) if value.bit_length() <= 200 else f"a number of {value.bit_length()} bits"
    return f"a value of type {type(value).__name__}"
