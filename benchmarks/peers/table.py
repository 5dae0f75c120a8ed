"""Results for a person: the fastest first, then what was left out and why."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.peers.result import PeerResult

_BAR = 30


def render(results: Sequence[PeerResult]) -> str:
    """Lines of text, ready to print."""
    measured = sorted((it for it in results if it.jobs_per_second), key=lambda it: -(it.jobs_per_second or 0))
    left_out = [it for it in results if it.left_out]
    parts = []
    if measured:
        parts.append([f"{'peer':<14}{'version':<12}{'jobs':>9}{'seconds':>10}{'jobs/s':>10}", *_lines(measured)])
        parts.append(["settings", *(f"  {it.peer}: {_settings(it)}" for it in measured)])
    if left_out:
        parts.append(["left out", *(f"  {it.peer}: {it.left_out}" for it in left_out)])
    return "\n\n".join("\n".join(lines) for lines in parts)


def _lines(measured: Sequence[PeerResult]) -> list[str]:
    best = max((it.jobs_per_second or 0 for it in measured), default=0)
    return [
        f"{it.peer:<14}{it.version:<12}{it.jobs:>9,}{it.seconds:>10.1f}{it.jobs_per_second:>10,.0f}"
        f"  {'█' * max(1, round(_BAR * (it.jobs_per_second or 0) / best))}"
        for it in measured
    ]


def _settings(result: PeerResult) -> str:
    return " · ".join(f"{name} {value}" for name, value in result.settings.items())
