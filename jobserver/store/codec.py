"""How BSON becomes Python; needs no driver."""

from __future__ import annotations

from typing import Any

from bson.codec_options import CodecOptions, DatetimeConversion

# Out-of-range dates come back as numbers, text that is no UTF-8 with marks in it: neither fails the whole reply.
CODEC: CodecOptions[dict[str, Any]] = CodecOptions(
    tz_aware=True, datetime_conversion=DatetimeConversion.DATETIME_AUTO, unicode_decode_error_handler="replace"
)
