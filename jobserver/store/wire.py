"""Messages between processes as BSON: what MongoDB stores can be sent, and only that."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import bson

from jobserver.errors import DataError
from jobserver.store.codec import CODEC
from jobserver.store.enqueue import check_storable


class BsonCodec:
    """Nothing that is decoded is code; moments have whole milliseconds and come back aware."""

    def encode(self, message: Mapping[str, Any]) -> bytes:
        """Raises DataError."""
        try:
            return bson.encode(message, codec_options=CODEC)
        except Exception as error:  # of the driver's own kinds, or whatever a foreign object raises when it is read
            raise DataError(f"the message cannot be sent: {error}") from error

    def decode(self, encoded: bytes) -> dict[str, Any]:
        """Raises DataError."""
        try:
            return bson.decode(encoded, codec_options=CODEC)
        except Exception as error:
            raise DataError(f"it is no message: {error}") from error

    def check(self, value: Any, *, what: str, limit: int) -> None:
        """Raises DataError that names the key."""
        check_storable(value, what=what, limit=limit)
