"""A straight line through what was measured, and how sure one can be of its slope."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf, sqrt
from statistics import fmean

HOUR = 3600.0
Z = 1.959964  # of 95 %
LARGEST_MEMORY = 0.9  # of one residual for the next; beyond it a series is but one observation


@dataclass(frozen=True, slots=True, kw_only=True)
class Slope:
    """Per hour; the true one lies between `low` and `high` with a probability of 95 %."""

    per_hour: float
    low: float
    high: float


def slope(points: Sequence[tuple[float, float]], *, block: float) -> Slope:
    """Of (seconds, value), by least squares over the means of so many seconds each.

    Neighbours resemble each other, so they tell less than their number says: the variance is widened by their
    correlation, as for a process of first order.
    """
    means = _block_means(points, block)
    if len(means) < 4:
        return Slope(per_hour=0.0, low=-inf, high=inf)
    x0, y0 = (fmean(axis) for axis in zip(*means, strict=True))
    spread = sum((x - x0) ** 2 for x, _ in means)
    rise = sum((x - x0) * (y - y0) for x, y in means) / spread
    residuals = [y - y0 - rise * (x - x0) for x, y in means]
    free = len(means) - 2
    variance = sum(each**2 for each in residuals) / free
    error = sqrt(variance / spread * _widened(residuals))
    reach = _student(free) * error
    return Slope(per_hour=rise * HOUR, low=(rise - reach) * HOUR, high=(rise + reach) * HOUR)


def _block_means(points: Sequence[tuple[float, float]], block: float) -> list[tuple[float, float]]:
    blocks: dict[int, list[tuple[float, float]]] = {}
    for point in points:
        blocks.setdefault(int(point[0] // block), []).append(point)
    return [(fmean(x for x, _ in each), fmean(y for _, y in each)) for _, each in sorted(blocks.items())]


def _widened(residuals: Sequence[float]) -> float:
    square = sum(each**2 for each in residuals)
    if not square:
        return 1.0
    memory = sum(one * other for one, other in pairwise(residuals)) / square
    memory = min(max(memory, 0.0), LARGEST_MEMORY)
    return (1 + memory) / (1 - memory)


def _student(free: int) -> float:
    """The quantile of Student's distribution, by the expansion of Cornish and Fisher."""
    return Z + (Z**3 + Z) / (4 * free) + (5 * Z**5 + 16 * Z**3 + 3 * Z) / (96 * free**2)
