"""How BSON becomes Python; needs no driver."""

from __future__ import annotations

from typing import Any, TypeGuard

from bson.codec_options import CodecOptions, DatetimeConversion

# Out-of-range dates come back as numbers, text that is no UTF-8 with marks in it: neither fails the whole reply.
CODEC: CodecOptions[dict[str, Any]] = CodecOptions(
    tz_aware=True, datetime_conversion=DatetimeConversion.DATETIME_AUTO, unicode_decode_error_handler="replace"
)


def is_text(value: object) -> TypeGuard[str]:
    """Whether a stored value is text. BSON's code is a `str` to Python, too, but no set and no table takes it."""
    return type(value) is str


def key_of(value: Any) -> Any:
    """What stands for a stored value in sets and tables: itself, or how it is shown where it cannot be hashed."""
    try:
        hash(value)
    except TypeError:  # sub-documents, lists, code, patterns; a hand may have written anything
        return repr(value)
    return value
