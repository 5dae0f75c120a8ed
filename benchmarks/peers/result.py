"""What came of a peer: figures, or the reason why there are none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jobserver.errors import JobServerError


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerResult:
    """One line of the table; where `left_out` says why it was not measured, the figures are None."""

    peer: str
    version: str | None = None
    jobs: int
    seconds: float | None = None
    jobs_per_second: float | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    left_out: str | None = None


class LeftOut(JobServerError):
    """A peer cannot be measured here; the message says why, and where there is a remedy, which."""
