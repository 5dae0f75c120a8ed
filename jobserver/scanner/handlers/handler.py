"""What is known of code that was handed over, whichever way it came."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jobserver.definition import Code


@dataclass(frozen=True, slots=True, kw_only=True)
class Handler:
    """Code to call, and how: `wants` are its parameters, `checksum` covers its source, `stem` is its usual name.

    `code` None means that no other process could find it; `function` None that it is not imported here.
    """

    path: str
    checksum: str
    is_async: bool = False
    wants: tuple[str, ...] = ()
    stem: str | None = None
    code: Code | None = None
    function: Callable[..., Any] | None = None
